"""The list of pairs: which are used, and what they hold or what is wrong with them.

The space bar ticks a row, Delete takes rows off the list that were added to it.
"""

from collections.abc import Hashable, Iterable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QListView,
    QListWidget,
    QListWidgetItem,
    QShortcut,
    QSizePolicy,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_rwkv_seg.controllers.finetune_pairs import PairRow
from napari_rwkv_seg.controllers.finetune_sentences import checked_line, pixels_line

from .texts import tooltip

_KEY = Qt.ItemDataRole.UserRole
# napari's theme draws no box for what is not ticked; its own tick is used for what is
_BOXES = """
QListWidget::indicator { border: 1px solid %(text)s; border-radius: 2px; }
QListWidget::indicator:checked { background: %(current)s; image: url("theme_%(id)s:/check.svg"); }
"""
_LEAST, _MOST = 44, 190  # pixels of height, before the list scrolls


class PairList(QListWidget):
    """Shows the pairs.

    Signals
    -------
    used : (key, bool)
        The user ticked a pair, or not any more.
    picked
        Other rows are selected.
    removed : list of key
        The user wants these off the list.
    """

    used = Signal(object, bool)
    picked = Signal()
    removed = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Images with labels to learn from")
        self.setToolTip(
            tooltip(
                "Ticked pairs are learnt from. Select one to say what of it is checked.\n"
                "Space ticks a pair, Delete takes one off that you have added."
            )
        )
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setWordWrap(True)
        self.setTextElideMode(Qt.TextElideMode.ElideNone)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(_LEAST)
        self.itemChanged.connect(self._on_changed)
        self.itemSelectionChanged.connect(self.picked.emit)
        delete = QShortcut(QKeySequence(Qt.Key.Key_Delete), self)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(lambda: self.removed.emit(self.chosen()))

    def show_theme(self, theme: Any) -> None:
        """Take the colours of a theme of napari."""
        colors = {"text": theme.text.as_hex("long"), "current": theme.current.as_hex("long")}
        self.setStyleSheet(_BOXES % {**colors, "id": theme.id})

    def chosen(self) -> list[Hashable]:
        """Return the keys of the selected rows; of the only row, selected or not."""
        if self.count() == 1:
            return [self.item(0).data(_KEY)]
        return [item.data(_KEY) for item in self.selectedItems()]

    def show_rows(self, rows: Iterable[PairRow], labels: str) -> None:
        """Show the pairs; what was selected stays so.

        Parameters
        ----------
        rows : iterable of PairRow
            In the order to show them.
        labels : "classes" or "objects"
            What the numbers stand for.
        """
        rows = list(rows)
        with signals_blocked(self):
            if [row.source.key for row in rows] != [item.data(_KEY) for item in self._items()]:
                self._list(rows)
            for item, row in zip(self._items(), rows, strict=True):
                _fill(item, row, labels)
        self.setVisible(bool(rows))
        self._fit_height()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Be as high as the rows, whose lines wrap anew."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._fit_height()

    def _fit_height(self) -> None:
        self.doItemsLayout()
        height = sum(self.visualItemRect(item).height() for item in self._items()) + 8
        self.setFixedHeight(min(_MOST, max(_LEAST, height)))

    def _list(self, rows: list[PairRow]) -> None:
        chosen = {item.data(_KEY) for item in self.selectedItems()}
        self.clear()
        for row in rows:
            item = QListWidgetItem(self)
            item.setData(_KEY, row.source.key)
            item.setSelected(row.source.key in chosen)
        if rows and not self.selectedItems():
            self.item(0).setSelected(True)  # so that it is seen that something can be said of it

    def _items(self) -> list[QListWidgetItem]:
        return [self.item(index) for index in range(self.count())]

    def _on_changed(self, item: QListWidgetItem) -> None:
        self.used.emit(item.data(_KEY), item.checkState() == Qt.CheckState.Checked)


def _fill(item: QListWidgetItem, row: PairRow, labels: str) -> None:
    """Show one pair; only what has changed is set, since setting lays the list out anew."""
    source = row.source
    lines = [f"{source.image_name} + {source.labels_name}"]
    lines.append(f"{checked_line(row)}{pixels_line(row.facts, labels)}")
    if row.problem:
        lines = [lines[0], f"Problem: {row.problem}"]
    text = "\n".join(lines)
    state = Qt.CheckState.Checked if row.used else Qt.CheckState.Unchecked
    if item.text() != text:
        item.setText(text)
        item.setToolTip(tooltip(text))
    if item.checkState() != state or not item.flags() & Qt.ItemFlag.ItemIsUserCheckable:
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(state)
