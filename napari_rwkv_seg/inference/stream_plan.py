"""How a plane too large for memory is cut: blocks that are written, strips that are run.

Pure arithmetic. A block is a square of the result, one chunk of its store. A
strip is as many whole columns of blocks as fit into the memory that a run may
take; the network goes down a strip, one row of tiles after the other, and gives
rows of blocks. Most images are one strip. Lengths are in pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tiles import pieces

GROUP = 8  # so many blocks side by side share a file of the coarser levels
STRIP_BYTES = 192_000_000  # pixels and sums of one row of tiles across a strip

Piece = tuple[slice, NDArray[np.float32]]


@dataclass(frozen=True)
class Block:
    """A square of a plane, cut off at its lower and right border."""

    row: int
    column: int
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Grid:
    """A plane of `height` × `width` pixels in blocks of `block` × `block`."""

    height: int
    width: int
    block: int

    @property
    def down(self) -> int:
        """How many rows of blocks there are."""
        return -(-self.height // self.block)

    @property
    def across(self) -> int:
        """How many columns of blocks there are."""
        return -(-self.width // self.block)

    def rows(self, row: int) -> slice:
        """Return the pixels of a row of blocks."""
        return slice(row * self.block, min((row + 1) * self.block, self.height))

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks in reading order."""
        for row in range(self.down):
            for column in range(self.across):
                start = column * self.block
                columns = slice(start, min(start + self.block, self.width))
                yield Block(row, column, self.rows(row), columns)

    def groups(self) -> Iterator[list[Block]]:
        """Yield the blocks in runs of neighbours that are written together."""
        for row in range(self.down):
            line = [block for block in self.blocks() if block.row == row]
            for start in range(0, len(line), GROUP):
                yield line[start : start + GROUP]

    def grown(self, block: Block, halo: int) -> tuple[slice, slice]:
        """Return rows and columns of a block with `halo` more on each side, within the plane."""
        rows = slice(max(0, block.rows.start - halo), min(self.height, block.rows.stop + halo))
        columns = slice(
            max(0, block.columns.start - halo), min(self.width, block.columns.stop + halo)
        )
        return rows, columns

    def strips(self, bytes_per_pixel: int, tile_size: int) -> list[slice]:
        """Return the columns of the strips, whole blocks each.

        Parameters
        ----------
        bytes_per_pixel : int
            What a pixel takes while its row of tiles is run.
        tile_size : int
            The height of a row of tiles.
        """
        affordable = STRIP_BYTES // (bytes_per_pixel * min(tile_size, self.height))
        blocks = max(1, (affordable - 2 * tile_size) // self.block)
        width = (blocks - blocks % GROUP or blocks) * self.block
        return [
            slice(start, min(start + width, self.width)) for start in range(0, self.width, width)
        ]


@dataclass(frozen=True)
class Strip:
    """The tiles that a strip needs.

    Parameters
    ----------
    columns : slice
        The pixels that it gives.
    down, across : list of (slice, float32 array)
        Where tiles lie along Y and X, and how they fade in and out there; those
        across are the ones that touch the strip.
    """

    columns: slice
    down: list[Piece]
    across: list[Piece]

    @classmethod
    def of(cls, grid: Grid, columns: slice, tile_size: int) -> "Strip":
        """Return the tiles of the strip that covers `columns`."""
        return cls(
            columns,
            list(pieces(grid.height, tile_size)),
            [one for one in pieces(grid.width, tile_size) if _touch(one[0], columns)],
        )

    @property
    def read(self) -> slice:
        """The columns that its tiles cover."""
        return slice(self.across[0][0].start, self.across[-1][0].stop)

    def tile_rows(self, rows: slice) -> list[int]:
        """Return which rows of tiles touch `rows`."""
        return [index for index, (place, _) in enumerate(self.down) if _touch(place, rows)]

    def complete_until(self, index: int) -> int:
        """Return up to which row of pixels the sums are complete after a row of tiles."""
        is_last = index + 1 == len(self.down)
        row: int = self.down[index][0].stop if is_last else self.down[index + 1][0].start
        return row

    def count(self, grid: Grid, block_rows: list[int]) -> int:
        """Return how many tiles must be run for these rows of blocks."""
        needed: set[int] = set()
        for row in block_rows:
            needed.update(self.tile_rows(grid.rows(row)))
        return len(needed) * len(self.across)


def _touch(first: slice, second: slice) -> bool:
    return bool(first.start < second.stop and second.start < first.stop)
