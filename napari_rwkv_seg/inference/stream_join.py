"""Join the pieces of all blocks of a plane to whole objects, and number them.

Two pieces are one where both blocks, each with its own view beyond the border,
hold two touching pixels on either side of it for one; and where they were
flooded from one and the same pixel. So a border that both see alike leaves no
trace, and where they disagree (objects larger than the halo) no object is cut
along it. Pure NumPy and SciPy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .stream_plan import Grid

Facts = dict[str, NDArray[Any]]
Line = NDArray[np.int32]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Joined:
    """The pieces of a plane and the objects that they belong to.

    Parameters
    ----------
    offsets : dict of (row, column) to int
        Where the pieces of a block begin; its piece 1 is the one at this place.
    counts : dict of (row, column) to int
        How many pieces a block has.
    roots : int array (N,)
        The object of each piece, from 0.
    size, first : int64 array (M,)
        Of every object: pixels, and its first pixel in flat order.
    kind : uint8 array (M,)
        Its class.
    is_open : bool array (M,)
        Whether it touches the border of the plane.
    """

    offsets: dict[tuple[int, int], int]
    counts: dict[tuple[int, int], int]
    roots: NDArray[np.int32]
    size: NDArray[np.int64]
    first: NDArray[np.int64]
    kind: NDArray[np.uint8]
    is_open: NDArray[np.bool_]

    def of_block(self, place: tuple[int, int], values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of every piece of a block, 0 first for what is no piece."""
        start = self.offsets[place]
        mine = values[self.roots[start : start + self.counts[place]]]
        return np.concatenate([np.zeros(1, dtype=values.dtype), mine])

    def numbered(self, smallest: int, found: int) -> NDArray[np.int32]:
        """Return numbers of objects in reading order, after `found` others; 0 for small ones."""
        kept = np.flatnonzero(self.size >= max(1, smallest))
        kept = kept[np.argsort(self.first[kept])]
        numbers = np.zeros(len(self.size), dtype=np.int32)
        numbers[kept] = np.arange(found + 1, found + 1 + len(kept))
        return numbers


def join(grid: Grid, facts_of: Callable[[int, int], Facts], *, diagonal: bool) -> Joined:
    """Join the pieces of a plane.

    Parameters
    ----------
    grid : Grid
        The plane.
    facts_of : callable
        Returns what `block_pieces` says of the block at (row, column); called once for each.
    diagonal : bool
        Whether pixels touch by their corners too.
    """
    offsets: dict[tuple[int, int], int] = {}
    counts: dict[tuple[int, int], int] = {}
    gathered: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("size", "first", "seed", "kind", "open")
    }
    pairs: list[Pairs] = []
    above: list[Facts] = []
    total = 0
    for row in range(grid.down):
        line = [facts_of(row, column) for column in range(grid.across)]
        for column, facts in enumerate(line):
            offsets[row, column], counts[row, column] = total, len(facts["size"])
            total += len(facts["size"])
            for name, arrays in gathered.items():
                arrays.append(facts[name])
        for first, second, pair in _touching(above, line, row, diagonal):
            pairs.append((pair[0] + offsets[first] - 1, pair[1] + offsets[second] - 1))
        above = line
    whole = {name: np.concatenate(arrays) for name, arrays in gathered.items()}
    pairs.append(_of_one_seed(whole["seed"]))
    count, roots = _components(total, pairs)
    return _summed(offsets, counts, roots, count, whole)


def _summed(
    offsets: dict[tuple[int, int], int],
    counts: dict[tuple[int, int], int],
    roots: NDArray[np.int32],
    count: int,
    whole: Facts,
) -> Joined:
    """Return what is known of the objects."""
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, roots, whole["first"])
    size = np.bincount(roots, weights=whole["size"], minlength=count).astype(np.int64)
    kind = np.zeros(count, dtype=np.uint8)
    kind[roots] = whole["kind"]
    is_open = np.zeros(count, dtype=bool)
    is_open[roots[whole["open"]]] = True
    return Joined(offsets, counts, roots, size, first, kind, is_open)


def _touching(
    above: list[Facts], line: list[Facts], row: int, diagonal: bool
) -> Iterator[tuple[tuple[int, int], tuple[int, int], Pairs]]:
    """Yield two blocks' places and which of their pieces are one, for a row and the one above."""
    shifts = (-1, 0, 1) if diagonal else (0,)
    for column, facts in enumerate(line):
        if column > 0:
            west = line[column - 1]["right"][1:-1]
            east = facts["left"][1:-1]
            found = _agreed(west[:, 0], west[:, 1], east[:, 0], east[:, 1], shifts)
            yield (row, column - 1), (row, column), found
        if not above:
            continue
        north, south = above[column]["bottom"][:, 1:-1], facts["top"][:, 1:-1]
        found = _agreed(north[0], north[1], south[0], south[1], shifts)
        yield (row - 1, column), (row, column), found
        if diagonal and column > 0:
            north, south = above[column - 1]["bottom"], facts["top"]
            found = _agreed(north[0, -2:-1], north[1, -1:], south[0, :1], south[1, 1:2], (0,))
            yield (row - 1, column - 1), (row, column), found
        if diagonal and column + 1 < len(line):
            north, south = above[column + 1]["bottom"], facts["top"]
            found = _agreed(north[0, 1:2], north[1, :1], south[0, -1:], south[1, -2:-1], (0,))
            yield (row - 1, column + 1), (row, column), found


def _agreed(
    own: Line, ring: Line, other_ring: Line, other_own: Line, shifts: tuple[int, ...]
) -> Pairs:
    """Return the numbers of pieces that both sides of a border hold for one.

    Parameters
    ----------
    own, ring : int32 array (N,)
        What the first block says of its outermost pixels, and of those beyond.
    other_ring, other_own : int32 array (N,)
        What the second block says of the same pixels.
    shifts : tuple of int
        How far along the border two touching pixels may lie apart.
    """
    firsts, seconds = [], []
    for shift in shifts:
        near = slice(max(0, -shift), len(own) - max(0, shift))
        far = slice(max(0, shift), len(own) - max(0, -shift))
        mine = (own[near] > 0) & (own[near] == ring[far])
        theirs = (other_own[far] > 0) & (other_ring[near] == other_own[far])
        both = mine & theirs
        firsts.append(own[near][both])
        seconds.append(other_own[far][both])
    pairs = np.stack([np.concatenate(firsts), np.concatenate(seconds)])
    pairs = np.unique(pairs, axis=1).astype(np.int64)
    return pairs[0], pairs[1]


def _of_one_seed(seeds: NDArray[np.int64]) -> Pairs:
    """Return pairs of pieces that were flooded from one pixel."""
    order = np.argsort(seeds, kind="stable")
    same = (seeds[order][1:] == seeds[order][:-1]) & (seeds[order][1:] >= 0)
    return order[:-1][same], order[1:][same]


def _components(total: int, pairs: list[Pairs]) -> tuple[int, NDArray[np.int32]]:
    """Return how many objects the joined pieces make, and which one each belongs to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.concatenate([pair[0] for pair in pairs])
    columns = np.concatenate([pair[1] for pair in pairs])
    links = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(total, total))
    count, roots = connected_components(links, directed=False)
    return int(count), roots
