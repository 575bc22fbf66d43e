"""Whether labels lie where an image does: every axis but C counts, in one unit of length."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_rwkv_seg.images.geometry import TO_MICROMETRES, pixel_side
from napari_rwkv_seg.images.napari_io import SOURCE_KEY

from .regions import level_data

_SAME_PLACE = 0.01  # of a pixel

Box = tuple[tuple[int, int], ...]


def labels_axes(axes: str, ndim: int) -> str:
    """Return one letter for every axis of labels of `ndim` axes, given those of their image."""
    return axes if len(axes) == ndim else axes.replace("C", "")


def has_no_place(layer: Any) -> bool:
    """Return whether nobody said where a layer lies: its pixels are the world's units."""
    points = np.vstack([np.zeros(layer.ndim), np.eye(layer.ndim)])
    return all(np.array_equal(layer.data_to_world(point), point) for point in points)


def is_stored_otherwise(image: Image, labels: Labels) -> bool:
    """Return whether labels of a file that tells no place lie as an image did before it was turned.

    Only if that image was turned when it was opened.
    """
    told = image.metadata.get(SOURCE_KEY)
    turn = getattr(told.get("geometry"), "turn", None) if isinstance(told, Mapping) else None
    return turn is not None and labels.source.path is not None and has_no_place(labels)


def is_same_place(image: Image, labels: Labels, axes: str, level: int) -> bool:
    """Return whether pixels of labels lie upon those of a level of an image, first upon first.

    A coarse pixel may begin where its image does, or lie amid the pixels that it stands for.
    """
    start = _start(image, labels, axes, level)
    if start is None:
        return False
    factors = _factors(image, axes, level, _common(axes, labels))
    return bool((np.abs(start) <= _SAME_PLACE + (factors - 1) / (2 * factors)).all())


def box_of(image: Image, labels: Labels, axes: str, level: int) -> Box | None:
    """Return the part of an image's array that smaller labels lie upon, pixel on pixel.

    Start and stop of every axis; None if they do not lie inside, or between the pixels.
    """
    start = _start(image, labels, axes, level)
    if start is None or np.abs(start - np.round(start)).max() > _SAME_PLACE:
        return None
    letters = labels_axes(axes, labels.ndim)
    first = dict(zip(_common(axes, labels), np.round(start).astype(int).tolist(), strict=True))
    box = []
    for letter, length in zip(axes, level_data(image, level).shape, strict=True):
        begin = first.get(letter, 0)
        count = labels.data.shape[letters.index(letter)] if letter in first else length
        if begin < 0 or begin + count > length:
            return None
        box.append((begin, begin + count))
    return tuple(box)


def _common(axes: str, labels: Labels) -> str:
    return labels_axes(axes, labels.ndim).replace("C", "")


def _start(image: Image, labels: Labels, axes: str, level: int) -> NDArray[np.float64] | None:
    """Return where the first pixel of labels lies, in pixels of a level of an image.

    One number for every axis but C, in the labels' order; None if the pixels of one are
    larger than, or turned against, those of the other, so that corners would not meet.
    """
    wanted = _common(axes, labels)
    letters = labels_axes(axes, labels.ndim)
    ours, our_shift = _grid(labels, letters, wanted)
    theirs, their_shift = _grid(image, axes, wanted)
    unit = _units_in(image, axes, labels, letters, wanted)
    theirs, their_shift = theirs * unit[:, None], their_shift * unit
    factors = _factors(image, axes, level, wanted)
    their_shift = their_shift + theirs @ ((factors - 1) / 2)
    theirs = theirs * factors
    both = np.column_stack([ours, our_shift - their_shift])
    if not (np.isfinite(theirs).all() and np.isfinite(both).all()):
        return None
    found = np.linalg.lstsq(theirs, both, rcond=None)[0]
    lengths = [labels.data.shape[letters.index(letter)] for letter in wanted]
    drift = (found[:, :-1] - np.eye(len(wanted))) * lengths
    start: NDArray[np.float64] = found[:, -1]
    return start if np.abs(drift).max() <= _SAME_PLACE else None


def _grid(layer: Any, letters: str, wanted: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a pixel's steps in the world, a column an axis, and where the first pixel lies."""
    at = [letters.index(letter) for letter in wanted]
    points = np.vstack([np.zeros(layer.ndim), np.eye(layer.ndim)[at]])
    world = np.asarray([layer.data_to_world(point) for point in points], dtype=np.float64)[:, at]
    return (world[1:] - world[0]).T, world[0]


def pixel_size_um(image: Image, axes: str, level: int) -> float | None:
    """Return the side of a level's pixels in micrometres; None where no unit of length is told."""
    at = [axes.index(letter) for letter in "YX"]
    units = [TO_MICROMETRES.get(str(image.units[index])) for index in at]
    if units[0] is None or units[1] is None:
        return None
    points = np.vstack([np.zeros(image.ndim), np.eye(image.ndim)[at]])
    world = np.asarray([image.data_to_world(point) for point in points], dtype=np.float64)
    lengths = np.linalg.norm(world[1:] - world[0], axis=1) * _factors(image, axes, level, "YX")
    return pixel_side((float(lengths[0]) * units[0], float(lengths[1]) * units[1]))


def _factors(image: Image, axes: str, level: int, wanted: str) -> NDArray[np.float64]:
    """Return how many pixels of level 0 make one of `level`, for each wanted axis."""
    if not image.multiscale:
        return np.ones(len(wanted))
    factors = np.asarray(image.downsample_factors[level], dtype=np.float64)
    return factors[[axes.index(letter) for letter in wanted]]


def _units_in(
    image: Image, axes: str, labels: Labels, letters: str, wanted: str
) -> NDArray[np.float64]:
    """Return how many of the labels' units make one of the image's; 1 where none can be told."""
    units = [
        (image.units[axes.index(letter)], labels.units[letters.index(letter)]) for letter in wanted
    ]
    sizes = [
        (1 * theirs).to(ours).magnitude if theirs.is_compatible_with(ours) else 1
        for theirs, ours in units
    ]
    return np.array(sizes, dtype=np.float64)
