"""Whether the chosen part of a layer is streamed into a store, and where that lies."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rwkv_seg.controllers.settings import SegmentSettings
from napari_rwkv_seg.controllers.streaming import (
    StreamPlan,
    forecast,
    must_stream,
    store_folder,
)
from napari_rwkv_seg.images.napari_place import geometry_of

from .placement import Placement, without_axis
from .regions import Region, level_data

if TYPE_CHECKING:
    from napari.layers import Image


def stream_plan(
    layer: "Image", settings: SegmentSettings, region: Region, where: Placement
) -> StreamPlan | None:
    """Return how a run is streamed, None if it is run whole.

    Parts with an outline of their own (drawn shapes) are always run whole.
    """
    shape = tuple(part.stop - part.start for part in region.box)
    if region.mask is not None or not _is_streamed(layer, settings, shape):
        return None
    letters, transform = _letters(settings.axes, where), where.box_transform
    if "C" in letters:
        transform = without_axis(transform, letters.index("C"))
    return StreamPlan(
        _folder(layer, settings), geometry=geometry_of(letters.replace("C", ""), transform)
    )


def stream_forecast(layer: "Image", settings: SegmentSettings) -> str:
    """Return what the dock says before an image is streamed; "" if it is run whole.

    Known for the whole layer and the current slice; other parts are small as a rule.
    """
    if settings.scope not in ("whole layer", "current slice"):
        return ""
    data, axes = level_data(layer, settings.level), settings.axes
    shape = tuple(
        1 if letter in "TZ" and settings.scope == "current slice" else length
        for letter, length in zip(axes, data.shape, strict=True)
    )
    if not _is_streamed(layer, settings, shape):
        return ""
    folder = _folder(layer, settings)
    return forecast(shape, axes, _itemsize(data), folder, settings.views)


def _is_streamed(layer: "Image", settings: SegmentSettings, shape: tuple[int, ...]) -> bool:
    itemsize = _itemsize(level_data(layer, settings.level))
    if settings.directions != "Z":
        return False  # planes from the side need the whole volume
    wanted = settings.stream == "always"
    return wanted or (settings.stream == "auto" and must_stream(shape, settings.axes, itemsize))


def _folder(layer: "Image", settings: SegmentSettings) -> Path:
    return store_folder(settings.store, f"{layer.name} {Path(settings.model).name}")


def _itemsize(data: Any) -> int:
    return int(np.dtype(data.dtype).itemsize)


def _letters(axes: str, where: Placement) -> str:
    """Return the letters of the result's axes; a channel axis that was dropped is not there."""
    return axes if len(where.shape) == len(axes) else axes.replace("C", "")
