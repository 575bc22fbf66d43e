"""What a run has brought: scores before and after, and the choice of the new or the old model.

The button that is offered first is the one that the scores speak for.
"""

from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_rwkv_seg.controllers.finetune_choices import NAME_LENGTH
from napari_rwkv_seg.controllers.finetune_sentences import class_scores, result_line

from .layouts import column_of, form_of, row_of
from .texts import WARNING, Line, describe

_COLUMNS = ("Class", "Before", "After", "Change")
_MOST_ROWS = 6  # before the table scrolls
_ROW = 22  # pixels


class ResultPanel(QWidget):
    """The widgets of "4 Result".

    Signals
    -------
    use_wanted : str
        The user wants the new model, under this name.
    keep_wanted
        The user keeps the old model.
    differences_wanted
        The user wants to see where the models differ.
    """

    use_wanted = Signal(str)
    keep_wanted = Signal()
    differences_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.line = Line("Scores before and after")
        self.line.setStyleSheet("font-weight: bold;")
        self.sentence = Line("What the scores say")
        self.table = QTableWidget(0, len(_COLUMNS))
        self.differences = QPushButton("Show differences")
        self.name = QLineEdit()
        self.name.setMaxLength(NAME_LENGTH)
        self.use = QPushButton("Use new model")
        self.keep = QPushButton("Keep old model")
        self.problem = Line("Why the model could not be used", WARNING)
        self._name_controls()
        self._lay_out()
        self.use.clicked.connect(lambda: self.use_wanted.emit(self.name.text()))
        self.name.returnPressed.connect(self._on_return)
        self.keep.clicked.connect(self.keep_wanted.emit)
        self.differences.clicked.connect(self.differences_wanted.emit)

    def show_result(self, result: dict[str, Any], name: str) -> None:
        """Show a result, and `name` as that of the new model."""
        recommended = result.get("recommended") is True
        self.line.say(result_line(result))
        self.sentence.setStyleSheet("" if recommended else WARNING)
        self.sentence.say(str(result.get("sentence") or ""))
        self._show_scores(class_scores(result))
        self.name.setText(name)
        self.problem.say("")
        self.allow(True)
        for button, is_first in ((self.use, recommended), (self.keep, not recommended)):
            button.setDefault(is_first)
            button.setStyleSheet("font-weight: bold;" if is_first else "")
            button.setProperty("first", is_first)

    def focus_first(self) -> None:
        """Give the keyboard to the button that the scores speak for."""
        (self.use if self.use.isDefault() else self.keep).setFocus()

    def allow(self, is_allowed: bool) -> None:
        """Let the buttons be pressed, or not while the model is put in its place."""
        for widget in (self.use, self.keep, self.name):
            widget.setEnabled(is_allowed)

    def _on_return(self) -> None:
        self.use.setFocus()  # a name is typed; whether to use the model is another word

    def _show_scores(self, scores: list[tuple[str, float | None, float | None]]) -> None:
        self.table.setRowCount(len(scores))
        for row, (name, before, after) in enumerate(scores):
            change = after - before if after is not None and before is not None else None
            texts = (name, _score(before), _score(after), _score(change, "+.3f"))
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if column:
                    right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                    item.setData(Qt.ItemDataRole.TextAlignmentRole, right)
                self.table.setItem(row, column, item)
        header = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(header + _ROW * min(_MOST_ROWS, max(1, len(scores))) + 4)
        self.table.setVisible(bool(scores))

    def _name_controls(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(list(_COLUMNS))
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(_ROW)
        table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        table.setTabKeyNavigation(False)
        describe(
            (table, "Dice of every class before and after", "Dice on the held-out regions."),
            (
                self.differences,
                "Show differences",
                "Layers of the held-out regions: newly right in green, newly wrong in red.",
            ),
            (self.name, "Name of the new model", "Letters, digits, _, . and - make the folder."),
            (
                self.use,
                "Use new model",
                "Put the model among your models, and choose it for segmenting.",
            ),
            (self.keep, "Keep old model", "Go on with the model as it was before."),
        )

    def _lay_out(self) -> None:
        scores = (self.line, self.sentence, self.table, self.differences)
        form, buttons = form_of(("Na&me", self.name)), row_of(self.use, self.keep)
        self.setLayout(column_of(*scores, form, buttons, self.problem))


def _score(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form).replace("-", "\N{MINUS SIGN}")
