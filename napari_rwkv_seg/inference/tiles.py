"""Cut a plane into overlapping tiles and blend the answers back.

Pure NumPy: knows no network, no device and no viewer. Along each axis tiles are
spread evenly from border to border and share at least a quarter of their length
with the next, because a network that looks at the whole tile at once changes its
mind gradually from tile to tile. They begin at multiples of 32, so that a network
whose tokens are squares of pixels sees the same squares as in the whole plane;
for that the last one may be up to 31 pixels shorter. Within the shared part one
tile fades out while the other fades in (raised cosine); the halo, an eighth of
the shared part on either side, is read but not trusted. Lengths are in pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OVERLAP = 4  # neighbours share at least a 1/4 of the tile
_ALIGNMENT = 32  # the coarsest tokens of the networks here
_HALO = 8  # a 1/8 of the shared part counts for nothing


@dataclass(frozen=True)
class Tile:
    """A piece of a plane.

    Parameters
    ----------
    rows, columns : slice
        Where it lies.
    weights : float32 array (height, width)
        How much its answer counts; over all tiles of a plane they sum to 1 in every pixel.
    """

    rows: slice
    columns: slice
    weights: NDArray[np.float32]


def count_tiles(height: int, width: int, size: int) -> int:
    """Return how many tiles of `size` a plane of this height and width takes."""
    return len(_starts(height, size)) * len(_starts(width, size))


def tiles(height: int, width: int, size: int) -> Iterator[Tile]:
    """Yield the tiles of a plane, row by row; one that covers all of it if it is not larger.

    Parameters
    ----------
    height, width : int
        The plane.
    size : int
        Longest side of a tile.
    """
    across = list(pieces(width, size))
    for rows, down_weights in pieces(height, size):
        for columns, across_weights in across:
            yield Tile(rows, columns, np.outer(down_weights, across_weights))


def _starts(length: int, size: int) -> list[int]:
    """Return where the tiles begin along one axis."""
    if length <= size:
        return [0]
    step = size - -(-size // OVERLAP) - (_ALIGNMENT - 1)  # the way may grow by being aligned
    last = -(-(length - size) // _ALIGNMENT)  # in units of the alignment
    count = 1 + -(-(length - size) // step)
    starts = {index * last // (count - 1) * _ALIGNMENT for index in range(count)}
    return sorted(starts)


def pieces(length: int, size: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield the tiles along one axis with their weights, which sum to 1 at every place."""
    places = [slice(start, min(start + size, length)) for start in _starts(length, size)]
    total = np.zeros(length)
    weights = []
    for index, place in enumerate(places):
        weight = np.ones(place.stop - place.start)
        if index > 0:
            ramp = _ramp(places[index - 1].stop - place.start)
            weight[: len(ramp)] *= ramp
        if index + 1 < len(places):
            ramp = _ramp(place.stop - places[index + 1].start)
            weight[-len(ramp) :] *= ramp[::-1]
        total[place] += weight
        weights.append(weight)
    for place, weight in zip(places, weights, strict=True):
        yield place, (weight / total[place]).astype(np.float32)


def _ramp(length: int) -> NDArray[np.float64]:
    """Return weights that rise from 0 to 1 over a shared part, flat in the halo at both ends."""
    halo = length // _HALO
    places = np.clip((np.arange(length) + 0.5 - halo) / (length - 2 * halo), 0, 1)
    ramp: NDArray[np.float64] = np.sin(places * np.pi / 2) ** 2
    return np.maximum(ramp, 1e-6)  # where three tiles meet, no pixel may be left without a tile
