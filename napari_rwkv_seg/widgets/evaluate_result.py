"""The scores: the means in words, a table to sort, what can be done with them, and a legend."""

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_rwkv_seg.controllers.evaluate import Evaluated
from napari_rwkv_seg.controllers.evaluate_about import about_line, outdated_line
from napari_rwkv_seg.controllers.evaluate_table import (
    DIFFERENCE_COLORS,
    DIFFERENCE_MEANINGS,
    NOT_DEFINED,
    Cell,
    summary_of,
    table_of,
)

from .layouts import STYLE_SPACING, column_of, row_of
from .texts import HINT, WARNING, Line, describe, tooltip

_TEXT_COLUMNS = 2
_SWATCH = 12  # pixels
_ROWS_SHOWN = 12
_NAME_WIDTH = 140  # pixels; tooltips have the whole name
_DIFFERENCES = "Add a layer of what is agreed, missed and added; your layers stay as they are."
_OLD_DIFFERENCES = "The labels have changed since they were compared; evaluate again first."


class ScoreTable(QTableWidget):
    """A table that sorts numbers as numbers, and cannot be edited."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Scores")
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)  # Tab leaves the table
        self.verticalHeader().hide()

    def show_scores(self, outcome: Evaluated | None) -> None:
        """Show the scores of an evaluation, in its own order."""
        self.setSortingEnabled(False)
        self.clear()
        table = table_of(outcome.evaluation) if outcome and outcome.evaluation else None
        rows = table.rows if table else ()
        self.setRowCount(len(rows))
        self.setColumnCount(len(table.titles) if table else 0)
        if table is None:
            return
        for column, (title, hint) in enumerate(zip(table.titles, table.hints, strict=True)):
            header = QTableWidgetItem(title)
            header.setToolTip(tooltip(hint))
            self.setHorizontalHeaderItem(column, header)
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                self.setItem(number, column, _Item(cell, is_number=column >= _TEXT_COLUMNS))
        self.resizeColumnsToContents()
        # No column is marked as sorted until the user chooses one.
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        self.setColumnWidth(0, min(self.columnWidth(0), _NAME_WIDTH))
        self.setColumnHidden(0, len({row[0].value for row in rows}) == 1)
        lines = min(len(rows), _ROWS_SHOWN) + 2.5
        self.setFixedHeight(round(lines * self.verticalHeader().defaultSectionSize()))


class _Item(QTableWidgetItem):
    """A cell that knows what it is sorted by."""

    def __init__(self, cell: Cell, *, is_number: bool) -> None:
        super().__init__(cell.text)
        if isinstance(cell.value, str):
            self.setToolTip(tooltip(cell.text))
        self._value = cell.value
        if is_number:
            right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.setData(Qt.ItemDataRole.TextAlignmentRole, right)  # as every Qt binding takes it

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return self._value < other._value if isinstance(other, _Item) else False


class EvaluateResult(QWidget):
    """The widgets of "Result".

    Signals
    -------
    save_wanted, differences_wanted
        The user pressed a button.
    """

    save_wanted = Signal()
    differences_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.about = Line("What was compared")
        self.outdated = Line("Why the scores are out of date", WARNING)
        self.summary = Line("Scores in words")
        self.notes = Line("What is worth knowing", WARNING)
        self.table = ScoreTable()
        self.undefined = Line("What a dash means", HINT)
        self.save = QPushButton("Save as CSV …")
        self.differences = QPushButton("Show differences")
        self.legend = QWidget()
        hint = "Write all scores of all images into a table that any program reads."
        describe((self.save, self.save.text(), hint))
        self._lay_out()
        self.save.clicked.connect(self.save_wanted.emit)
        self.differences.clicked.connect(self.differences_wanted.emit)
        self.show_outcome(None)

    def show_outcome(self, outcome: Evaluated | None) -> None:
        """Show scores, or nothing yet."""
        evaluation = outcome.evaluation if outcome else None
        self.about.say(about_line(outcome.job) if outcome else "")
        self.show_outdated("", is_chosen=True)
        self.summary.say(summary_of(evaluation) if evaluation else "Nothing is evaluated yet.")
        lines = (*evaluation.problems, *evaluation.notes) if evaluation else ()
        self.notes.say("\n".join(lines))
        self.table.show_scores(outcome)
        has_rows = bool(evaluation and evaluation.rows)
        self.table.setVisible(has_rows)
        self.save.setVisible(has_rows)
        self.undefined.say(NOT_DEFINED if has_rows and self._has_dash() else "")
        has_layers = outcome is not None and outcome.differences is not None
        self.differences.setVisible(has_layers)
        self.legend.setVisible(has_layers)

    def show_outdated(self, edited: str, *, is_chosen: bool) -> None:
        """Say whether a layer was edited since, or something else is chosen now.

        Differences of labels that are no more as they were are not offered.
        """
        self.outdated.say(outdated_line(edited, is_chosen=is_chosen))
        self.differences.setEnabled(not edited)
        hint = _OLD_DIFFERENCES if edited else _DIFFERENCES
        describe((self.differences, self.differences.text(), hint))

    def _has_dash(self) -> bool:
        table = self.table
        return any(
            table.item(row, column).text() == "–"
            for row in range(table.rowCount())
            for column in range(_TEXT_COLUMNS, table.columnCount())
        )

    def _lay_out(self) -> None:
        swatches = QGridLayout(self.legend)  # two rows: a dock is narrow
        swatches.setContentsMargins(0, 0, 0, 0)
        swatches.setColumnStretch(4, 1)
        for place, (number, color) in enumerate(DIFFERENCE_COLORS.items()):
            pixmap = QPixmap(_SWATCH, _SWATCH)
            pixmap.fill(QColor(color))
            mark, text = QLabel(), QLabel(DIFFERENCE_MEANINGS[number])
            mark.setPixmap(QIcon(pixmap).pixmap(_SWATCH, _SWATCH))
            swatches.addWidget(mark, place // 2, 2 * (place % 2))
            swatches.addWidget(text, place // 2, 2 * (place % 2) + 1)
        of_what = (self.about, self.outdated)
        scores = (self.summary, self.notes, self.table, self.undefined)
        buttons = row_of(self.differences, self.save)
        self.setLayout(column_of(*of_what, *scores, buttons, self.legend, spacing=STYLE_SPACING))
