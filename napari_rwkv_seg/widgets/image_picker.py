"""Choose an image layer and say how it is read: its axes, a channel, a level.

Shows an `ImageChoice`; the rows for channel and level are there only where the
image has them.
"""

import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QWidget

from napari_rwkv_seg.controllers.segment import SegmentController

from .controls import combo_of
from .image_choice import ImageChoice, ImageFacts
from .layouts import column_of, form_of
from .texts import HINT, Line

if TYPE_CHECKING:
    from napari.layers import Image


_DIRECTION_NAMES = (
    ("Across Z", "Z"),
    ("Across Y", "Y"),
    ("Across X", "X"),
    ("Three directions, averaged", "ZYX"),
)


class ImagePicker(QWidget):
    """The widgets of "1 Image".

    Parameters
    ----------
    choice : ImageChoice
        What is shown and changed.
    controller : SegmentController
        Is told axes, channel and level.
    """

    def __init__(self, choice: ImageChoice, controller: SegmentController) -> None:
        super().__init__()
        self._choice = choice
        self._controller = controller
        self.image = combo_of("Image layer", "The image layer to segment.")
        self.axes = combo_of(
            "Axes of the image",
            "The image's axes from first to last: T time, Z depth, C channel, Y, X.\n"
            "Every plane along T and Z is segmented on its own.",
        )
        self.channel = combo_of("Channel", "Use all channels together, or one of them alone.")
        self.directions = combo_of(
            "Planes of a volume",
            "Which planes of the volume the network sees: those across one axis, or those across "
            "all three, averaged (three times the work; the whole volume is held in memory).",
        )
        self.level = combo_of("Level of the multiscale image", "0 is the full resolution.")
        self._sentence = Line("How the image is read", HINT)
        self._form = form_of(
            ("Axes", self.axes),
            ("Channel", self.channel),
            ("Planes", self.directions),
            ("Level", self.level),
        )
        self.setLayout(column_of(self.image, self._form, self._sentence))
        self.image.activated.connect(self._on_image)
        self.axes.activated.connect(self._on_axes)
        self.channel.activated.connect(self._on_channel)
        self.directions.activated.connect(self._on_directions)
        self.level.activated.connect(self._on_level)

    def show_layers(self) -> None:
        """List the image layers anew, and show which one is chosen."""
        self.image.clear()
        chosen = self._choice.image
        for layer in reversed(self._choice.layers()):  # as napari's list: topmost first
            self.image.addItem(layer.name, weakref.ref(layer))
            if layer is chosen:
                self.image.setCurrentIndex(self.image.count() - 1)
        self.image.setEnabled(self.image.count() > 0)
        if self.image.count() == 0:
            self.image.addItem("No image is open")

    def show_facts(self, facts: ImageFacts) -> None:
        """Show how the chosen image is read."""
        settings = self._controller.settings
        _fill(self.axes, [(axes, axes) for axes in facts.axes], settings.axes, "Choose the axes …")
        channels: list[tuple[str, Any]] = [("All channels", None)]
        channels += [(f"Channel {index}", index) for index in range(facts.channels)]
        _fill(self.channel, channels, settings.channel)
        levels = [
            (f"{index}: {' × '.join(map(str, shape))}", index)
            for index, shape in enumerate(facts.levels)
        ]
        _fill(self.level, levels, settings.level)
        _fill(self.directions, list(_DIRECTION_NAMES), settings.directions)
        self._show_row(self.axes, bool(facts.axes))
        self._show_row(self.channel, facts.channels > 1)
        self._show_row(self.directions, facts.is_volume and settings.scope == "whole layer")
        self._show_row(self.level, bool(facts.levels))
        self._sentence.say(facts.sentence)

    def _show_row(self, field: QComboBox, wanted: bool) -> None:
        """Show or hide a row with its label; Qt 5 cannot do that itself."""
        for widget in (field, self._form.labelForField(field)):
            widget.setVisible(wanted)

    def _on_image(self, index: int) -> None:
        reference = self.image.itemData(index)
        layer: Image | None = reference() if reference is not None else None
        if layer is not None and layer is not self._choice.image:
            self._choice.choose(layer)

    def _on_axes(self, index: int) -> None:
        if axes := self.axes.itemData(index):
            self._controller.choose(axes=axes, channel=None)

    def _on_channel(self, index: int) -> None:
        self._controller.choose(channel=self.channel.itemData(index))

    def _on_directions(self, index: int) -> None:
        self._controller.choose(directions=self.directions.itemData(index))

    def _on_level(self, index: int) -> None:
        self._controller.choose(level=self.level.itemData(index))


def _fill(combo: QComboBox, items: list[tuple[str, Any]], chosen: Any, prompt: str = "") -> None:
    """Fill a list, choosing an entry; if that is not there, ask with `prompt`."""
    combo.clear()
    values = [value for _, value in items]
    if prompt and chosen not in values:
        items = [(prompt, ""), *items]
        values = ["", *values]
    for text, value in items:
        combo.addItem(text, value)
    combo.setCurrentIndex(values.index(chosen) if chosen in values else 0)
