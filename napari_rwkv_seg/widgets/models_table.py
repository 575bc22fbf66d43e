"""The list of models: a table that can be sorted, a row for each model and encoder.

What cannot be used is greyed, slanted, and says so in words.
"""

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QWidget
from superqt.utils import signals_blocked

from napari_rwkv_seg.controllers.models_rows import COLUMNS, ModelRow

from .texts import tooltip

_WIDTHS = (150, 62, 190, 110, 68, 90, 110, 150)  # pixels, to begin with
_KEY = Qt.ItemDataRole.UserRole
_WANTED = {Qt.Key.Key_F2: "rename", Qt.Key.Key_Delete: "delete"}
_GREY = QColor(128, 128, 128)  # as far from napari's dark as from its light
_MOST_TEXT = 300  # characters of a cell


class _Cell(QTableWidgetItem):
    """A cell that is sorted by a key instead of by its text."""

    def __init__(self, text: str, sort_key: str | float) -> None:
        super().__init__(text[:_MOST_TEXT])
        self.sort_key = sort_key
        self.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        self.setToolTip(tooltip(text))

    def __lt__(self, other: QTableWidgetItem) -> bool:
        theirs = getattr(other, "sort_key", "")
        if isinstance(self.sort_key, float) and isinstance(theirs, float):
            return self.sort_key < theirs
        return str(self.sort_key) < str(theirs)


class ModelTable(QTableWidget):
    """Shows rows, and says which one is chosen.

    Signals
    -------
    chosen : str
        The key of the chosen row; "" if there is none.
    wanted : str
        The user pressed a key that wants something: "rename" or "delete".
    """

    chosen = Signal(str)
    wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self.setAccessibleName("Models and pretrained encoders")
        self.setHorizontalHeaderLabels(list(COLUMNS))
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)  # Tab leaves the table
        self.setMinimumHeight(110)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        header = self.horizontalHeader()
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)  # as they come
        header.setSortIndicatorShown(True)
        self.setSortingEnabled(True)
        self.itemSelectionChanged.connect(lambda: self.chosen.emit(self.key))

    @property
    def key(self) -> str:
        """The key of the chosen row; "" if none is."""
        rows = self.selectionModel().selectedRows()
        item = self.item(rows[0].row(), 0) if rows else None
        return str(item.data(_KEY)) if item is not None else ""

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Hear F2 and Delete, as lists of files do."""
        word = _WANTED.get(event.key())
        if word is None:
            super().keyPressEvent(event)
        else:
            self.wanted.emit(word)

    def show_rows(self, rows: Sequence[ModelRow]) -> None:
        """List `rows`; the chosen one stays chosen if it is still there."""
        before = self.key
        place = self.verticalScrollBar().value()
        with signals_blocked(self):
            self.setSortingEnabled(False)  # or rows would move while they are filled
            self.setRowCount(len(rows))
            for number, row in enumerate(rows):
                self._fill(number, row)
            self.setSortingEnabled(True)
            self.clearSelection()
            self._select(before)
        self.verticalScrollBar().setValue(place)
        self.chosen.emit(self.key)

    def choose(self, key: str) -> None:
        """Choose the row of a key, and scroll to it."""
        self._select(key)
        if self.key == key and self.currentItem() is not None:
            self.scrollToItem(self.item(self.currentRow(), 0))

    def _select(self, key: str) -> None:
        for number in range(self.rowCount()):
            item = self.item(number, 0)
            if key and item is not None and item.data(_KEY) == key:
                self.setCurrentCell(number, 0)
                self.selectRow(number)

    def _fill(self, number: int, row: ModelRow) -> None:
        for column, (text, key) in enumerate(zip(row.cells, row.sort_keys, strict=True)):
            cell = _Cell(text, key)
            if row.entry.problem:
                cell.setForeground(_GREY)
                font = cell.font()
                font.setItalic(True)
                cell.setFont(font)
                cell.setToolTip(tooltip(row.entry.problem))
            self.setItem(number, column, cell)
        first = self.item(number, 0)
        if first is not None:
            first.setData(_KEY, row.key)
