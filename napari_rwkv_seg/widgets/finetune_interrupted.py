"""Offer runs that were interrupted: resume or discard them."""

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_rwkv_seg.controllers.finetune_runs import KeptRun
from napari_rwkv_seg.controllers.finetune_sentences import interrupted_line

from .layouts import column_of, row_of
from .texts import WARNING, Line, describe


class Interrupted(QWidget):
    """The newest interrupted run; the next one follows when this is dealt with.

    Signals
    -------
    resume_wanted, discard_wanted : KeptRun
        What the user wants to become of a run.
    """

    resume_wanted = Signal(object)
    discard_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._run: KeptRun | None = None
        self.line = Line("A run that was interrupted", WARNING)
        self.resume = QPushButton("Resume")
        self.discard = QPushButton("Discard")
        for button, hint in (
            (self.resume, "Go on from the run's last checkpoint, with its own copy of the labels."),
            (self.discard, "Remove the run's folder."),
        ):
            describe((button, f"{button.text()} the interrupted run", hint))
        self.setLayout(column_of(self.line, row_of(self.resume, self.discard)))
        self.resume.clicked.connect(lambda: self.resume_wanted.emit(self._run))
        self.discard.clicked.connect(lambda: self.discard_wanted.emit(self._run))
        self.hide()

    def show_runs(self, runs: Sequence[KeptRun], is_busy: bool) -> None:
        """Offer the newest of these runs; none while another is under way."""
        self._run = runs[0] if runs and not is_busy else None
        if self._run is not None:
            more = len(runs) - 1
            self.line.say(interrupted_line(self._run) + (f" ({more} more)" if more else ""))
        self.setVisible(self._run is not None)
