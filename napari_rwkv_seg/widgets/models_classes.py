"""Names and colours of a new model's classes, as a table that is edited."""

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_rwkv_seg.controllers.models_choices import FIRST_CLASS, listed_classes

from .layouts import STYLE_SPACING, column_of, row_of
from .texts import tooltip

_NAME, _COLOR = 0, 1  # the columns


class ClassesEdit(QWidget):
    """A row for each class besides the background."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = QTableWidget(0, 2)
        self.table.setAccessibleName("Classes of the new model")
        self.table.setHorizontalHeaderLabels(["Class", "Colour"])
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(24)
        self.table.horizontalHeader().setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        self.table.setTabKeyNavigation(False)
        self.table.setFixedHeight(126)
        self.add = QPushButton("Add a class")
        self.remove = QPushButton("Remove")
        for button, name in ((self.add, "Add a class"), (self.remove, "Remove the chosen class")):
            button.setAccessibleName(name)
            button.setAutoDefault(False)
        buttons = row_of(self.add, self.remove)
        self.setLayout(column_of(self.table, buttons, spacing=STYLE_SPACING))
        self.add.clicked.connect(self._on_add)
        self.remove.clicked.connect(self._on_remove)
        self.table.cellDoubleClicked.connect(self._on_activated)
        self.table.cellActivated.connect(self._on_activated)
        self._append(*FIRST_CLASS)

    def pairs(self) -> list[tuple[str, str]]:
        """Return name and colour of each class."""
        rows = range(self.table.rowCount())
        return [(self._text(row, _NAME), self._text(row, _COLOR)) for row in rows]

    def change_color(self, row: int, color: str) -> None:
        """Give a class another colour, "#rrggbb"."""
        swatch = QPixmap(14, 14)
        swatch.fill(QColor(color))
        item = QTableWidgetItem(QIcon(swatch), color)
        item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        item.setToolTip(tooltip("Double click or Enter changes the colour."))
        self.table.setItem(row, _COLOR, item)

    def _text(self, row: int, column: int) -> str:
        item = self.table.item(row, column)
        return item.text().strip() if item is not None else ""

    def _append(self, name: str, color: str) -> None:
        row = self.table.rowCount()
        self.table.insertRow(row)
        self.table.setItem(row, _NAME, QTableWidgetItem(name))
        # a colour that the others do not have
        suggested = listed_classes([("x", "")] * (row + 1))[-1].color
        self.change_color(row, color or suggested)

    def _on_add(self) -> None:
        row = self.table.rowCount()
        self._append(f"class {row + 1}", "")
        self.table.setCurrentCell(row, _NAME)
        self.table.editItem(self.table.item(row, _NAME))

    def _on_remove(self) -> None:
        row = self.table.currentRow()
        if row >= 0 and self.table.rowCount() > 1:
            self.table.removeRow(row)

    def _on_activated(self, row: int, column: int) -> None:
        if column != _COLOR:
            return
        color = QColorDialog.getColor(QColor(self._text(row, _COLOR)), self, "Colour of the class")
        if color.isValid():
            self.change_color(row, color.name())
