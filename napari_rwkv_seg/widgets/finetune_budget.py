"""For how long to train, and under Advanced: how much of the network, how varied, on what."""

from qtpy.QtWidgets import QComboBox, QWidget
from superqt.utils import signals_blocked

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_choices import (
    DEPTHS,
    MOST_MINUTES,
    ORIENTATIONS,
    FinetuneChoices,
)
from napari_rwkv_seg.controllers.finetune_sentences import DEPTH_NAMES, ORIENTATION_NAMES

from .controls import keep_narrow
from .decimals import DecimalBox
from .folding import Folding
from .layouts import column_of, form_of, widget_of
from .texts import describe

_DEVICES = (("Automatic", "auto"), ("CPU", "cpu"), ("GPU (CUDA)", "cuda"))


class Budget(QWidget):
    """The widgets for time, depth, orientation and device.

    Parameters
    ----------
    controller : FinetuneController
        Is told every change.
    """

    def __init__(self, controller: FinetuneController) -> None:
        super().__init__()
        self.minutes = DecimalBox()
        self.minutes.setRange(0, MOST_MINUTES)
        self.minutes.setDecimals(1)
        self.minutes.setSuffix(" min")
        self.minutes.setSpecialValueText("5 min (GPU: 2 min)")
        self.minutes.setKeyboardTracking(False)
        self.depth = QComboBox()
        for depth in DEPTHS:
            self.depth.addItem(DEPTH_NAMES[depth], depth)
        self.orientation = QComboBox()
        for orientation in ORIENTATIONS:
            self.orientation.addItem(ORIENTATION_NAMES[orientation], orientation)
        self.device = QComboBox()
        for text, device in _DEVICES:
            self.device.addItem(text, device)
        self._name_controls()
        self._lay_out()
        self.minutes.valueChanged.connect(lambda value: controller.choose(minutes=value or None))
        self.depth.activated.connect(lambda i: controller.choose(depth=self.depth.itemData(i)))
        self.orientation.activated.connect(
            lambda i: controller.choose(orientation=self.orientation.itemData(i))
        )
        self.device.activated.connect(lambda i: controller.choose(device=self.device.itemData(i)))

    def show_choices(self, choices: FinetuneChoices) -> None:
        """Show the choices as they are."""
        with signals_blocked(self.minutes):
            self.minutes.setValue(choices.minutes or 0)
        self.depth.setCurrentIndex(self.depth.findData(choices.depth))
        self.orientation.setCurrentIndex(self.orientation.findData(choices.orientation))
        self.device.setCurrentIndex(self.device.findData(choices.device))

    def _name_controls(self) -> None:
        describe(
            (
                self.minutes,
                "Minutes of training",
                "How long to train, checks included; you can stop earlier and keep the best.\n"
                "If nothing is chosen: 5 minutes on a CPU, 2 on a GPU.",
            ),
            (
                self.depth,
                "Depth of training",
                "How much of the network learns.\nAutomatic: the fewer labels, the less of it.",
            ),
            (
                self.orientation,
                "Orientation of objects",
                "Any way round: images are turned and mirrored while the model learns.\nAs in the "
                "images: where the side tells classes apart, such as left and right kidneys.\n"
                "A model knows which of the two it was taught.",
            ),
            (self.device, "Device", "Where to train. Automatic takes a GPU if there is one."),
        )
        for combo in (self.depth, self.orientation, self.device):
            keep_narrow(combo)

    def _lay_out(self) -> None:
        more = form_of(
            ("&Depth", self.depth), ("&Orientation", self.orientation), ("Dev&ice", self.device)
        )
        self.advanced = Folding("Advanced", widget_of(more))
        self.setLayout(column_of(form_of(("&Time", self.minutes)), self.advanced))
