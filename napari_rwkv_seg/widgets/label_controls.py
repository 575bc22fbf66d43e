"""Adjust how probabilities become labels; the last result follows at once.

Every control changes one field of `LabelSettings` of the controller; lengths
and areas are in pixels.
"""

from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QSpinBox, QWidget
from superqt import QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.controllers.settings import SegmentSettings

from .decimals import Decimal, DecimalBox
from .layouts import column_of, form_of
from .texts import HINT, Line, describe

_LINKS = (
    ("No axis", ""),
    ("Z (depth)", "Z"),
    ("T (time)", "T"),
    ("Z, then T", "TZ"),
)


class LabelControls(QWidget):
    """The widgets of "Adjust result".

    Parameters
    ----------
    controller : SegmentController
        Is told every change.
    is_live : bool
        Whether there is a result that follows at once, and probabilities to show.

    Signals
    -------
    probabilities_wanted : bool
        Whether the user wants to see the probabilities.
    """

    probabilities_wanted = Signal(bool)

    def __init__(self, controller: SegmentController, *, is_live: bool = True) -> None:
        super().__init__()
        self._controller = controller
        self._is_live = is_live
        self._make_controls()
        self._name_controls()
        self._lay_out()
        self.threshold.valueChanged.connect(lambda value: self._choose(threshold=round(value, 2)))
        self.smallest.valueChanged.connect(lambda value: self._choose(smallest_object=value))
        self.holes.toggled.connect(lambda on: self._choose(fill_holes=on))
        self.split.toggled.connect(lambda on: self._choose(split=on))
        self.link.activated.connect(lambda index: self._choose(link=self.link.itemData(index)))
        self.overlap.valueChanged.connect(lambda value: self._choose(link_overlap=round(value, 2)))
        self.distance.valueChanged.connect(lambda value: self._choose(split_distance=value))
        self.probabilities.toggled.connect(self.probabilities_wanted.emit)

    def show_settings(self, settings: SegmentSettings) -> None:
        """Show the settings as they are."""
        labels = settings.labels
        with (
            signals_blocked(self.threshold),
            signals_blocked(self.smallest),
            signals_blocked(self.holes),
            signals_blocked(self.split),
            signals_blocked(self.distance),
            signals_blocked(self.link),
            signals_blocked(self.overlap),
        ):
            self.link.setCurrentIndex(self.link.findData(labels.link))
            self.overlap.setValue(labels.link_overlap)
            self.threshold.setValue(labels.threshold)
            self.smallest.setValue(labels.smallest_object)
            self.holes.setChecked(labels.fill_holes)
            self.split.setChecked(labels.split)
            self.distance.setValue(labels.split_distance)
        self.split.setEnabled(labels.output == "objects")
        self.distance.setEnabled(labels.output == "objects" and labels.split)
        may_be_stack = not self._is_live or bool(set(settings.axes) & {"Z", "T"})
        can_link = labels.output == "objects" and may_be_stack
        for index, (_, axes) in enumerate(_LINKS):
            is_there = not self._is_live or set(axes) <= set(settings.axes)
            self.link.model().item(index).setEnabled(is_there)
        self._show_row(self.link, can_link)
        self._show_row(self.overlap, can_link and bool(labels.link))

    def say_of(self, model: str = "", axes: str = "") -> None:
        """Say what the controls act on.

        Parameters
        ----------
        model : str
            That made the last result; "" if it is the chosen one, or there is no result.
        axes : str
            Of the image of that result; "" if they are the chosen ones.
        """
        read = f", of an image read as {axes}," if axes else ""
        acts = f"Acts on the last result{read} at once; the network does not run again."
        waits = f"The last result is of {model!r}: choose that model to adjust it, or run this one."
        self.hint.say(waits if model else acts)

    def _show_row(self, field: QWidget, wanted: bool) -> None:
        """Show or hide a row with its label; Qt 5 cannot do that itself."""
        for widget in (field, self._form.labelForField(field)):
            widget.setVisible(wanted)

    def _make_controls(self) -> None:
        self.threshold = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.threshold.setRange(0, 1)
        self.threshold.setDecimals(2)
        self.threshold.setSingleStep(0.01)
        for number in self.threshold.findChildren(QLineEdit):
            number.setValidator(Decimal(0, 1, 2, number))
        self.smallest = QSpinBox()
        self.smallest.setRange(0, 1_000_000)
        self.smallest.setSuffix(" px")
        self.smallest.setKeyboardTracking(False)
        self.holes = QCheckBox("Fill holes")
        self.split = QCheckBox("Split touching objects")
        self.distance = QSpinBox()
        self.distance.setRange(1, 1000)
        self.distance.setSuffix(" px")
        self.distance.setKeyboardTracking(False)
        self.link = QComboBox()
        for text, value in _LINKS:
            self.link.addItem(text, value)
        self.overlap = DecimalBox()
        self.overlap.setRange(0, 1)
        self.overlap.setSingleStep(0.05)
        self.overlap.setKeyboardTracking(False)
        self.probabilities = QCheckBox("Show probabilities")

    def _name_controls(self) -> None:
        """Give every control its name for screen readers and its hint."""
        describe(
            (self.threshold, "Threshold", "Pixels are foreground from this probability on."),
            (self.smallest, "Smallest object", "Objects of fewer pixels are dropped; 0 keeps all."),
            (self.holes, "Fill holes", "Fill background that an object encloses."),
            (
                self.split,
                "Split touching objects",
                "Cut touching objects apart (separate objects only).",
            ),
            (
                self.distance,
                "Split distance",
                "Centres of touching objects lie at least this far apart.",
            ),
            (
                self.link,
                "Same object in planes",
                "Give objects one number that overlap from plane to plane (separate objects only).",
            ),
            (
                self.overlap,
                "Least overlap",
                "Objects are linked from this overlap (IoU) on.",
            ),
            (
                self.probabilities,
                "Show probabilities",
                "Show the network's probabilities as image layers.",
            ),
        )

    def _lay_out(self) -> None:
        self._form = form_of(
            ("Threshold", self.threshold),
            ("Smallest object", self.smallest),
            self.holes,
            self.split,
            ("Split distance", self.distance),
            ("Link along", self.link),
            ("Least overlap", self.overlap),
            self.probabilities,
        )
        self.hint = Line("About these controls", HINT)
        if self._is_live:
            self.say_of()
        else:
            self.probabilities.hide()
        self.setLayout(column_of(self._form, self.hint))

    def _choose(self, **changes: Any) -> None:
        self._controller.choose(**changes)
