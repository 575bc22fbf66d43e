"""Start and cancel an evaluation, and say how far it is: one button, one bar, lines beneath."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_rwkv_seg.controllers.evaluate_table import comparing_line

from .texts import WARNING, Line, tooltip


class EvaluateRow(QWidget):
    """The button of "3 Evaluate" and what belongs to it.

    Signals
    -------
    run_wanted, cancel_wanted
        The user pressed the button.
    """

    run_wanted = Signal()
    cancel_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.button, self.bar, self.status, self.problem):
            layout.addWidget(widget)
        self._show_button("Evaluate", "Compare, and show the scores.")
        self.button.clicked.connect(self._on_clicked)

    def show_problem(self, problem: str) -> None:
        """Allow an evaluation, or say why there can be none."""
        self._problem = problem
        if not self._is_running:
            self.problem.say(problem)
            self._show_idle()

    def show_running(self) -> None:
        """Show that a job has begun."""
        self._is_running = True
        self._show_button("Cancel", "Stop after the present step; your layers stay as they are.")
        self.bar.setRange(0, 0)
        self.bar.show()
        self.problem.say("")
        self.status.say("Reading …")

    def show_progress(self, progress: object) -> None:
        """Show how far the job is."""
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * progress.done / max(1, progress.total)))
        self.status.say(comparing_line(progress))

    def show_cancelling(self) -> None:
        """Show that the job will end with its present step."""
        self._show_button("Cancelling…", "")
        self.button.setEnabled(False)

    def show_end(self, status: str, problem: str = "") -> None:
        """Show how the job ended."""
        self._is_running = False
        self.bar.hide()
        self.status.say(status)
        self._show_idle()
        self.problem.say(problem or self._problem)

    def _show_idle(self) -> None:
        self._show_button("Evaluate", self._problem or "Compare, and show the scores.")
        self.button.setEnabled(not self._problem)

    def _show_button(self, text: str, hint: str) -> None:
        self.button.setText(text)
        self.button.setAccessibleName(text)
        self.button.setEnabled(True)
        self.button.setToolTip(tooltip(hint))

    def _on_clicked(self) -> None:
        (self.cancel_wanted if self._is_running else self.run_wanted).emit()
