"""Start and cancel a job, and say how far it is: one button, one bar, and lines beneath.

The button reads as the job's start, Cancel, or Cancelling…; why it cannot be pressed is
written beneath it, since a tooltip is easily missed.
"""

from dataclasses import dataclass

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QPushButton, QWidget

from .layouts import column_of
from .texts import WARNING, Line, describe

_STEPS = 1000  # of the bar


@dataclass(frozen=True)
class Words:
    """What a row says of its kind of job.

    Parameters
    ----------
    start, hint : str
        The button's text before a job, and its tooltip.
    beginning : str
        The status until the first news.
    step : str
        What a cancelled job still ends, such as "tile".
    """

    start: str
    hint: str
    beginning: str
    step: str


class RunRow(QWidget):
    """The button of a job and what belongs to it.

    Signals
    -------
    run_wanted, cancel_wanted
        The user pressed the button.
    """

    run_wanted = Signal()
    cancel_wanted = Signal()

    def __init__(self, words: Words, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._words = words
        self._start = words.start
        self._problem = ""
        self._is_running = False
        self.button = QPushButton()
        self.button.setMinimumHeight(32)
        self.button.setStyleSheet("font-weight: bold;")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.hide()
        self.status = Line("Status")
        self.problem = Line("What is missing or went wrong", WARNING)
        self.setLayout(column_of(self.button, self.bar, self.status, self.problem))
        self._show_idle()
        self.button.clicked.connect(self._on_clicked)

    def show_problem(self, problem: str) -> None:
        """Allow a job, or say why there can be none."""
        self._problem = problem
        if not self._is_running:
            self.problem.say(problem)
            self._show_idle()

    def name_start(self, text: str) -> None:
        """Say what pressing the button begins, such as "Continue" after an interruption."""
        self._start = text
        if not self._is_running:
            self._show_idle()

    def show_running(self) -> None:
        """Show that a job has begun."""
        self._is_running = True
        hint = f"Stop after the present {self._words.step}; your layers stay as they are."
        self._show_button("Cancel", hint)
        self.bar.setRange(0, 0)
        self.bar.show()
        self.problem.say("")
        self.status.say(self._words.beginning)

    def show_fraction(self, done: float, total: float, line: str) -> None:
        """Show that `done` of `total` is done, in the bar and in a line; a total of 0: unknown."""
        self.bar.setRange(0, _STEPS if total > 0 else 0)
        self.bar.setValue(round(_STEPS * done / max(1, total)))
        self.status.say(line)

    def show_cancelling(self) -> None:
        """Show that the job will end with its present step."""
        self._show_button("Cancelling…", "", is_enabled=False)
        self.status.say(f"Cancelling after the present {self._words.step} …")

    def show_end(self, status: str, problem: str = "") -> None:
        """Show how the job ended."""
        self._is_running = False
        self.bar.hide()
        self.status.say(status)
        self._show_idle()
        self.problem.say(problem or self._problem)

    def show_aside(self, status: str, problem: str = "") -> None:
        """Show what happened beside a job that goes on."""
        if status:
            self.status.say(status)
        self.problem.say(problem)

    def _show_idle(self) -> None:
        hint = self._problem or self._words.hint
        self._show_button(self._start, hint, is_enabled=not self._problem)

    def _show_button(self, text: str, hint: str, *, is_enabled: bool = True) -> None:
        self.button.setText(text)
        self.button.setEnabled(is_enabled)
        describe((self.button, text, hint))

    def _on_clicked(self) -> None:
        (self.cancel_wanted if self._is_running else self.run_wanted).emit()
