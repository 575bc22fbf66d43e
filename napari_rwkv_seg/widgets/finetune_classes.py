"""What the numbers in the labels mean, and the classes of the new model: names and colours."""

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QComboBox,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_choices import (
    guess_classes,
    with_changed_class,
    with_class,
)
from napari_rwkv_seg.controllers.finetune_sentences import classes_hint
from napari_rwkv_seg.errors import SettingsError

from .controls import keep_narrow
from .layouts import column_of, form_of, row_of
from .texts import HINT, WARNING, Line, describe, tooltip

_MEANINGS = (("Classes", "classes"), ("Separate objects", "objects"))
_MOST_ROWS = 6  # before the table scrolls
_NAME = 1  # the column
_COLOR = Qt.ItemDataRole.UserRole


class ClassTable(QWidget):
    """The widgets of "2 Classes".

    Parameters
    ----------
    controller : FinetuneController
        Is told every change.
    """

    def __init__(self, controller: FinetuneController) -> None:
        super().__init__()
        self._controller = controller
        self.meaning = QComboBox()
        keep_narrow(self.meaning)
        for text, value in _MEANINGS:
            self.meaning.addItem(text, value)
        self.table = QTableWidget(0, 2)
        self.add = QPushButton("Add a class")
        self.reset = QPushButton("As in the model")
        self._problem = Line("What is wrong with the classes", WARNING)
        self._hint = Line("What becomes of the classes", HINT)
        self._name_controls()
        self._lay_out()
        self.meaning.activated.connect(
            lambda index: controller.choose(labels=self.meaning.itemData(index))
        )
        self.table.itemChanged.connect(self._on_renamed)
        self.table.cellActivated.connect(self._on_activated)
        self.table.cellDoubleClicked.connect(self._on_activated)
        self.add.clicked.connect(self._on_add)
        self.reset.clicked.connect(controller.base_classes)

    def show_choices(self) -> None:
        """Show the classes as they are."""
        choices, base = self._controller.choices, self._controller.base
        self.meaning.setCurrentIndex([value for _, value in _MEANINGS].index(choices.labels))
        with signals_blocked(self.table):
            self.table.setRowCount(len(choices.classes))
            for row, one in enumerate(choices.classes):
                self._show_class(row, one.name, one.color)
        rows = min(_MOST_ROWS, max(1, len(choices.classes)))
        header = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(
            header + rows * self.table.verticalHeader().defaultSectionSize() + 4
        )
        is_classes = choices.labels == "classes"
        self.add.setEnabled(is_classes)
        self.reset.setVisible(base is not None and tuple(base.classes) != choices.classes)
        made_by = guess_classes(list(self._controller.rows), self._controller.models)
        self._hint.say(classes_hint(base, choices, made_by))
        self._problem.say("")

    def change_color(self, row: int, color: str) -> None:
        """Give a class another colour, "#rrggbb"."""
        self._change(row, color=color)

    def _show_class(self, row: int, name: str, color: str) -> None:
        """Show a class; what is shown already is left, since a name may just be written."""
        told = self.table.item(row, _NAME)
        if told is None:
            self.table.setItem(row, _NAME, QTableWidgetItem(name))
        elif told.text() != name:
            told.setText(name)
        number = self.table.item(row, 0)
        if number is not None and number.data(_COLOR) == color:
            return
        swatch = QPixmap(14, 14)
        swatch.fill(QColor(color))
        number = QTableWidgetItem(QIcon(swatch), str(row))
        number.setData(_COLOR, color)
        number.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        number.setToolTip(tooltip(f"Number {row} in the labels; colour {color}. Enter changes it."))
        self.table.setItem(row, 0, number)

    def _on_renamed(self, item: QTableWidgetItem) -> None:
        if item.column() == _NAME:
            self._change(item.row(), name=item.text())

    def _on_activated(self, row: int, column: int) -> None:
        """Ask for a colour, if the cell with the colour was chosen."""
        if column == _NAME:
            return
        now = QColor(self._controller.choices.classes[row].color)
        color = QColorDialog.getColor(now, self, "Colour of the class")
        if color.isValid():
            self.change_color(row, color.name())

    def _on_add(self) -> None:
        self._choose(lambda classes: with_class(classes))
        last = self.table.rowCount() - 1
        self.table.setCurrentCell(last, _NAME)
        self.table.editItem(self.table.item(last, _NAME))

    def _change(self, row: int, **changes: str) -> None:
        self._choose(lambda classes: with_changed_class(classes, row, **changes))

    def _choose(self, change: Any) -> None:
        try:
            self._controller.choose(classes=change(self._controller.choices.classes))
            self.show_choices()
        except SettingsError as error:
            self.show_choices()
            self._problem.say(str(error))

    def _name_controls(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(["No.", "Class"])
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(24)
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        table.setTabKeyNavigation(False)  # Tab leaves the table
        describe(
            (
                self.meaning,
                "What the numbers in the labels mean",
                "Classes: a number is a class. Separate objects: every number is one object of "
                "one class, and touching ones are learnt apart.",
            ),
            (
                table,
                "Classes of the new model",
                "Paint with the number of a class. F2 or a double click renames a class or "
                "changes its colour; a class is kept by its name.",
            ),
            (
                self.add,
                "Add a class",
                "One more class for the model to learn; the others keep what they know.",
            ),
            (self.reset, "Classes as in the model", "Take the model's own classes again."),
        )

    def _lay_out(self) -> None:
        form = form_of(("&Numbers mean", self.meaning))
        buttons = row_of(self.add, self.reset)
        self.setLayout(column_of(form, self.table, buttons, self._problem, self._hint))
