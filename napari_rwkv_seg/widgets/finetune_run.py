"""Start, watch and end a run: buttons, a bar, lines, and curves beneath.

Idle, there is one button, and why it cannot be pressed is written beneath it.
While a run is under way its place is taken by Stop and keep best, and Cancel.
"""

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QWidget

from napari_rwkv_seg.controllers.finetune_sentences import started_line, status_line
from napari_rwkv_seg.controllers.finetune_story import RunStory

from .controls import button_of
from .curves import Curves
from .layouts import column_of, row_of
from .texts import HINT, WARNING, Line, tooltip

_PARTS = 1000  # of the bar


class RunPanel(QWidget):
    """The widgets around a run.

    Parameters
    ----------
    theme : callable
        Returns napari's present theme.

    Signals
    -------
    run_wanted, stop_wanted, cancel_wanted, preview_wanted, command_wanted
        The user pressed that button.
    """

    run_wanted = Signal()
    stop_wanted = Signal()
    cancel_wanted = Signal()
    preview_wanted = Signal()
    command_wanted = Signal()

    def __init__(self, theme: Any) -> None:
        super().__init__()
        self._theme = theme
        self._problem = ""
        self._is_busy = False
        self._has_stopped = False
        self.curves: Curves | None = None
        self.button = button_of("Fine-tune on my labels", "")
        self.button.setMinimumHeight(32)
        self.button.setStyleSheet("font-weight: bold;")
        self.stop = button_of(
            "Stop and keep best", "End the training now, and make a model of its best weights."
        )
        self.cancel = button_of("Cancel", "End the training and discard what it has learnt.")
        self.preview = button_of(
            "Show current prediction",
            "Segment what is in view with the weights as they are now; shown as a layer.",
        )
        self.command = button_of(
            "Copy as command", "Copy the command that repeats this run without a window."
        )
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress of the training")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.split = Line("What is learnt from and what is held out", HINT)
        self.warning = Line("What should be known before training", WARNING)
        self.status = Line("Status of the training")
        self.where = Line("Where the training runs", HINT)
        self.problem = Line("What is missing or went wrong", WARNING)
        self._lay_out()
        for button, signal in (
            (self.button, self.run_wanted),
            (self.stop, self.stop_wanted),
            (self.cancel, self.cancel_wanted),
            (self.preview, self.preview_wanted),
            (self.command, self.command_wanted),
        ):
            button.clicked.connect(signal.emit)
        self._show_buttons()

    def show_problem(self, problem: str) -> None:
        """Allow a run, or say why there can be none."""
        self._problem = problem
        if not self._is_busy:
            self.problem.say(problem)
            self._show_buttons()

    def show_plan(self, sentence: str, warnings: str = "") -> None:
        """Show what will be held out, and what is unwise."""
        if not self._is_busy:
            self.split.say(sentence)
            self.warning.say(warnings)

    def show_preparing(self) -> None:
        """Show that a run has begun."""
        self._is_busy, self._has_stopped = True, False
        self.bar.setRange(0, 0)
        self.problem.say("")
        self.where.say("")
        self.status.say("Keeping a copy of the images and labels …")
        self._show_buttons()

    def show_story(self, story: RunStory) -> None:
        """Show how far the run is."""
        self._is_busy = True
        if self.curves is None:
            self.curves = Curves(self._theme())
            self.layout().addWidget(self.curves)
        if story.left is not None and story.seconds + story.left > 0:
            self.bar.setRange(0, _PARTS)
            self.bar.setValue(round(_PARTS * story.seconds / (story.seconds + story.left)))
        self.status.say(status_line(story))
        self.problem.say(story.away)
        self.split.say(story.split or self.split.text())
        if story.phase != "starting":
            lines = (started_line(story), *story.notes)
            self.where.say("\n".join(line for line in lines if line))
        self.curves.show()
        self.curves.show_story(story)
        self.preview.setEnabled(story.phase == "training")
        self._show_buttons()

    def show_stopping(self) -> None:
        """Show that the user wants the run to end."""
        self._has_stopped = True
        self.status.say("Stopping …")
        self._show_buttons()

    def show_end(self, status: str, problem: str = "") -> None:
        """Show how the run ended."""
        self._is_busy = False
        self.status.say(status)
        self.problem.say(problem or self._problem)
        self._show_buttons()

    def show_command(self, is_there: bool) -> None:
        """Offer the command of the run, or not."""
        self.command.setVisible(is_there)

    def show_theme(self) -> None:
        """Take napari's present colours."""
        if self.curves is not None:
            self.curves.show_theme(self._theme())

    def _show_buttons(self) -> None:
        busy = self._is_busy
        self.button.setVisible(not busy)
        self.button.setEnabled(not self._problem)
        self.button.setToolTip(
            tooltip(
                self._problem
                or "Train a copy of the model on the ticked pairs as they are now, in the "
                "background. You can go on working."
            )
        )
        self.stop.setVisible(busy)
        self.stop.setEnabled(not self._has_stopped)
        self.cancel.setVisible(busy)
        self.preview.setVisible(busy)
        self.bar.setVisible(busy)

    def _lay_out(self) -> None:
        ends, extras = row_of(self.stop, self.cancel), row_of(self.preview, self.command)
        ends.setStretch(0, 2)
        ends.setStretch(1, 1)
        before = (self.split, self.warning, self.button)
        during = (self.bar, self.status, self.problem, self.where)
        self.setLayout(column_of(*before, ends, *during, extras))
        self.preview.setEnabled(False)
        self.command.hide()
