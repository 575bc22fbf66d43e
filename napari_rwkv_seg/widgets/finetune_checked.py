"""Say what of the selected pairs is checked: all of it, some planes, or what lies in boxes."""

from collections.abc import Hashable, Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLineEdit, QPushButton, QWidget
from superqt.utils import signals_blocked

from napari_rwkv_seg.controllers.finetune_pairs import HOWS, Checked, PairRow
from napari_rwkv_seg.controllers.finetune_sentences import HOW_NAMES

from .controls import keep_narrow
from .layouts import beside, column_of, form_of
from .texts import HINT, Line, describe

_HINTS = {
    "whole image": "Every pixel counts: what carries no label is learnt as background.",
    "these planes": "Only these planes count, whole; the others are ignored.",
    "inside these boxes": "Only what lies inside the shapes counts; the rest is ignored.",
}


class CheckedChoice(QWidget):
    """The widgets of "Checked".

    Signals
    -------
    changed : Checked
        The user chose something else for the selected pairs.
    boxes_wanted
        The user wants a new Shapes layer to draw boxes in.
    plane_wanted
        The user wants the plane that is shown among the checked ones.
    """

    changed = Signal(object)
    boxes_wanted = Signal()
    plane_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._checked = Checked()
        self.how = QComboBox()
        keep_narrow(self.how)
        for how in HOWS:
            self.how.addItem(HOW_NAMES[how], how)
        self.planes = QLineEdit()
        self.planes.setPlaceholderText("3, 7-9")
        self.shown = QPushButton("Add shown")
        self.boxes = QComboBox()
        self.boxes.setMinimumContentsLength(8)
        self.new_boxes = QPushButton("New boxes")
        self._hint = Line("What is checked", HINT)
        self._name_controls()
        self._lay_out()
        self.how.activated.connect(self._on_chosen)
        self.boxes.activated.connect(self._on_chosen)
        self.planes.editingFinished.connect(self._on_chosen)
        self.shown.clicked.connect(self.plane_wanted.emit)
        self.new_boxes.clicked.connect(self.boxes_wanted.emit)

    def show_rows(self, rows: Sequence[PairRow], drawings: Sequence[tuple[Hashable, str]]) -> None:
        """Show what of the selected pairs is checked.

        Parameters
        ----------
        rows : sequence of PairRow
            The selected pairs; the first one is shown.
        drawings : sequence of (key, name)
            The Shapes layers.
        """
        self.setVisible(bool(rows))
        if not rows:
            return
        self._checked = rows[0].checked
        how = self._checked.how
        has_stack = all(row.source.stack for row in rows)
        with signals_blocked(self.how), signals_blocked(self.boxes), signals_blocked(self.planes):
            self.how.setCurrentIndex(HOWS.index(how))
            self.how.model().item(HOWS.index("these planes")).setEnabled(has_stack)
            if not self.planes.hasFocus() or not self.planes.isModified():
                self.planes.setText(self._checked.planes)
            self._list(drawings)
        for name, widget in (
            ("these planes", self._plane_row),
            ("inside these boxes", self._box_row),
        ):
            widget.setVisible(how == name)
            self._form.labelForField(widget).setVisible(how == name)
        self._hint.say(_HINTS[how])

    def _list(self, drawings: Sequence[tuple[Hashable, str]]) -> None:
        self.boxes.clear()
        for key, name in drawings:
            self.boxes.addItem(name, key)
        keys = [key for key, _ in drawings]
        wanted = self._checked.boxes
        self.boxes.setCurrentIndex(keys.index(wanted) if wanted in keys else -1)
        self.boxes.setEnabled(bool(drawings))
        self.boxes.setPlaceholderText("Choose …" if drawings else "No Shapes layer")

    def _on_chosen(self) -> None:
        how = self.how.currentData()
        boxes = self.boxes.currentData() if how == "inside these boxes" else None
        if how == "inside these boxes" and boxes is None and self.boxes.count() == 1:
            boxes = self.boxes.itemData(0)  # the only one there is
        checked = Checked(how, self.planes.text().strip(), boxes)
        self.planes.setModified(False)
        if checked != self._checked:
            self.changed.emit(checked)

    def _name_controls(self) -> None:
        describe(
            (self.how, "What is checked", "\n".join(_HINTS.values())),
            (
                self.planes,
                "Checked planes",
                "Numbers from 0, such as 3, 7-9; with two leading axes 1/3, 1/7-9.",
            ),
            (self.shown, "Add the shown plane", "Count the plane that is shown as checked, too."),
            (self.boxes, "Shapes layer with boxes", "Rectangles, ellipses and polygons count."),
            (
                self.new_boxes,
                "New Shapes layer for boxes",
                "Add a Shapes layer, ready to draw rectangles around what you have checked.",
            ),
        )

    def _lay_out(self) -> None:
        self._plane_row = beside(self.planes, self.shown)
        self._box_row = beside(self.boxes, self.new_boxes)
        self._form = form_of(
            ("Chec&ked", self.how), ("Planes", self._plane_row), ("Boxes", self._box_row)
        )
        self.setLayout(column_of(self._form, self._hint))
