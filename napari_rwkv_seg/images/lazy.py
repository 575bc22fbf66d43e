"""Arrays that are read piece by piece, each piece when it is asked for."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .image_file import check_size, decoding

Region = tuple[slice, ...]  # one slice an axis, start and stop within it, no step
BLOCK = 1024  # pixels along Y and X of a piece, about
_MOST_PIECES = 4_000_000  # of an image; dask lists all of them for every part that is looked at


class Reading(Protocol):
    """Reads a box of pixels; knows their shape and dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, region: Region) -> NDArray[Any]:
        """Return the pixels of a box."""


class Pieces:
    """What dask asks for pieces: an array by its shape and indexing alone.

    Parameters
    ----------
    path : Path
        Named in errors.
    reading : Reading
        Reads a box.
    limit : int
        Most bytes of one piece.
    """

    def __init__(self, path: Path, reading: Reading, limit: int) -> None:
        self._path, self._reading, self._limit = path, reading, limit
        self.shape, self.dtype = reading.shape, reading.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        keys += (slice(None),) * (self.ndim - len(keys))
        box = tuple(
            slice(one, one + 1) if isinstance(one, int) else slice(*one.indices(length)[:2])
            for one, length in zip(keys, self.shape, strict=True)
        )
        lengths = [max(0, one.stop - one.start) for one in box]
        check_size(self._path, math.prod(lengths) * self.dtype.itemsize, self._limit)
        with decoding(self._path):
            data = self._reading.read(box)
        inner = tuple(0 if isinstance(one, int) else slice(None, None, one.step) for one in keys)
        return data[inner]


def as_dask(path: Path, reading: Reading, chunks: Sequence[int], limit: int) -> Any:
    """Return a dask array of `reading` in pieces of `chunks`.

    Raises
    ------
    UnreadableFileError
        If there are so many of them that dask would take minutes and gigabytes for a look.
    """
    from dask import array

    from_array: Any = array.from_array  # untyped
    pieces = Pieces(path, reading, limit)
    count = math.prod(-(-a // max(b, 1)) for a, b in zip(pieces.shape, chunks, strict=True))
    if count > _MOST_PIECES:
        raise UnreadableFileError(
            f"{str(path)!r} declares {count} pieces of pixels; at most {_MOST_PIECES} can be "
            "opened. Save the part to segment as a file of its own, or in larger pieces."
        )
    return from_array(pieces, chunks=tuple(chunks), name=False, meta=_empty(pieces))


def _empty(pieces: Pieces) -> NDArray[Any]:
    return np.empty((0,) * pieces.ndim, dtype=pieces.dtype)


def block_length(length: int, unit: int, wanted: int = BLOCK) -> int:
    """Return how long a piece is along an axis: whole `unit`s, about `wanted` pixels."""
    if length <= wanted:
        return max(length, 1)
    return min(length, max(1, wanted // max(unit, 1)) * max(unit, 1))


class RawReading:
    """Pixels that lie uncompressed and in order in a file; rows are read, and cut in memory.

    Parameters
    ----------
    path : Path
        The file; open only while a box is read.
    offset : int
        Where the first pixel lies, in bytes.
    stored : dtype
        As in the file.
    shape : sequence of int
        Of the whole, the last axis being the one that lies closest together.
    has_samples : bool
        Whether the last axis holds the colours of a pixel.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        stored: np.dtype[Any],
        shape: Sequence[int],
        has_samples: bool = False,
    ) -> None:
        self.path, self.offset, self.stored = path, offset, stored
        self.shape = tuple(int(length) for length in shape)
        self.dtype = stored.newbyteorder("=")
        self._split = len(self.shape) - 2 - has_samples  # the axis of rows

    @property
    def chunks(self) -> tuple[int, ...]:
        """The lengths of a piece: whole rows of one plane."""
        rows = block_length(self.shape[self._split], 1)
        return (1,) * self._split + (rows, *self.shape[self._split + 1 :])

    def check_length(self) -> None:
        """Refuse a file that ends before its pixels do; none of it is read.

        Raises
        ------
        UnreadableFileError
            If it does; what it claims would else be cut into pieces without end.
        """
        count = math.prod(self.shape) * self.stored.itemsize
        there = max(0, self.path.stat().st_size - self.offset)
        if there < count:
            raise UnreadableFileError(
                f"{str(self.path)!r} is truncated or corrupt: {there} of {count} bytes of pixels "
                "are there. Get the file again."
            )

    def read(self, region: Region) -> NDArray[Any]:
        """Return a box.

        Raises
        ------
        ValueError
            If the file ends before it.
        """
        split, size = self._split, self.stored.itemsize
        lengths = [part.stop - part.start for part in region]
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        rows = region[split]
        count = (rows.stop - rows.start) * strides[split]
        found = np.empty(lengths, dtype=self.dtype)
        with self.path.open("rb") as file:
            for index in np.ndindex(*lengths[:split]):
                places = [part.start + i for part, i in zip(region, index, strict=False)]
                start = sum(p * s for p, s in zip(places, strides, strict=False))
                file.seek(self.offset + (start + rows.start * strides[split]) * size)
                content = file.read(count * size)
                if len(content) < count * size:
                    raise ValueError("the file ends before its pixels do")
                block = np.frombuffer(content, self.stored)
                block = block.reshape(rows.stop - rows.start, *self.shape[split + 1 :])
                found[index] = block[(slice(None), *region[split + 1 :])]
        return found
