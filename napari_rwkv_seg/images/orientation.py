"""Volumes are turned to one orientation when they are read, and back when labels are written.

Files store the same volume in 48 ways, and which planes are cut, and which way they are up,
must not depend on it. So Z, Y and X of what is read run to the patient's head, back and left:
as an axial DICOM series stores them, and as radiologists hold a slice. It is turned by whole
axes, the nearest ones, without a copy; what is oblique stays in the affine.
"""

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .axes import lengths_without_channels
from .geometry import Geometry, Turn, as_matrix
from .image_file import ImageFile, Level


def turn_of(geometry: Geometry, shape: tuple[int, ...]) -> Turn | None:
    """Return how an array of `shape` (without C) is to be turned; None if it lies right.

    Also None without a patient, and for a single plane that is not axial: it stays a plane.
    """
    steps = _directions(geometry)
    if steps is None:
        return None
    order = _nearest(steps)
    turn = Turn(order, tuple(bool(steps[row, axis] < 0) for row, axis in enumerate(order)))
    if "Z" not in geometry.axes or shape[geometry.axes.index("Z")] == 1:
        if order[0] != 0:
            return None
        turn = turn if "Z" in geometry.axes else _in_plane(turn)
    return turn if any(turn.mirrored) or turn.order != tuple(sorted(turn.order)) else None


def is_upright(geometry: Geometry) -> bool:
    """Return whether the axes of an image with an affine run along those of the same name."""
    steps = _directions(geometry)
    return steps is not None and _nearest(steps) == (0, 1, 2)


def turned(image: ImageFile) -> ImageFile:
    """Return an image of a file in the one orientation, its pixels being a view."""
    lengths = lengths_without_channels(image.data.shape, image.axes)
    turn = turn_of(image.geometry, lengths)
    if turn is None:
        return image
    geometry = replace(_geometry(image.geometry, lengths, turn), turn=turn)
    data = _array(image.data, image.axes, turn)
    return replace(image, data=data, pixel_size=geometry.pixel_size, geometry=geometry)


def turned_level(level: Level) -> Level:
    """Return a resolution of an image in the one orientation."""
    lengths = lengths_without_channels(level.shape, level.axes)
    turn = turn_of(level.geometry, lengths)
    if turn is None:
        return level
    geometry = replace(_geometry(level.geometry, lengths, turn), turn=turn)
    shape = _array(np.broadcast_to(False, level.shape), level.axes, turn).shape
    return replace(level, shape=shape, geometry=geometry)


def as_stored(labels: Any, geometry: Geometry) -> tuple[Any, Geometry]:
    """Return labels with the axes of `geometry`, and where they lie, as the image's file does."""
    if geometry.turn is None:
        return labels, geometry
    back = geometry.turn.back
    there = _geometry(geometry, labels.shape, back)
    return _array(labels, geometry.axes, back), replace(there, turn=None)


def laid_like(labels: ImageFile, image: ImageFile) -> ImageFile:
    """Return labels turned as their image was, if only one of the two says where it lies.

    Two files of one stack, of which one cannot say it (PNG, plain TIFF), lie pixel on pixel.
    """
    if all(file.geometry.affine is not None for file in (labels, image)):
        return labels
    if any(file.geometry.affine is None and any(file.geometry.origin) for file in (labels, image)):
        return labels  # moved by hand
    if labels.geometry.turn is not None:
        labels = _turned_by(labels, labels.geometry.turn.back)
    turn = image.geometry.turn
    return labels if turn is None else _turned_by(labels, turn)


def _turned_by(labels: ImageFile, turn: Turn) -> ImageFile:
    """Return labels turned as a volume; a single plane by what concerns it."""
    axes, geometry = labels.axes, labels.geometry
    if len(turn.order) == 3 and "Z" not in axes:
        axes = axes.replace("T", "Z")  # a stack may not say of what
        if "Z" not in axes:
            if turn.order[0] != 0:
                return labels
            turn = _in_plane(turn)
    if set("ZYX"[-len(turn.order) :]) <= set(geometry.axes):
        geometry = _geometry(geometry, lengths_without_channels(labels.data.shape, axes), turn)
    inner = labels.indices
    inner = None if inner is None else _array(inner, axes.replace("C", ""), turn)
    data = _array(labels.data, axes, turn)
    return replace(labels, data=data, indices=inner, geometry=replace(geometry, turn=None))


def _in_plane(turn: Turn) -> Turn:
    """Return the turn of Y and X of a volume's that leaves Z in its place."""
    return Turn(tuple(axis - 1 for axis in turn.order[1:]), turn.mirrored[1:])


def _directions(geometry: Geometry) -> NDArray[np.float64] | None:
    """Return where steps along Z, Y, X lead (columns) in the world's z, y, x (rows), of length 1.

    None without an affine, or with one that spans no volume.
    """
    matrix = geometry.affine_in("LPS")
    if matrix is None:
        return None
    steps = matrix[2::-1, 2::-1]
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(steps, axis=0)
    if not (np.isfinite(lengths).all() and lengths.all()):
        return None
    found: NDArray[np.float64] = np.round(steps / lengths, 4)  # 45 degrees are so for all formats
    return found


def _nearest(steps: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the axes of a volume in the order in which they run along the world's."""
    return max(
        permutations(range(3)),
        key=lambda each: abs(np.prod([steps[row, column] for row, column in enumerate(each)])),
    )


def _array(data: Any, axes: str, turn: Turn) -> Any:
    """Return a view of an array whose axes in space are turned; the others stay."""
    places = _places(axes, turn)
    order = list(range(len(axes)))
    keys = [slice(None)] * len(axes)
    for place, source, mirrored in zip(places, turn.order, turn.mirrored, strict=True):
        order[place] = places[source]
        keys[place] = slice(None, None, -1 if mirrored else None)
    return data.transpose(order)[tuple(keys)]


def _geometry(geometry: Geometry, shape: tuple[int, ...], turn: Turn) -> Geometry:
    """Return the geometry of an array of `shape`, when it is turned."""
    places = _places(geometry.axes, turn)
    order = list(range(len(geometry.axes)))
    change = np.eye(4)
    change[: len(places), : len(places)] = 0
    for place, source, mirrored in zip(places, turn.order, turn.mirrored, strict=True):
        order[place] = places[source]
        row, column = ("XYZ".index(geometry.axes[one]) for one in (places[source], place))
        change[row, column] = -1 if mirrored else 1
        change[row, 3] = shape[places[source]] - 1 if mirrored else 0
    matrix = geometry.affine_in(geometry.world)
    return replace(
        geometry,
        spacing=tuple(geometry.spacing[axis] for axis in order),
        units=tuple(geometry.units[axis] for axis in order),
        origin=tuple(geometry.origin[axis] for axis in order),
        affine=None if matrix is None else as_matrix(matrix @ change),
    )


def _places(axes: str, turn: Turn) -> list[int]:
    """Return where the axes that are turned lie in an array."""
    return [axes.index(letter) for letter in "ZYX"[-len(turn.order) :]]
