"""Labels that are streamed into a store: a layer that fills up, and copies of parts of it to paint.

The layer reads from the store, a pyramid level at a time, and cannot be painted
on: what is shown is what lies on the disk. It is looked at anew at most once a
second. All of it on the main thread.
"""

import time
import weakref
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_rwkv_seg.controllers.streaming import open_store
from napari_rwkv_seg.errors import ImageError

from .adding import keeping_stroke
from .as_written import digest, remember
from .placement import Placement, shifted, transform_of
from .regions import check_view, data_point
from .result_layers import METADATA_KEY, dress

REFRESH_S = 1.0
MOST_COPIED = 16_000_000  # pixels: 64 MB of labels


@dataclass(frozen=True, eq=False)
class _Streamed:
    """A layer of ours and the folder that it shows."""

    folder: Path
    layer: "weakref.ref[Labels]"


class StreamedLayers:
    """The layers of one viewer that show stores.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._shown: list[_Streamed] = []
        self._refreshed = 0.0

    def begin(self, folder: Path, title: str, place: Placement, axes: str) -> None:
        """Show a store, unless a layer does already.

        Parameters
        ----------
        folder : Path
            The store.
        title : str
            The name of a new layer.
        place : Placement
            Where the labels lie.
        axes : str
            Of the image; a channel axis in the middle becomes one of length 1.
        """
        viewer = self._viewer()
        if viewer is None or self._layer(folder) is not None:
            return
        levels = open_store(folder)
        if levels[0].ndim < len(place.shape):
            levels = [_WithAxis(level, axes.index("C")) for level in levels]
        is_pyramid = len(levels) > 1
        with keeping_stroke(viewer):
            layer = viewer.add_labels(
                levels if is_pyramid else levels[0],
                name=title,
                multiscale=is_pyramid,
                cache=False,  # what lies on the disk changes
                metadata={**place.source, METADATA_KEY: {"store": str(folder)}},
                **place.box_transform,
            )
        layer.editable = False
        self._shown = [one for one in self._shown if one.layer() is not None]
        self._shown.append(_Streamed(folder, weakref.ref(layer)))
        self._refreshed = time.monotonic()

    def refresh(self, folder: Path, *, at_once: bool = False) -> None:
        """Look at a store anew, if the last time is a second ago."""
        layer = self._layer(folder)
        if layer is None or (not at_once and time.monotonic() - self._refreshed < REFRESH_S):
            return
        layer.refresh()
        self._refreshed = time.monotonic()

    def end(self, folder: Path, classes: Any, output: str, provenance: dict[str, Any]) -> None:
        """Show a store that is complete, with the colours of its classes."""
        layer = self._layer(folder)
        if layer is None:
            return
        dress(layer, classes, output, {**deepcopy(provenance), "store": str(folder)})
        layer.editable = False
        self.refresh(folder, at_once=True)

    def copy_view(self) -> Labels:
        """Add what is in view of a streamed layer as labels that can be painted on.

        Raises
        ------
        ImageError
            If no streamed layer is there, nothing of it is in view, or too much.
        """
        viewer, layer = self._viewer(), self._present()
        if viewer is None or layer is None:
            raise ImageError("There are no streamed labels to copy from.")
        box = _view_box(viewer, layer)
        shape = tuple(part.stop - part.start for part in box)
        if np.prod(shape, dtype=float) > MOST_COPIED:
            raise ImageError(
                f"{shape[-2]} × {shape[-1]} pixels are in view, too many for a copy "
                "that can be painted on; zoom in and try again."
            )
        finest = layer.data[0] if layer.multiscale else layer.data
        data = np.array(finest[box], dtype=np.int32)
        start = np.array([part.start for part in box], dtype=np.float64)
        copied: Labels = viewer.add_labels(
            data,
            name=f"{layer.name} · copy",
            metadata=deepcopy(layer.metadata),
            **shifted(transform_of(layer), start),
        )
        remember(copied, digest(data))
        return copied

    def has_layer(self) -> bool:
        """Return whether there is a layer to copy from."""
        return self._present() is not None

    def _present(self) -> Labels | None:
        """Return the active layer if it is streamed, else the newest that is."""
        viewer = self._viewer()
        shown = [one.layer() for one in self._shown]
        there = [one for one in shown if viewer is not None and one in viewer.layers]
        active = viewer.layers.selection.active if viewer is not None else None
        return active if active in there else next(reversed(there), None)

    def _layer(self, folder: Path) -> Labels | None:
        """Return the layer that shows a store, if it is still in the viewer."""
        viewer = self._viewer()
        found = (one.layer() for one in self._shown if one.folder == folder)
        return next((one for one in found if viewer is not None and one in viewer.layers), None)


class _WithAxis:
    """An array with one axis of length 1 more, read where it is asked for."""

    def __init__(self, array: Any, axis: int) -> None:
        self._array, self._axis = array, axis
        self.dtype = array.dtype
        self.shape = (*array.shape[:axis], 1, *array.shape[axis:])
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> Any:
        """Return what indices and slices name."""
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *(slice(None) for _ in range(self.ndim - len(keys))))
        mine = keys[self._axis]
        part = np.asarray(self._array[keys[: self._axis] + keys[self._axis + 1 :]])
        if not isinstance(mine, slice):
            return part
        before = sum(isinstance(one, slice) for one in keys[: self._axis])
        return np.expand_dims(part, before)

    def __array__(self, *_: Any, **__: Any) -> Any:
        """Return all of it."""
        return self[(slice(None),) * self.ndim]


def _view_box(viewer: Any, layer: Labels) -> tuple[slice, ...]:
    """Return the box of finest pixels that is in view; one index of axes that are not shown."""
    check_view(viewer, layer)
    finest = layer.data[0] if layer.multiscale else layer.data
    corners = np.asarray(layer.corner_pixels, dtype=np.float64)
    if layer.multiscale:
        corners = corners * layer.downsample_factors[layer.data_level]
    point = np.round(data_point(viewer, layer))
    offset = viewer.dims.ndim - layer.ndim
    shown = [axis - offset for axis in viewer.dims.displayed]
    box = []
    for axis, length in enumerate(finest.shape):
        first, last = (corners[0, axis], corners[1, axis] + 1) if axis in shown else (0, 0)
        if axis not in shown:
            first = np.clip(point[axis], 0, length - 1)
            last = first + 1
        elif not corners.any():  # nothing was drawn yet: all is in view
            first, last = 0, length
        box.append(slice(int(max(0, np.floor(first))), int(min(length, np.ceil(last)))))
    if any(part.start >= part.stop for part in box):
        raise ImageError("No part of the streamed labels is in view; move the view onto them.")
    return tuple(box)
