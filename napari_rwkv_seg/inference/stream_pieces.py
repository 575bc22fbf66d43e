"""The pieces of objects in one block, and what must be known to join them with their neighbours.

A block is looked at with a halo. A piece is what of an object, a region or the
background lies in the block itself; its number counts in the block only. About
each the block keeps its size, its first pixel and the pixel that it was flooded
from, and the numbers on its frame: two lines along each side, its own outermost
pixels and the ring around them. Pure NumPy and SciPy.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .labels import all_objects, present_classes, regions_of
from .settings import LabelSettings
from .stream_plan import Block, Grid

HALO = 96  # pixels; objects up to this far across a border are cut as in a whole plane
_MOST_HALO = 1024

Classes = NDArray[np.uint8]
Numbers = NDArray[np.int32]
Facts = dict[str, NDArray[Any]]
Found = tuple[Numbers, NDArray[np.uint8], NDArray[np.int64]]


def halo_for(settings: LabelSettings) -> int:
    """Return how far around a block must be looked to find its objects or regions."""
    if settings.output == "classes" or not settings.split:
        return 1
    return min(_MOST_HALO, max(HALO, 4 * settings.split_distance + 32))


def find_objects(classes: Classes, settings: LabelSettings) -> Found:
    """Return objects, or for class labels connected regions, with their class and centre."""
    if settings.output == "objects":
        return all_objects(classes, settings)
    numbers = np.zeros(classes.shape, dtype=np.int32)
    kinds: list[int] = []
    for number in present_classes(classes):
        regions = regions_of(classes == number)
        found = int(regions.max())
        numbers = np.where(regions > 0, regions + np.int32(len(kinds)), numbers)
        kinds += [number] * found
    return numbers, np.array(kinds, dtype=np.uint8), np.full(len(kinds), -1, dtype=np.int64)


def find_outside(classes: Classes, number: int) -> Found:
    """Return the connected parts (by sides) of all that is not class `number`."""
    from scipy import ndimage

    outside, found = ndimage.label(classes != number)
    return outside, np.zeros(found, dtype=np.uint8), np.full(found, -1, dtype=np.int64)


def block_pieces(
    found: Found, grid: Grid, block: Block, corner: tuple[int, int]
) -> tuple[Numbers, Facts]:
    """Return the pieces that lie in a block, and their facts.

    Parameters
    ----------
    found : numbers (Y, X), kinds (N,), seeds (N,)
        Of the block with its halo.
    grid : Grid
        The plane.
    block : Block
        The block.
    corner : (int, int)
        The row and column of the plane where `found` begins.

    Returns
    -------
    numbers : int32 array (Y, X)
        Of the block, counted from 1.
    facts : dict of arrays
        For n pieces `size`, `first`, `seed` (places in the plane in flat order, a seed of -1
        is none), `kind`, `open` (whether it touches the border of the plane), each (n,); `top`
        and `bottom` (2, X + 2), `left` and `right` (Y + 2, 2).
    """
    numbers, kinds, seeds = found
    framed = _framed(numbers, grid, block, corner)
    inside = framed[1:-1, 1:-1]
    there = np.unique(inside)
    there = there[there > 0]
    table = np.zeros(len(kinds) + 1, dtype=np.int32)
    table[there] = np.arange(1, len(there) + 1)
    framed = table[framed]
    inside = framed[1:-1, 1:-1]
    centres = seeds[there - 1]
    rows, columns = np.divmod(np.maximum(centres, 0), numbers.shape[1])
    places = (rows + corner[0]) * grid.width + columns + corner[1]
    return inside, {
        "size": np.bincount(inside.ravel(), minlength=len(there) + 1)[1:],
        "first": _first_places(inside, grid, block, len(there)),
        "seed": np.where(centres >= 0, places, -1),
        "kind": kinds[there - 1],
        "open": _open(inside, grid, block, len(there)),
        "top": framed[:2].copy(),
        "bottom": framed[-2:].copy(),
        "left": framed[:, :2].copy(),
        "right": framed[:, -2:].copy(),
    }


def _framed(numbers: Numbers, grid: Grid, block: Block, corner: tuple[int, int]) -> Numbers:
    """Return the block with one pixel more on each side; 0 beyond the plane."""
    ring_rows, ring_columns = grid.grown(block, 1)
    height = block.rows.stop - block.rows.start
    width = block.columns.stop - block.columns.start
    framed = np.zeros((height + 2, width + 2), dtype=np.int32)
    top, left = ring_rows.start - block.rows.start + 1, ring_columns.start - block.columns.start + 1
    part = numbers[
        ring_rows.start - corner[0] : ring_rows.stop - corner[0],
        ring_columns.start - corner[1] : ring_columns.stop - corner[1],
    ]
    framed[top : top + part.shape[0], left : left + part.shape[1]] = part
    return framed


def _first_places(inside: Numbers, grid: Grid, block: Block, count: int) -> NDArray[np.int64]:
    """Return the first pixel of each piece in the plane's flat order."""
    flat = inside.ravel()
    first = np.zeros(count + 1, dtype=np.int64)
    first[flat[::-1]] = np.arange(flat.size)[::-1]  # of equal places the last one stays
    rows, columns = np.divmod(first[1:], inside.shape[1])
    places: NDArray[np.int64] = (
        (rows + block.rows.start) * grid.width + columns + block.columns.start
    )
    return places


def _open(inside: Numbers, grid: Grid, block: Block, count: int) -> NDArray[np.bool_]:
    """Return which pieces touch the border of the plane."""
    touches = np.zeros(count + 1, dtype=bool)
    if block.rows.start == 0:
        touches[inside[0]] = True
    if block.rows.stop == grid.height:
        touches[inside[-1]] = True
    if block.columns.start == 0:
        touches[inside[:, 0]] = True
    if block.columns.stop == grid.width:
        touches[inside[:, -1]] = True
    return touches[1:]
