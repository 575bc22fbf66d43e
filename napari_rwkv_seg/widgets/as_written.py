"""Tell whether, and in which planes, a Labels layer still holds what we wrote into it.

What it does not hold any more, a user has edited.
"""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

_PIECE = 1_000_000  # bytes; hashing them takes a millisecond, in which no other thread runs
_WRITTEN: "weakref.WeakKeyDictionary[Labels, int]" = weakref.WeakKeyDictionary()


class Digest(int):
    """What tells an array from others while this process lives, and each of its planes."""

    planes: NDArray[np.int64]
    """One number for each place along all axes but the last two."""


def digest(data: NDArray[Any]) -> Digest:
    """Return what tells two arrays apart, as a whole and plane by plane.

    Python's own hash of bytes: 64 bits, keyed anew for every process, and four times as
    fast as those made for files. In small pieces, so that a worker lets the window live.
    """
    planes = [
        hash((data.dtype.str, *(hash(piece.tobytes()) for piece in _pieces(data[place]))))
        for place in np.ndindex(data.shape[:-2])
    ]
    told = Digest(hash((data.shape, data.dtype.str, *planes)))
    told.planes = np.array(planes, dtype=np.int64).reshape(data.shape[:-2])
    return told


def is_same(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Return whether two arrays are equal; twice as fast as a digest."""
    pairs = zip(_pieces(first), _pieces(second), strict=False)
    return first.shape == second.shape and all(np.array_equal(*pair) for pair in pairs)


def _pieces(data: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield an array in flat pieces that are small enough for a processor's cache."""
    flat, length = data.reshape(-1), _PIECE // data.itemsize
    return (flat[start : start + length] for start in range(0, flat.size, length))


def remember(layer: Labels, held: int) -> None:
    """Take note of what `digest` told of that which we have just written into a layer."""
    _WRITTEN[layer] = held


def rewrite(layer: Labels, data: NDArray[Any]) -> None:
    """Make a layer hold other labels, and forget the undo steps, which do not fit them."""
    layer.data = data
    mode = layer.mode
    layer.editable = False  # napari's public way to forget a history
    layer.editable = True
    layer.mode = mode


def still_holds_it(layer: Labels) -> Callable[[], bool]:
    """Return what tells whether a layer holds what we wrote last; called in a worker.

    Labels that we have not written in this process are a user's own.
    """
    written, data = _WRITTEN.get(layer), layer.data
    return lambda: written is not None and isinstance(data, np.ndarray) and digest(data) == written


def planes_it_holds(layer: Labels) -> Callable[[], NDArray[np.bool_] | None]:
    """Return what tells in which planes a layer holds what we wrote last; called in a worker.

    One answer for each place along all axes but the last two; None if the labels are a user's own.
    """
    written, data = _WRITTEN.get(layer), layer.data
    is_array = isinstance(data, np.ndarray)
    if not isinstance(written, Digest) or not is_array or written.planes.shape != data.shape[:-2]:
        return lambda: None
    return lambda: np.asarray(written.planes == digest(data).planes)
