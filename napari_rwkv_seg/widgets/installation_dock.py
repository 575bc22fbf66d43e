"""The dock "Check the installation": facts for a bug report, and a button that copies them.

The facts are found in a worker thread, since finding them imports torch and
loads every model once.
"""

from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import QEvent
from qtpy.QtGui import QFontDatabase, QGuiApplication
from qtpy.QtWidgets import QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from napari_rwkv_seg.controllers.doctor import doctor_report
from napari_rwkv_seg.controllers.sentences import mishap

from .job_runner import JobRunner, ignored
from .layouts import row_of

Facts = list[tuple[str, str]]


class InstallationDock(QWidget):
    """Shows what `doctor_report` finds.

    Parameters
    ----------
    report : callable, optional
        Returns the facts; called in a worker thread.
    """

    _runner: JobRunner | None = None  # Qt sends events before and after __init__

    def __init__(self, report: Callable[[], Facts] = doctor_report) -> None:
        super().__init__()
        self._report = report
        self._runner = JobRunner("Check the installation")
        self.destroyed.connect(self._runner.wait)
        self.text = QPlainTextEdit("Looking …")
        self.text.setReadOnly(True)
        self.text.setAccessibleName("Facts about the installation")
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.copy = QPushButton("Copy")
        self.copy.setAccessibleName("Copy the facts")
        self.again = QPushButton("Check again")
        self.again.setAccessibleName("Check the installation again")
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addLayout(row_of(self.copy, self.again))
        self.copy.clicked.connect(self._copy)
        self.again.clicked.connect(self.check)
        self.check()

    def check(self) -> None:
        """Find the facts anew."""
        if self._runner is None or self._runner.is_busy:
            return
        self.again.setEnabled(False)
        report = self._report

        def steps() -> Generator[None, None, Facts]:
            yield
            try:
                return report()
            except BaseException as error:  # noqa: BLE001 - a job's boundary, see SegmentController
                return [("The report failed", mishap(error))]

        self._runner.start(steps, ignored, self._show)

    def event(self, event: QEvent) -> bool:
        """Wait for the worker when napari takes the dock out of its window."""
        if event.type() == QEvent.Type.ParentChange and self._runner and self.parent() is None:
            self._runner.wait()
            self.deleteLater()  # napari lets go of it, but does not delete it
        return super().event(event)

    def _show(self, facts: Facts | None) -> None:
        self.again.setEnabled(True)
        self.text.setPlainText("\n".join(f"{name}: {fact}" for name, fact in facts or []))

    def _copy(self) -> None:
        clipboard: Any = QGuiApplication.clipboard()
        clipboard.setText(self.text.toPlainText())
