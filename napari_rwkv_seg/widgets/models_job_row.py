"""How far a job with models is, Cancel, and how it ended: in lines, and in a text to copy."""

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtGui import QFontDatabase, QGuiApplication
from qtpy.QtWidgets import QPlainTextEdit, QProgressBar, QPushButton, QWidget

from napari_rwkv_seg.controllers.models_jobs import Arrived, Wish
from napari_rwkv_seg.controllers.models_sentences import job_line

from .layouts import column_of, row_of
from .texts import WARNING, Line, describe

_STEPS = 1000  # of the bar; Qt counts in 32 bits, a file may have more bytes


class ModelsJobRow(QWidget):
    """The bar and the lines of the one job.

    Signals
    -------
    cancel_wanted
        The user pressed Cancel.
    """

    cancel_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._wish: Wish | None = None
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.cancel = QPushButton("Cancel")
        hint = "End it; what was half made goes, what has come stays."
        describe((self.cancel, "Cancel the job", hint))
        self.status = Line("Status")
        self.problem = Line("What went wrong", WARNING)
        self.details = QPlainTextEdit()
        self.details.setReadOnly(True)
        self.details.setAccessibleName("All that does not fit")
        self.details.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.details.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.details.setFixedHeight(120)
        self.copy = QPushButton("Copy all that does not fit")
        self.copy.setAccessibleName("Copy all that does not fit")
        self._lay_out()
        self.cancel.clicked.connect(self._on_cancel)
        self.copy.clicked.connect(self._on_copy)

    def show_started(self, wish: Wish) -> None:
        """Show that a job has begun."""
        self._wish = wish
        self.bar.setRange(0, 0)
        self._show_running(True)
        self.cancel.setEnabled(True)
        self.say(job_line(wish))

    def show_progress(self, arrived: Arrived) -> None:
        """Show how much has come."""
        if self._wish is None or not self.cancel.isEnabled():
            return  # it has ended, or is being cancelled
        self.bar.setRange(0, _STEPS if 0 < arrived.done < arrived.total else 0)
        self.bar.setValue(arrived.done * _STEPS // max(1, arrived.total))
        self.status.say(job_line(self._wish, arrived))

    def show_end(self, status: str, problem: str, details: Sequence[str] = ()) -> None:
        """Show how the job ended."""
        self._wish = None
        self._show_running(False)
        self.say(status, problem, details)

    def say(self, status: str, problem: str = "", details: Sequence[str] = ()) -> None:
        """Show what was done, or what went wrong; `details` are a line each."""
        self.status.say(status)
        self.problem.say(problem)
        self.details.setPlainText("\n".join(details))
        for widget in (self.details, self.copy):
            widget.setVisible(bool(details))

    def _show_running(self, is_running: bool) -> None:
        self.bar.setVisible(is_running)
        self.cancel.setVisible(is_running)

    def _on_cancel(self) -> None:
        self.cancel.setEnabled(False)
        self.bar.setRange(0, 0)
        self.status.say("Cancelling …")
        self.cancel_wanted.emit()

    def _on_copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(f"{self.problem.text()}\n{self.details.toPlainText()}")

    def _lay_out(self) -> None:
        first = row_of(self.bar, self.cancel)
        first.setStretch(0, 1)
        self.setLayout(column_of(first, self.status, self.problem, self.details, self.copy))
        self.show_end("", "")
