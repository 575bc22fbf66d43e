"""Read boxes of pixels out of a TIFF: only the tiles or strips that they touch.

The table of tiles is read once; afterwards the file is open only while a box is read,
so that nothing stays locked, and a copy in another process reads the table anew.
Files are never mapped: one that changes under a mapping ends the process.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .image_file import Bounded, check_size
from .lazy import RawReading, Region, as_dask, block_length

if TYPE_CHECKING:
    import tifffile

_JPEGS = (6, 7, 33007, 34892)  # kinds of compression


def check_segments(path: Path, series: "tifffile.TiffPageSeries", limit: int) -> None:
    """Refuse a series with a strip or tile of more than `limit` bytes, or than its file has.

    Raises
    ------
    UnreadableFileError
        If there is one; tifffile would make room for it.
    """
    page = series.keyframe
    if page.is_tiled or page.compression not in (1, 7):  # which is decoded as a whole
        pixels = math.prod(_tile(page)) * page.shaped[4]
        check_size(path, pixels * np.dtype(page.dtype).itemsize, limit)
    for each in series:
        if each is not None and max(each.databytecounts, default=0) > each.parent.filehandle.size:
            raise UnreadableFileError(
                f"{str(path)!r} is damaged or cut short: it claims a strip or tile of "
                f"{max(each.databytecounts)} bytes, which are not there. Get it again, or open and "
                "save it in another program."
            )


def lazy_series(path: Path, series: "tifffile.TiffPageSeries", limit: int) -> Any | None:
    """Return a dask array of a series (axes as in the file); None if it must be read whole."""
    page = series.keyframe
    if series.is_multifile or series.transform is not None or page.shaped[1] != 1:
        return None
    if series.dataoffset is not None:
        stored = np.dtype(series.dtype).newbyteorder(series.keyframe.parent.byteorder)
        raw = RawReading(path, series.dataoffset, stored, series.shape, series.axes.endswith("S"))
        raw.check_length()
        return as_dask(path, raw, raw.chunks, limit)
    leading = math.prod(series.shape) // max(1, math.prod(page.shape))
    if len(series) != leading or tuple(series.shape[-len(page.shape) :]) != tuple(page.shape):
        return None
    check_segments(path, series, limit)
    reading = _Segments(path, series)
    return as_dask(path, reading, reading.chunks, limit)


class _Segments:
    """Pixels in tiles or strips, compressed or not."""

    def __init__(self, path: Path, series: "tifffile.TiffPageSeries") -> None:
        self._path = path
        self._levels = next(
            index for index, one in enumerate(_base(series).levels) if one is series
        )
        self._load(series)

    def _load(self, series: "tifffile.TiffPageSeries") -> None:
        page = series.keyframe
        self.shape = tuple(int(length) for length in series.shape)
        self.dtype = np.dtype(series.dtype).newbyteorder("=")
        self._page = page
        samples, _, self._height, self._width, self._contiguous = page.shaped
        self._samples = samples
        self._tile = _tile(page)
        pages = [each for each in series if each is not None]  # none is missing: checked before
        self._places = [(each.dataoffsets, each.databytecounts) for each in pages]
        high, wide = self._tile
        count = samples * math.ceil(self._height / high) * math.ceil(self._width / wide)
        if any(min(map(len, tables)) < count for tables in self._places):
            raise UnreadableFileError(
                f"{str(self._path)!r} is damaged: it lists fewer than the {count} strips or tiles "
                "that its size takes. Get it again, or open and save it in another program."
            )
        self._tables = [each.jpegtables for each in pages]
        self._page_ndim = len(page.shape)
        if page.compression in _JPEGS:
            _ = page.is_jfif  # decoding asks for it, and it is read from the file, open now

    def __getstate__(self) -> tuple[Path, int]:
        return self._path, self._levels

    def __setstate__(self, state: tuple[Path, int]) -> None:
        import tifffile

        self._path, self._levels = state
        with tifffile.TiffFile(self._path) as file:
            self._load(file.series[0].levels[self._levels])

    @property
    def chunks(self) -> tuple[int, ...]:
        """The lengths of a piece: one page, whole tiles."""
        leading = (1,) * (len(self.shape) - self._page_ndim)
        high = block_length(self._height, self._tile[0])
        wide = block_length(self._width, self._tile[1])
        if self._samples > 1:
            return (*leading, self._samples, high, wide)
        return (*leading, high, wide, *((self._contiguous,) if self._page_ndim == 3 else ()))

    def read(self, region: Region) -> NDArray[Any]:
        """Return a box of the series."""
        split = len(self.shape) - self._page_ndim
        leading, inner = region[:split], region[split:]
        planar = self._samples > 1
        bands = inner[0] if planar else slice(0, 1)
        ys, xs = inner[1:3] if planar else inner[:2]
        counts = [part.stop - part.start for part in leading]
        found = np.empty([part.stop - part.start for part in region], dtype=self.dtype)
        with Bounded(self._path) as file:
            for index in np.ndindex(*counts):
                place = [part.start + i for part, i in zip(leading, index, strict=True)]
                number = int(np.ravel_multi_index(place, self.shape[:split])) if place else 0
                box = self._plane(file, number, bands, ys, xs)  # (S, Y, X, C)
                if self._page_ndim == 3 and not planar:
                    found[index] = box[0][:, :, inner[2]]
                else:
                    found[index] = box[..., 0] if planar else box[0, ..., 0]
        return found

    def _plane(self, file: Any, number: int, bands: slice, ys: slice, xs: slice) -> NDArray[Any]:
        """Return a box (S, Y, X, C) of one page."""
        high, wide = self._tile
        down, across = math.ceil(self._height / high), math.ceil(self._width / wide)
        shape = (bands.stop - bands.start, ys.stop - ys.start, xs.stop - xs.start)
        box = np.full((*shape, self._contiguous), self._page.nodata, dtype=self.dtype)
        for band in range(bands.start, bands.stop):
            for row in range(ys.start // high, -(-ys.stop // high)):
                for column in range(xs.start // wide, -(-xs.stop // wide)):
                    segment = self._segment(file, number, (band * down + row) * across + column)
                    if segment is not None:
                        corner = (row * high - ys.start, column * wide - xs.start)
                        _paste(box[band - bands.start], segment, corner)
        return box

    def _segment(self, file: Any, number: int, index: int) -> NDArray[Any] | None:
        """Return one decoded tile or strip (Y, X, C); None if the file left it out."""
        offsets, counts = self._places[number]
        if not counts[index]:
            return None
        file.seek(offsets[index])
        options: dict[str, Any] = {}
        if self._page.compression in _JPEGS:
            options = {"jpegtables": self._tables[number], "jpegheader": self._page.jpegheader}
        segment, _, shape = self._page.decode(
            file.read(counts[index]), index, _fullsize=self._page.is_tiled, **options
        )
        if segment is None:
            return None
        decoded: NDArray[Any] = np.asarray(segment).reshape(shape)[0]
        return decoded


def _paste(box: NDArray[Any], segment: NDArray[Any], corner: tuple[int, int]) -> None:
    """Put a segment (Y, X, C) into a box (Y, X, C); its corner may lie outside."""
    targets, sources = [], []
    for start, length, limit in zip(corner, segment.shape, box.shape, strict=False):
        low, high = max(0, start), min(limit, start + length)
        targets.append(slice(low, high))
        sources.append(slice(low - start, high - start))
    box[tuple(targets)] = segment[tuple(sources)]


def _tile(page: Any) -> tuple[int, int]:
    """Return the lengths along Y and X of a tile, or of a strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return max(1, min(page.rowsperstrip, page.imagelength)), page.imagewidth


def _base(series: "tifffile.TiffPageSeries") -> Any:
    """Return the full resolution that a level belongs to."""
    file = series.keyframe.parent
    return next(one for one in file.series if any(level is series for level in one.levels))
