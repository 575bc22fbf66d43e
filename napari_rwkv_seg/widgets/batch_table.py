"""The table of a batch: a row an image with its state, its time, and why it failed."""

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QStyledItemDelegate, QTableView

from napari_rwkv_seg.controllers.batch_rows import Row

from .texts import tooltip

_TITLES = ("Image", "State", "Time", "Note")
_WIDTHS = (120, 58, 52)


class RowModel(QAbstractTableModel):
    """The rows as Qt wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show all rows anew."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def show_row(self, row: Row) -> None:
        """Show a row as it is now."""
        self.rows[row.number] = row
        last = len(_TITLES) - 1
        self.dataChanged.emit(self.index(row.number, 0), self.index(row.number, last))

    # Qt's own names and ways.

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return how many images there are."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return how many columns there are."""
        return 0 if parent is not None and parent.isValid() else len(_TITLES)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802
        """Return the title of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _TITLES[section]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return what a cell shows."""
        row = self.rows[index.row()]
        cells = (row.image, row.state, _time(row.seconds), row.note)
        if role == Qt.ItemDataRole.DisplayRole:
            return cells[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return tooltip(f"{row.image}\n{row.note}".strip())
        return None


class BatchTable(QTableView):
    """Shows the rows, and says which one the user wants to open.

    Signals
    -------
    open_wanted : Row
        The user has double-clicked a row, or pressed Enter on it.
    """

    open_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.model_ = RowModel()
        self.setModel(self.model_)
        self.setAccessibleName("Images of the batch")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)  # Tab leads on to the next widget
        self.setWordWrap(False)
        self._names = _Names(self)
        self.setItemDelegateForColumn(0, self._names)
        self.setMinimumHeight(160)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        header = self.horizontalHeader()
        header.setStretchLastSection(True)
        header.setMinimumSectionSize(24)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        self.setToolTip(tooltip("Double-click a row to open the image and its labels."))
        self.activated.connect(self._on_activated)

    def chosen(self) -> Row | None:
        """Return the row that is selected."""
        index = self.currentIndex()
        return self.model_.rows[index.row()] if index.isValid() else None

    def _on_activated(self, index: QModelIndex) -> None:
        self.open_wanted.emit(self.model_.rows[index.row()])


class _Names(QStyledItemDelegate):
    """Shows the end of a long name: the folders before it are often the same."""

    def initStyleOption(self, option: Any, index: QModelIndex) -> None:  # noqa: N802 - Qt's name
        """Leave out the beginning of what is too long."""
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideLeft


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"
