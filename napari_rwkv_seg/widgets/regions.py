"""Which part of an image layer a run is for: everything, the slice, the view, or drawn shapes.

Answers in the array's own coordinates (napari calls them data coordinates), so
that what the viewer shows meanwhile does not matter. Axes are letters in NumPy
order and name every axis of the array, the colour axis of an RGB layer too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError

_ROUNDING = 1e-6  # of a pixel: what transforms there and back may cost


@dataclass(frozen=True)
class Region:
    """A box of an image's array, and which pixels of its planes count.

    Parameters
    ----------
    box : tuple of slice
        One slice an axis of the array, all with a start and a stop.
    mask : bool array (Y, X) of the box, or None
        The pixels that count; None for all.
    """

    box: tuple[slice, ...]
    mask: NDArray[np.bool_] | None = None

    def spans(self) -> list[list[int]]:
        """Return start and stop of every axis, as plain numbers for the provenance."""
        return [[part.start, part.stop] for part in self.box]


def find_region(viewer: Any, layer: Image, scope: str, axes: str, level: int) -> Region:
    """Return the part of `layer` that `scope` means at this moment.

    Parameters
    ----------
    viewer : napari viewer
        Says which slice is shown, what is in view and which shapes are selected.
    layer : Image
        The image.
    scope : str
        One of `controllers.settings.SCOPES`.
    axes : str
        One letter for every axis of the layer's array.
    level : int
        The level of a multiscale image.

    Raises
    ------
    ImageError
        If the view or the shapes do not say which part is meant.
    """
    shape = level_data(layer, level).shape
    box = [slice(0, length) for length in shape]
    if scope == "whole layer":
        return Region(tuple(box))
    position = _at_level(layer, level, data_point(viewer, layer))
    for axis, letter in enumerate(axes):
        if letter in "TZ":
            index = int(np.clip(np.round(position[axis]), 0, shape[axis] - 1))
            box[axis] = slice(index, index + 1)
    mask = None
    if scope == "current view":
        _narrow(box, axes, _view_box(viewer, layer, axes, level))
    elif scope == "selected shapes":
        outlines = list(_outlines(viewer, layer, axes, level))
        _narrow(box, axes, _bounds(outlines))
        mask = _filled(outlines, box[axes.index("Y")], box[axes.index("X")])
    return Region(tuple(box), mask)


def data_point(viewer: Any, layer: Any, source: Any = None, at: Any = None) -> NDArray[np.float64]:
    """Return where a point lies in pixels of a layer, also if others have another unit of length.

    Parameters
    ----------
    viewer : napari viewer
        Its world has the smallest unit of all layers, from napari 0.9 on.
    layer : napari layer
        Says what a pixel is.
    source : napari layer, or None
        Whose coordinates `at` is in; None for the point that the viewer shows.
    at : sequence of float
        A place in the data of `source`.
    """
    if source is None:
        world = np.asarray(viewer.dims.point)[-layer.ndim :]
    else:
        world = np.asarray(source.data_to_world(at)) / _units_in_world(viewer, source)
        world = world[-layer.ndim :]
    own = world * _units_in_world(viewer, layer)[-len(world) :]
    return np.asarray(layer.world_to_data(own), dtype=np.float64)


def check_view(viewer: Any, layer: Any) -> None:
    """Refuse to take what is in view of a layer whose unit is not that of the viewer's world.

    Raises
    ------
    ImageError
        If so: napari finds `corner_pixels` as if there were one unit.
    """
    offset = viewer.dims.ndim - layer.ndim
    displayed = [axis - offset for axis in viewer.dims.displayed if axis >= offset]
    if not np.allclose(_units_in_world(viewer, layer)[displayed], 1):
        raise ImageError(
            f"What is in view of {layer.name!r} cannot be told while a layer with another unit "
            "of length is open; remove that layer, or give both the same unit."
        )


def _units_in_world(viewer: Any, layer: Any) -> NDArray[np.float64]:
    """Return how many of a layer's units make one of the viewer's world, for each dimension."""
    units = getattr(viewer.dims, "units", None)  # None too if they cannot be compared
    if units is None or len(units) < layer.ndim:
        return np.ones(layer.ndim)
    both = zip(units[-layer.ndim :], layer.units, strict=True)
    return np.array([(1 * world).to(own).magnitude for world, own in both], dtype=np.float64)


def level_data(layer: Image, level: int) -> Any:
    """Return the array of a layer, at a level if it has several."""
    return layer.data[min(level, len(layer.data) - 1)] if layer.multiscale else layer.data


def is_lazy(data: Any) -> bool:
    """Return whether pixels are read from somewhere when they are asked for."""
    return isinstance(data, np.memmap) or not isinstance(data, np.ndarray)


def pixel_reader(data: Any, box: tuple[slice | int, ...]) -> Callable[[], Any]:
    """Return what gives the pixels of `box`: an own copy, taken now, or a lazy array."""
    if is_lazy(data):
        return lambda: data[box]
    try:
        pixels = data[box].copy()
    except MemoryError as error:
        raise ImageError(
            "There is not enough memory to copy the image; choose a smaller part under 'Run on'."
        ) from error
    return lambda: pixels


def _level_factors(layer: Image, level: int) -> NDArray[np.float64]:
    """Return how many pixels of level 0 make one of `level`, for each of the layer's dimensions."""
    if not layer.multiscale:
        return np.ones(layer.ndim)
    return np.asarray(layer.downsample_factors[level], dtype=np.float64)[: layer.ndim]


