"""Undo for what was just deleted, and the trash: take back, or delete for good."""

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QListWidget, QPushButton, QVBoxLayout, QWidget

from napari_rwkv_seg.controllers.models_rows import deleted_line
from napari_rwkv_seg.zoo.manage import Deleted

from .folding import Folding
from .texts import Line, tooltip


class UndoRow(QWidget):
    """One line and one button, seen only after a deletion.

    Signals
    -------
    undo_wanted
        The user wants back what was deleted last.
    """

    undo_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.line = Line("What was deleted")
        self.button = QPushButton("Undo")
        self.button.setAccessibleName("Undo the deletion")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        layout.addWidget(self.button)
        self.button.clicked.connect(self.undo_wanted.emit)
        self.hide()

    def show_deleted(self, deleted: Deleted | None) -> None:
        """Offer to take `deleted` back, or nothing."""
        self.line.say(f"{deleted.name!r} is in the trash." if deleted else "")
        self.setVisible(deleted is not None)


class TrashList(QWidget):
    """What was deleted, folded away; not seen while the trash is empty.

    Signals
    -------
    restore_wanted : Deleted
        The user wants this back.
    empty_wanted
        The user wants all of it deleted for good.
    """

    restore_wanted = Signal(object)
    empty_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.list = QListWidget()
        self.list.setAccessibleName("Trash")
        self.list.setFixedHeight(80)
        self.restore = QPushButton("Restore")
        self.restore.setAccessibleName("Restore the chosen one")
        self.restore.setToolTip(tooltip("Take the chosen one back among your models."))
        self.empty = QPushButton("Empty trash…")
        self.empty.setAccessibleName("Empty the trash")
        self.empty.setToolTip(tooltip("Delete all of it for good."))
        content = QWidget()
        buttons = QHBoxLayout()
        buttons.addWidget(self.restore)
        buttons.addWidget(self.empty)
        inner = QVBoxLayout(content)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addWidget(self.list)
        inner.addLayout(buttons)
        self.folding = Folding("Trash", content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.folding)
        self.restore.clicked.connect(self._on_restore)
        self.list.itemActivated.connect(self._on_restore)
        self.empty.clicked.connect(self.empty_wanted.emit)

    def show_trash(self, trash: Sequence[Deleted], busy: str) -> None:
        """List what is in the trash; it is not emptied while a job is under way."""
        row = self.list.currentRow()
        self.list.clear()
        for each in trash:
            self.list.addItem(deleted_line(each))
            item = self.list.item(self.list.count() - 1)
            if item is not None:
                item.setData(Qt.ItemDataRole.UserRole, each)
        self.list.setCurrentRow(min(max(row, 0), len(trash) - 1))
        self.folding.button.setText(f"Trash ({len(trash)})")
        self.folding.button.setAccessibleName(f"Trash ({len(trash)})")
        self.empty.setEnabled(not busy)
        self.setVisible(bool(trash))

    def _on_restore(self, _: object = None) -> None:
        item = self.list.currentItem()
        if item is not None:
            self.restore_wanted.emit(item.data(Qt.ItemDataRole.UserRole))
