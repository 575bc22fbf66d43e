"""Read TIFF and OME-TIFF: whole, or plane by plane and tile by tile, at any pyramid level."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_rwkv_seg.errors import UnreadableFileError

from .geometry import Geometry
from .image_file import SIGNATURE, ImageFile, Level, check_size
from .tiff_directories import check_directories
from .tiff_meaning import axes_left, read_geometry
from .tiff_parts import check_parts
from .tiff_regions import check_segments, lazy_series

if TYPE_CHECKING:
    import tifffile

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff(path: Path, limit: int, level: int = 0, *, lazy: bool = False) -> ImageFile:
    """Read the first series of a TIFF.

    Parameters
    ----------
    path : Path
        The file.
    limit : int
        Most bytes of pixels to hold; lazy data are checked plane by plane when they are read.
    level : int
        Pyramid level; 0 is the full resolution.
    lazy : bool
        Whether to return a dask array; some layouts are read whole all the same.

    Raises
    ------
    UnreadableFileError
        If there is no such image, or it is too large; damage raises whatever tifffile raises.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = _series(path, file)
        if not 0 <= level < len(series.levels):
            raise UnreadableFileError(
                f"{str(path)!r} has {len(series.levels)} resolution levels; there is no {level}."
            )
        one = series.levels[level]
        data = lazy_series(path, one, limit) if lazy else None
        if data is None:
            dtype = np.dtype(one.dtype)
            nbytes = int(np.prod(one.shape, dtype=object)) * dtype.itemsize
            check_size(path, nbytes, limit)
            check_segments(path, one, limit)
            data = np.asarray(one.asarray())
        shape, axes = _axes_of(path, tuple(data.shape), str(one.axes), axes_left(file))
        data = data if shape == data.shape else data.reshape(shape)
        geometry = _level_geometry(file, series, level, axes)
        is_labels = str(file.pages.first.tags.valueof("Software")).startswith(SIGNATURE)
        notes = _notes(file, series)
    return ImageFile(data, axes, geometry.pixel_size, path, geometry, is_labels, notes)


def tiff_levels(path: Path) -> tuple[Level, ...]:
    """Return the resolutions of the first series of a TIFF."""
    import tifffile

    found = []
    with tifffile.TiffFile(path) as file:
        series = _series(path, file)
        for index, one in enumerate(series.levels):
            shape, axes = _axes_of(path, tuple(one.shape), str(one.axes), axes_left(file))
            found.append(Level(index, shape, axes, _level_geometry(file, series, index, axes)))
    return tuple(found)


def _series(path: Path, file: "tifffile.TiffFile") -> "tifffile.TiffPageSeries":
    """Return the first series, if it is complete."""
    check_directories(path, file)
    check_parts(path, file)
    if not file.series:
        raise UnreadableFileError(f"{str(path)!r} holds no image.")
    series = file.series[0]
    if series.dtype is None:
        raise UnreadableFileError(f"{str(path)!r} holds pixels of an unknown type.")
    if len(series) > 1 and any(page is None for page in series):
        raise UnreadableFileError(
            f"{str(path)!r} says that it has more planes than there are; perhaps it is one part of "
            "an image in several files. Put all its parts into one folder."
        )
    return series


def _notes(file: "tifffile.TiffFile", series: "tifffile.TiffPageSeries") -> tuple[str, ...]:
    """Return a sentence for whatever the file says of itself that was not followed."""
    notes = []
    if file.ome_metadata and series.kind != "ome":
        notes.append(
            "Its OME-XML does not fit its pages, so the pages were read in their own order: "
            "check the axes."
        )
    if file.pages.first.tags.valueof("Orientation", 1) in range(2, 9):
        notes.append(
            "It says that it is to be shown turned; its pixels are used as they are stored."
        )
    return tuple(notes)


def _level_geometry(
    file: "tifffile.TiffFile", series: "tifffile.TiffPageSeries", level: int, axes: str
) -> Geometry:
    """Return where the pixels of a level lie, which may be coarser than the file's."""
    geometry = read_geometry(file, axes)
    if not level:
        return geometry
    full, coarse = series.levels[0], series.levels[level]
    lengths = dict(zip(full.axes, zip(full.shape, coarse.shape, strict=True), strict=True))
    return geometry.coarser(_factors([lengths.get(letter, (1, 1)) for letter in geometry.axes]))


def _factors(lengths: Sequence[tuple[int, int]]) -> list[float]:
    """Return how many pixels became one along each axis, by its fine and its coarse length.

    Halving an odd length drops a pixel or adds one, so whole factors are taken where they
    explain the lengths of all axes.
    """
    whole = [max(1, round(fine / coarse)) for fine, coarse in lengths]
    fits = all(
        abs(fine / factor - coarse) < 1
        for factor, (fine, coarse) in zip(whole, lengths, strict=True)
    )
    return [float(factor) for factor in whole] if fits else [a / b for a, b in lengths]


def _axes_of(
    path: Path, shape: tuple[int, ...], axes: str, left: str
) -> tuple[tuple[int, ...], str]:
    """Return the shape and the axes in our letters.

    Samples become channels; foreign axes of length 1 go, and longer ones (pages
    without a meaning) become the stack axis Z, or T if Z is taken. Axes of length 1 that
    our writer left (`left`) come back.
    """
    foreign = [place for place, letter in enumerate(axes) if letter not in "TZCYXS"]
    if "S" in axes and "C" in axes:
        foreign.append(axes.index("C"))
    drop = tuple(place for place in foreign if shape[place] == 1)
    kept = "".join(letter for place, letter in enumerate(axes) if place not in drop)
    letters = kept.replace("S", "C")
    for letter in kept:
        if letter not in "TZCYXS":
            free = [each for each in "ZT" if each not in letters]
            letters = letters.replace(letter, free[0] if free else "?", 1)
    spatial = letters.replace("C", "")
    if set(letters) - set("TZCYX") or len(set(letters)) < len(letters) or spatial[-2:] != "YX":
        raise UnreadableFileError(
            f"{str(path)!r} has axes {axes!r}, which do not fit T, Z, C, Y and X; "
            "save the part to segment as a file of its own."
        )
    lengths = [length for place, length in enumerate(shape) if place not in drop]
    known = dict(zip(letters, lengths, strict=True))
    is_sound = set(left) <= set("TZYX") and len(set(left)) == len(left)
    if is_sound and [each for each in left if each in known] == list(letters):
        return tuple(known.get(each, 1) for each in left), left
    return tuple(lengths), letters
