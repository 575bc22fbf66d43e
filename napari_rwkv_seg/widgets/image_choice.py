"""Which image layer is to be segmented, and how its axes are read.

Follows the viewer's layers by object, not by name. The order of the axes is
guessed where it can be known, and said in a sentence; where it cannot, the
user is asked. Numbers of pixels are those of the chosen level.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image
from psygnal import Signal

from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.controllers.sentences import NO_IMAGE
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.axes import AXES_CHOICES, check_axes, describe_axes, guess_axes

from .marks import METADATA_KEY
from .placement import transform_of
from .regions import level_data


@dataclass(frozen=True)
class ImageFacts:
    """What the dock says of the chosen image.

    Parameters
    ----------
    axes : tuple of str
        The orders of axes that its array can have.
    sentence : str
        How it will be read; "" if that is not known.
    problem : str
        Why it cannot be run; "" if it can.
    channels : int
        How many channels it has; 1 for grey.
    levels : tuple of tuple of int
        The shapes of the levels of a multiscale image; () of any other.
    is_volume : bool
        Whether it has several planes along Z.
    """

    axes: tuple[str, ...] = ()
    sentence: str = ""
    problem: str = ""
    channels: int = 1
    levels: tuple[tuple[int, ...], ...] = ()
    is_volume: bool = False


class ImageChoice:
    """The image layers of a viewer, and the one that is chosen.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    controller : SegmentController
        Is told the axes.
    """

    layers_changed = Signal()
    chosen = Signal()

    def __init__(self, viewer: Any, controller: SegmentController) -> None:
        self._viewer = weakref.ref(viewer)
        self._controller = controller
        self._image: weakref.ref[Image] | None = None
        self._unclear = ""
        self._connections: list[tuple[Any, Callable[..., object]]] = []
        self._connect(viewer.layers.events.inserted, self._on_inserted)
        self._connect(viewer.layers.events.removed, self._on_removed)
        for layer in self.layers():
            self._follow(layer)
        self.choose(self._first())

    @property
    def image(self) -> Image | None:
        """The chosen layer, if it is still in the viewer."""
        viewer, image = self._viewer(), self._image() if self._image else None
        return (
            image if viewer is not None and image is not None and image in viewer.layers else None
        )

    def layers(self) -> list[Image]:
        """Return the viewer's image layers but our own probabilities, from bottom to top."""
        viewer = self._viewer()
        return [
            layer for layer in (viewer.layers if viewer is not None else ()) if _is_image(layer)
        ]

    def choose(self, layer: Image | None) -> None:
        """Take `layer`, and find out how its axes are read."""
        self._image = weakref.ref(layer) if layer is not None else None
        axes = ""
        self._unclear = ""
        if layer is not None:
            try:
                axes = guess_axes(
                    level_data(layer, 0).shape,
                    rgb=bool(layer.rgb),
                    labels=axis_names(layer),
                )
            except ImageError as error:
                self._unclear = str(error)
        self._controller.choose(axes=axes, channel=None, level=0, directions="Z", spacing=None)
        self.chosen.emit()

    def facts(self) -> ImageFacts:
        """Return what is to be said of the chosen image with the settings as they are."""
        image, settings = self.image, self._controller.settings
        if image is None:
            return ImageFacts(problem=NO_IMAGE)
        shape = tuple(level_data(image, settings.level).shape)
        levels = tuple(tuple(one.shape) for one in image.data) if image.multiscale else ()
        fitting = _fitting_axes(shape, bool(image.rgb), settings.axes)
        if not settings.axes:
            return ImageFacts(fitting, problem=self._unclear, levels=levels)
        try:
            axes = check_axes(shape, settings.axes)
            sentence = describe_axes(shape, axes)
        except ImageError as error:
            return ImageFacts(fitting, problem=str(error), levels=levels)
        channels = shape[axes.index("C")] if "C" in axes else 1
        if settings.level < len(levels):  # else it has lost its level, and will be chosen anew
            sentence = f"{sentence} {_level_sentence(image, axes, settings.level)}"
        is_volume = "Z" in axes and shape[axes.index("Z")] > 1
        return ImageFacts(fitting, sentence, "", channels, levels, is_volume)

    def spacing(self) -> tuple[float, float, float] | None:
        """Return the distances of pixels along Z, Y and X at the chosen level; None if unknown.

        A layer whose scale nobody has set (all ones) says nothing about them.
        """
        image, settings = self.image, self._controller.settings
        if image is None or not {"Z", "Y", "X"} <= set(settings.axes):
            return None
        scale = np.abs(transform_of(image, settings.level)["scale"])
        if len(scale) > len(settings.axes) or np.all(scale == 1) or not np.all(np.isfinite(scale)):
            return None
        depth, height, width = (float(scale[settings.axes.index(one)]) for one in "ZYX")
        return (depth, height, width) if min(depth, height, width) > 0 else None

    def close(self) -> None:
        """Let go of the viewer's events."""
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections.clear()
        self._image = None

    def _connect(self, emitter: Any, callback: Callable[..., object]) -> None:
        emitter.connect(callback)
        self._connections.append((emitter, callback))

    def _follow(self, layer: Image) -> None:
        """Hear of new names and new data of a layer."""
        self._connect(layer.events.name, self._on_renamed)
        self._connect(layer.events.data, self._on_data)

    def _on_inserted(self, event: Any) -> None:
        if not _is_image(event.value):
            return
        self._follow(event.value)
        self.layers_changed.emit()
        if self.image is None:
            self.choose(event.value)

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        if not isinstance(layer, Image):
            return
        ours = [one for one in self._connections if getattr(one[0], "source", None) is layer]
        for emitter, callback in ours:
            emitter.disconnect(callback)
            self._connections.remove((emitter, callback))
        self.layers_changed.emit()
        if self.image is None:
            self.choose(self._first())

    def _on_renamed(self, event: Any) -> None:
        self.layers_changed.emit()

    def _on_data(self, event: Any) -> None:
        image = self.image
        if image is None or event.source is not image:
            return
        settings, facts = self._controller.settings, self.facts()
        has_level = settings.level < max(1, len(facts.levels))
        has_channel = (settings.channel or 0) < facts.channels
        if len(level_data(image, 0).shape) == len(settings.axes) and has_level and has_channel:
            self.chosen.emit()
        else:
            self.choose(image)

    def _first(self) -> Image | None:
        """Return the layer to begin with: the active one, else the topmost."""
        viewer, layers = self._viewer(), self.layers()
        active = viewer.layers.selection.active if viewer is not None else None
        return active if active in layers else next(reversed(layers), None)


