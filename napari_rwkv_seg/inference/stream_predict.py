"""The classes of one plane, a row of tiles at a time, in bounded memory.

Tiles, their order and their weights are those of a whole-plane run, so the sums
are the same numbers. Of a strip only one row of tiles lies in memory: pixels that
the next row needs too are kept, all others are read once.
"""

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import RwkvSegError

from .labels import classes_of
from .loading import Model
from .normalize import scale_pixels
from .running import run_tile
from .stream_image import Brightness, StreamImage
from .stream_plan import Grid, Strip

Classes = NDArray[np.uint8]


class OutOfMemoryError(Exception):
    """A tile does not fit into memory; smaller ones may."""


class StripRun:
    """The network on its way down a strip of one plane.

    Parameters
    ----------
    model : Model
        The network.
    image : StreamImage
        Where pixels come from.
    index : tuple of int
        The plane's place in the stack.
    brightness : Brightness
        Of the whole plane.
    strip : Strip
        The tiles.
    threshold : float
        From which probability on a pixel is foreground.
    """

    def __init__(
        self,
        model: Model,
        image: StreamImage,
        index: tuple[int, ...],
        brightness: Brightness,
        strip: Strip,
        threshold: float,
    ) -> None:
        self._model, self._image, self._index = model, image, index
        self._brightness, self._strip, self._threshold = brightness, strip, threshold
        width = strip.read.stop - strip.read.start
        self._sums = np.zeros((len(model.card.classes), 0, width), dtype=np.float32)
        self._pixels: NDArray[Any] | None = None  # of the rows from _first on
        self._first = 0
        self._top = 0  # the first row of pixels whose sums are not complete
        self._ready: list[Classes] = []
        self._invalid: list[NDArray[np.bool_]] = []
        self._next = 0
        self._at = -1

    def rows(self, rows: slice) -> Generator[Classes | None, None, tuple[Classes, int]]:
        """Run what is missing for these rows of pixels.

        Yields
        ------
        array (Y, X) or None
            After every tile; after the last of a row of tiles the classes that are final,
            from the first of `rows` on.

        Returns
        -------
        classes : uint8 array (Y, X)
            Of the strip's columns.
        invalid : int
            How many of its pixels were not a number.

        Raises
        ------
        OutOfMemoryError
            If a tile does not fit into memory.
        ImageError
            If the image cannot be read.
        """
        if self._at != rows.start:
            self._begin(rows.start)
        wanted = rows.stop - rows.start
        while sum(map(len, self._ready)) < wanted:
            yield from self._tile_row(self._next)
            self._next += 1
            yield np.concatenate(self._ready)[:wanted]
        classes, invalid = np.concatenate(self._ready), np.concatenate(self._invalid)
        self._ready, self._invalid = [classes[wanted:]], [invalid[wanted:]]
        self._at = rows.stop
        return classes[:wanted], int(np.count_nonzero(invalid[:wanted]))

    def _begin(self, row: int) -> None:
        """Begin at a row of pixels, with the first row of tiles that touches it."""
        self._next = self._strip.tile_rows(slice(row, row + 1))[0]
        self._at = self._top = row
        width = self._strip.columns.stop - self._strip.columns.start
        self._ready = [np.zeros((0, width), dtype=np.uint8)]
        self._invalid = [np.zeros((0, width), dtype=bool)]
        self._sums = self._sums[:, :0]
        self._pixels = None

    def _tile_row(self, number: int) -> Iterator[None]:
        """Run a row of tiles, add its answers up, and put away the rows that are complete."""
        place, down = self._strip.down[number]
        pixels = self._read(place)
        skipped = max(0, self._top - place.start)  # rows that are done, or not asked for
        self._grow(place.stop)
        bad = np.zeros((place.stop - place.start, self._sums.shape[-1]), dtype=bool)
        for across in self._strip.across:
            local = slice(
                across[0].start - self._strip.read.start, across[0].stop - self._strip.read.start
            )
            tile, invalid = scale_pixels(
                pixels[:, local],
                self._brightness.windows,
                self._model.card.normalization,
                self._model.card.input_channels,
            )
            bad[:, local] = invalid
            answer = self._answer(tile, (down, across[1]))
            start = place.start + skipped - self._top
            target = self._sums[:, start : start + answer.shape[1] - skipped, local]
            target += answer[:, skipped:]
            yield
        self._complete(number, bad[skipped:])

    def _answer(self, tile: NDArray[np.float32], weights: tuple[Any, Any]) -> NDArray[np.float32]:
        answer = run_tile(self._model, tile)
        if answer is None:
            raise OutOfMemoryError
        answer *= np.outer(*weights)
        return answer

    def _read(self, place: slice) -> NDArray[Any]:
        """Return the pixels of a row of tiles, and keep them for the next."""
        kept = self._pixels
        if kept is not None and self._first <= place.start < self._first + len(kept):
            kept = kept[place.start - self._first :]
            rest = slice(place.start + len(kept), place.stop)
            if rest.start < rest.stop:
                new = self._image.read(self._index, rest, self._strip.read)
                is_masked = np.ma.isMaskedArray(new) or np.ma.isMaskedArray(kept)
                joined = np.ma.concatenate if is_masked else np.concatenate
                kept = joined([kept, new])
        else:
            kept = self._image.read(self._index, place, self._strip.read)
        self._pixels, self._first = kept, place.start
        return kept[: place.stop - place.start]

    def _grow(self, bottom: int) -> None:
        """Make room for sums down to a row of pixels."""
        missing = bottom - self._top - self._sums.shape[1]
        if missing > 0:
            self._sums = np.pad(self._sums, ((0, 0), (0, missing), (0, 0)))

    def _complete(self, number: int, bad: NDArray[np.bool_]) -> None:
        """Turn the sums that no further tile touches into classes."""
        count = self._strip.complete_until(number) - self._top
        if count <= 0:
            return
        sums, self._sums = self._sums[:, :count], self._sums[:, count:].copy()
        columns = slice(
            self._strip.columns.start - self._strip.read.start,
            self._strip.columns.stop - self._strip.read.start,
        )
        sums, invalid = sums[:, :, columns], bad[:count, columns]
        sums[:, invalid] = 0
        sums[0, invalid] = 1
        self._ready.append(classes_of(sums, self._threshold))
        self._invalid.append(invalid)
        self._top += count


def smaller_tiles(size: int, grid: Grid, smallest: int) -> int:
    """Return half of a size of tiles that was too large for the memory.

    Raises
    ------
    RwkvSegError
        If they are too small already.
    """
    used = min(size, max(grid.height, grid.width))
    if used <= smallest:
        raise RwkvSegError(
            f"Not enough memory even for {used}-px tiles. Close other programs or layers, "
            "crop the image, or choose a smaller model."
        )
    return max(smallest, used // 2)
