"""Start and cancel a job, and say how far it is: one button, one bar, and lines beneath.

The button reads Segment, Cancel, or Cancelling…; why it cannot be pressed is
written beneath it, since a tooltip is easily missed.
"""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_rwkv_seg.controllers.segment import Outcome
from napari_rwkv_seg.controllers.sentences import progress_line

from .texts import HINT, WARNING, Line, tooltip


class JobRow(QWidget):
    """The button of "3 Run" and what belongs to it.

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
        self._start = "Segment"
        self.button = QPushButton("Segment")
        self.button.setAccessibleName("Segment")
        self.button.setMinimumHeight(32)
        self.button.setStyleSheet("font-weight: bold;")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.status = Line("Status")
        self.problem = Line("What is missing or went wrong", WARNING)
        self.device = Line("Running on", HINT)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.button, self.bar, self.status, self.problem, self.device):
            layout.addWidget(widget)
        self.bar.hide()
        self.button.clicked.connect(self._on_clicked)

    def show_problem(self, problem: str) -> None:
        """Allow a run, or say why there can be none."""
        self._problem = problem
        if not self._is_running:
            self.problem.say(problem)
            self._show_idle()

    def name_start(self, text: str) -> None:
        """Say what pressing the button begins: "Segment", or "Continue" after an interruption."""
        self._start = text
        if not self._is_running:
            self._show_idle()

    def show_running(self) -> None:
        """Show that a job has begun."""
        self._is_running = True
        self.button.setText("Cancel")
        self.button.setAccessibleName("Cancel")
        self.button.setEnabled(True)
        self.button.setToolTip(
            tooltip("Stop after the present tile; your layers stay as they are.")
        )
        self.bar.setRange(0, 0)
        self.bar.show()
        self.problem.say("")
        self.status.say("Preparing …")

    def show_progress(self, progress: object) -> None:
        """Show how far the job is."""
        self.bar.setRange(0, max(0, progress.total))
        self.bar.setValue(progress.done)
        self.status.say(progress_line(progress))

    def show_cancelling(self) -> None:
        """Show that the job will end with its present step."""
        self.button.setText("Cancelling…")
        self.button.setEnabled(False)
        self.status.say("Cancelling after the present tile …")

    def show_end(self, status: str, problem: str = "") -> None:
        """Show how the job ended."""
        self._is_running = False
        self.bar.hide()
        self.status.say(status)
        self._show_idle()
        self.problem.say(problem or self._problem)

    def show_summary(self, status: str) -> None:
        """Show what the adjusted result holds, unless a job has more to say."""
        if not self._is_running:
            self.status.say(status)

    def show_device(self, outcome: Outcome) -> None:
        """Show what the job ran on, and why not on something faster."""
        where, reason = outcome.running_on
        self.device.say(
            "\n".join(line for line in (where and f"Running on: {where}", reason) if line)
        )

    def _show_idle(self) -> None:
        self.button.setText(self._start)
        self.button.setAccessibleName(self._start)
        self.button.setEnabled(not self._problem)
        self.button.setToolTip(
            tooltip(self._problem or "Run the model and add the labels as a layer.")
        )

    def _on_clicked(self) -> None:
        (self.cancel_wanted if self._is_running else self.run_wanted).emit()