def _is_image(layer: object) -> bool:
    """Return whether a layer can be segmented."""
    return isinstance(layer, Image) and METADATA_KEY not in layer.metadata


def _level_sentence(image: Image, axes: str, level: int) -> str:
    """Return which level is run, and the size of its pixels."""
    scale = np.abs(transform_of(image, level)["scale"])
    names = [str(one) for one in getattr(image, "units", ())]
    row, column = axes.index("Y"), axes.index("X")
    unit = names[column] if column < len(names) else "pixel"
    what = "pixels of the finest" if unit == "pixel" and not np.any(image.scale != 1) else unit
    size = f"{scale[row]:.4g} × {scale[column]:.4g} {what}"
    return f"Level {level} of 0 to {len(image.data) - 1} is run: one of its pixels is {size}."


def axis_names(layer: Image) -> Sequence[str]:
    """Return what the axes are called: by the metadata of the file, else by the layer."""
    stated = layer.metadata.get("axes") if isinstance(layer.metadata, dict) else None
    is_list = isinstance(stated, list | tuple) and all(isinstance(one, str) for one in stated)
    ndim = len(level_data(layer, 0).shape)
    if (isinstance(stated, str) or is_list) and len(stated) == ndim:
        return list(stated)
    return getattr(layer, "axis_labels", ())


def _fitting_axes(shape: tuple[int, ...], rgb: bool, present: str) -> tuple[str, ...]:
    """Return the orders of axes that an array of `shape` can have, the present one among them."""
    fitting = [
        one for one in AXES_CHOICES if len(one) == len(shape) and (one[-1] == "C" or not rgb)
    ]
    if present and present not in fitting:
        fitting.insert(0, present)
    return tuple(fitting)
