"""Offer runs that were interrupted, or have ended while nobody said what is to become of them."""

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_rwkv_seg.controllers.finetune_runs import KeptRun
from napari_rwkv_seg.controllers.finetune_sentences import interrupted_line

from .layouts import column_of, row_of
from .texts import WARNING, Line, describe

_OF_INTERRUPTED = (
    ("Resume", "Go on from the run's last checkpoint, with its own copy of the labels."),
    ("Discard", "Remove the run's folder."),
)
_OF_ENDED = (
    ("Show result", "Show its scores, and decide whether to use the new model."),
    ("Keep old model", "The new model is not offered again; it stays in the run's folder."),
)


class Interrupted(QWidget):
    """The newest run that waits for a word; the next one follows when this is dealt with.

    Signals
    -------
    resume_wanted, discard_wanted : KeptRun
        What the user wants to become of a run: go on with it or see its result, or not.
    """

    resume_wanted = Signal(object)
    discard_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._run: KeptRun | None = None
        self.line = Line("A run that waits for a word", WARNING)
        self.resume, self.discard = QPushButton(), QPushButton()
        self._name_buttons(_OF_INTERRUPTED)
        self.setLayout(column_of(self.line, row_of(self.resume, self.discard)))
        self.resume.clicked.connect(lambda: self.resume_wanted.emit(self._run))
        self.discard.clicked.connect(lambda: self.discard_wanted.emit(self._run))
        self.hide()

    def show_runs(self, runs: Sequence[KeptRun], is_busy: bool, shown: Path | None) -> None:
        """Offer the newest of these runs; none while another is under way.

        Parameters
        ----------
        runs : sequence of KeptRun
            Those that wait for a word.
        is_busy : bool
            Whether a run is under way.
        shown : Path, optional
            The folder of the last run of this window, whose result is shown or was decided on.
        """
        runs = [run for run in runs if not (run.is_undecided and run.folder == shown)]
        self._run = runs[0] if runs and not is_busy else None
        if self._run is not None:
            more = len(runs) - 1
            self._name_buttons(_OF_ENDED if self._run.is_undecided else _OF_INTERRUPTED)
            self.line.say(interrupted_line(self._run) + (f" ({more} more)" if more else ""))
        self.setVisible(self._run is not None)

    def _name_buttons(self, names: Sequence[tuple[str, str]]) -> None:
        """Say what can be done with the run, and by which button."""
        for button, (text, hint) in zip((self.resume, self.discard), names, strict=True):
            button.setText(text)
            describe((button, f"{text}: the run that waits for a word", hint))
