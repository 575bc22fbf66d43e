"""Undo for what was just deleted, and the trash: take back, or delete for good."""

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QPushButton, QWidget

from napari_rwkv_seg.controllers.models_rows import deleted_line
from napari_rwkv_seg.zoo.manage import Deleted

from .folding import Folding
from .layouts import STYLE_SPACING, column_of, row_of, widget_of
from .texts import Line, describe


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
        row = row_of(self.line, self.button)
        row.setStretch(0, 1)
        self.setLayout(row)
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
        self.empty = QPushButton("Empty trash…")
        describe(
            (self.restore, "Restore the chosen one", "Take the chosen one back among your models."),
            (self.empty, "Empty the trash", "Delete all of it for good."),
        )
        buttons = row_of(self.restore, self.empty)
        content = column_of(self.list, buttons, spacing=STYLE_SPACING)
        self.folding = Folding("Trash", widget_of(content))
        self.setLayout(column_of(self.folding, spacing=STYLE_SPACING))
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