def _at_level(layer: Image, level: int, position: Any) -> NDArray[np.float64]:
    """Return a place in pixels of level 0 in those of `level`, whose centres lie between."""
    factors = _level_factors(layer, level)
    at: NDArray[np.float64] = (np.asarray(position) - (factors - 1) / 2) / factors
    return at


def _narrow(box: list[slice], axes: str, bounds: NDArray[np.float64]) -> None:
    """Cut the Y and X sides of `box` to `bounds`, ((y, x), (y, x)), in place."""
    for which, letter in enumerate("YX"):
        axis = axes.index(letter)
        start = max(int(np.floor(bounds[0, which] + _ROUNDING)), box[axis].start)
        stop = min(int(np.ceil(bounds[1, which] - _ROUNDING)) + 1, box[axis].stop)
        if start >= stop:
            raise ImageError(
                "The chosen part lies outside the image; move the view or the shapes onto it."
            )
        box[axis] = slice(start, stop)


def _view_box(viewer: Any, layer: Image, axes: str, level: int) -> NDArray[np.float64]:
    """Return the corners of what the canvas shows, ((y, x), (y, x)) in pixels of `level`."""
    wanted = [axes.index("Y"), axes.index("X")]
    offset = viewer.dims.ndim - layer.ndim
    displayed = [axis - offset for axis in viewer.dims.displayed]
    if viewer.dims.ndisplay != 2 or sorted(displayed) != sorted(wanted):
        raise ImageError(
            "'Current view' needs the flat view of Y and X: switch off 3D (Ctrl+Y) "
            "and do not roll the axes, or choose 'Current slice'."
        )
    check_view(viewer, layer)
    corners = np.asarray(layer.corner_pixels, dtype=np.float64)[:, wanted]
    if not corners.any():  # nothing was drawn yet: all of the plane is in view
        shape = np.asarray(level_data(layer, level).shape)
        return np.stack([np.zeros(2), shape[wanted] - 1])
    if layer.multiscale:
        corners = corners * _level_factors(layer, layer.data_level)[wanted]
    return corners / _level_factors(layer, level)[wanted]


def _outlines(viewer: Any, layer: Image, axes: str, level: int) -> Iterator[NDArray[np.float64]]:
    """Yield each selected shape as corners of a polygon, (N, 2) for y and x in pixels."""
    shapes = _selected_shapes(viewer)
    if shapes is None:
        raise ImageError(
            "No shape is selected: draw one in a Shapes layer and select it there with the arrow "
            "tool, or choose another part under 'Run on'."
        )
    wanted = [axes.index("Y"), axes.index("X")]
    for index in sorted(shapes.selected_data):
        corners = np.asarray(shapes.data[index], dtype=np.float64)
        if shapes.shape_type[index] in ("line", "path"):
            raise ImageError("A line has no area; select rectangles, ellipses or polygons.")
        if shapes.shape_type[index] == "ellipse":
            corners = ellipse_outline(corners)
        points = [data_point(viewer, layer, shapes, corner) for corner in corners]
        inside = [_at_level(layer, level, point) for point in points]
        yield np.asarray(inside)[:, wanted]


def _selected_shapes(viewer: Any) -> Shapes | None:
    """Return the layer whose selected shapes are meant: the active, else the topmost."""
    candidates = [viewer.layers.selection.active, *reversed(viewer.layers)]
    return next((one for one in candidates if isinstance(one, Shapes) and one.selected_data), None)


def ellipse_outline(corners: NDArray[np.float64], points: int = 90) -> NDArray[np.float64]:
    """Return points on the ellipse in the parallelogram of four `corners`, (points, D)."""
    centre = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)[:, None]
    return centre + np.cos(angle) * first + np.sin(angle) * second


def _bounds(outlines: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the box around all outlines, ((y, x), (y, x))."""
    corners = np.concatenate(outlines)
    return np.stack([corners.min(axis=0), corners.max(axis=0)])


def _filled(outlines: list[NDArray[np.float64]], rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Return which pixels of the box lie inside any outline, (Y, X)."""
    from skimage.draw import polygon

    shape = (rows.stop - rows.start, columns.stop - columns.start)
    mask = np.zeros(shape, dtype=bool)
    for corners in outlines:
        mask[polygon(corners[:, 0] - rows.start, corners[:, 1] - columns.start, shape)] = True
    if not mask.any():
        raise ImageError("The selected shapes cover no pixel of the image; draw them larger.")
    return mask
