"""After a crash: offer the labels that it left behind, at the top of a dock; else take no room.

Any dock can have it: `put_on_top(dock, viewer)`, which also begins to save what is edited.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_rwkv_seg.controllers.journal_folders import Entry, read_entry
from napari_rwkv_seg.controllers.journal_recovery import (
    Recovery,
    discard_question,
    offer_line,
    restored_name,
)
from napari_rwkv_seg.controllers.sentences import mishap
from napari_rwkv_seg.errors import RwkvSegError

from .closing import main_window_of
from .controls import button_of
from .job_runner import JobRunner, ignored
from .journal_link import JournalLink
from .layouts import column_of, row_of
from .texts import HINT, WARNING, Line

MOST_SHOWN = 3


class RecoveryRow(QWidget):
    """Offers lost labels, and says when labels cannot be saved.

    Parameters
    ----------
    link : JournalLink
        Of the viewer that the row is in.
    parent : QWidget
        The dock.
    """

    def __init__(self, link: JournalLink, parent: QWidget) -> None:
        super().__init__(parent)
        self._link = link
        self._recovery: Recovery = link.recovery
        self._runner = JobRunner("Restore labels")
        self.offers: list[_Offer] = []
        self.problem = Line("Why labels are not being saved", WARNING)
        self._intro = Line("Labels of a napari that did not end normally", HINT)
        self._rest = Line("More kept labels", HINT)
        self._column = column_of(self.problem, self._intro, self._rest, spacing=2)
        self._column.setContentsMargins(4, 4, 10, 0)
        self.setLayout(self._column)
        signals = (
            (self._recovery.changed, self._show),
            (link.journal.problem_changed, self._show_problem),
        )
        for signal, slot in signals:
            signal.connect(slot)
        self.destroyed.connect(partial(_end, self._runner, signals))
        self.problem.say(link.journal.problem)
        self._show()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._watch)
        parent.installEventFilter(self)  # the row is hidden mostly, and then hears nothing itself

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Hear that the dock was put somewhere, though perhaps not into its window yet."""
        if event.type() in (QEvent.Type.Show, QEvent.Type.ParentChange):
            self._soon.start()
        return super().eventFilter(watched, event)

    def _watch(self) -> None:
        """Tell the link which window it is to watch."""
        window = main_window_of(self)
        if window is not None:
            self._link.watch(window)

    def _show(self) -> None:
        """Show what is offered, the newest first."""
        for offer in self.offers:
            self._column.removeWidget(offer)
            offer.deleteLater()
        entries = self._recovery.entries
        self.offers = [_Offer(entry, self) for entry in entries[:MOST_SHOWN]]
        for place, offer in enumerate(self.offers, start=2):
            self._column.insertWidget(place, offer)
            offer.setEnabled(not self._recovery.is_restoring)
        self._intro.say("napari did not end normally. What was kept:" if entries else "")
        more = len(entries) - len(self.offers)
        self._rest.say(f"{more} more will be shown after these." if more > 0 else "")
        self._fit()

    def _show_problem(self, problem: str) -> None:
        self.problem.say(problem)
        self._fit()

    def _fit(self) -> None:
        """Take no room, not even a margin, while there is nothing to say."""
        self.setVisible(bool(self.offers or self.problem.text()))

    def restore(self, entry: Entry) -> None:
        """Read the labels in a worker, then add them as a layer."""
        if self._recovery.is_restoring:
            return
        self._recovery.begin()

        def steps() -> Generator[None, None, Any]:
            yield
            try:
                return read_entry(entry)
            except Exception as error:  # noqa: BLE001 - a job's boundary: it ends by a sentence
                return mishap(error)

        self._runner.start(steps, ignored, partial(self._restored, entry))

    def put_off(self, entry: Entry) -> None:
        """Offer an entry again in the next napari only."""
        self._recovery.settle(entry)

    def discard(self, entry: Entry) -> None:
        """Delete an entry if the user means it."""
        box = QMessageBox.question(
            self,
            "Discard labels",
            discard_question(entry),
            QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel,
            QMessageBox.StandardButton.Cancel,
        )
        if box == QMessageBox.StandardButton.Discard:
            try:
                self._recovery.discard(entry)
            except RwkvSegError as error:
                show_error(str(error))

    def _restored(self, entry: Entry, outcome: Any) -> None:
        self._recovery.end()
        if isinstance(outcome, str):
            show_error(outcome)
        elif outcome is not None:
            facts, labels, note = outcome
            self._link.restore(entry, facts, labels)
            show_info(f"Added {restored_name(entry)!r}. {note}".strip())


class _Offer(QWidget):
    """One entry: what it is, and three buttons."""

    def __init__(self, entry: Entry, row: RecoveryRow) -> None:
        super().__init__(row)
        self.entry = entry
        self.text = Line("Kept labels")
        self.text.say(offer_line(entry))
        self.restore = button_of("Restore", "Add these labels as a new layer.")
        self.discard = button_of("Discard", "Delete these labels; you are asked once more.")
        self.later = button_of("Later", "Ask again when napari is opened the next time.")
        column = column_of(self.text, row_of(self.restore, self.discard, self.later), spacing=2)
        column.setContentsMargins(0, 0, 0, 4)
        self.setLayout(column)
        self.restore.clicked.connect(lambda: row.restore(entry))
        self.discard.clicked.connect(lambda: row.discard(entry))
        self.later.clicked.connect(lambda: row.put_off(entry))


def put_on_top(dock: QWidget, viewer: Any) -> RecoveryRow:
    """Put a row at the top of a dock, and save from now on what is edited in its viewer.

    Parameters
    ----------
    dock : QWidget
        With a vertical layout.
    viewer : napari viewer
        The dock's; not napari's short-lived proxy of it.
    """
    row = RecoveryRow(JournalLink.of(viewer), dock)
    layout: Any = dock.layout()
    layout.insertWidget(0, row)
    return row


def _end(runner: JobRunner, signals: Any) -> None:
    """Let go of what outlives the row."""
    for signal, slot in signals:
        signal.disconnect(slot)
    runner.wait()
