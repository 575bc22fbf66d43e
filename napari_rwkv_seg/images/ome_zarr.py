"""Read OME-Zarr 0.4 and 0.5, at any level of its pyramid, whole or chunk by chunk."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .image_file import ImageFile, Level, check_size, needed
from .lazy import Region, as_dask
from .zarr_chunks import check_chunks, files_of, packing_of
from .zarr_groups import find_image
from .zarr_metadata import check_array, read_multiscale


def read_ome_zarr(
    path: Path, limit: int, level: int = 0, series: str | None = None, *, lazy: bool = False
) -> ImageFile:
    """Read a level of an OME-Zarr image.

    Raises
    ------
    UnreadableFileError
        If there is no such image or level, it is too large, or zarr is missing; other damage
        raises whatever zarr raises.
    """
    needed("zarr", "zarr", path)
    group = find_image(path, series)
    image = read_multiscale(group)
    if not 0 <= level < len(image.datasets):
        raise UnreadableFileError(
            f"{str(path)!r} has {len(image.datasets)} resolution levels; there is no {level}."
        )
    folder = group / image.datasets[level].path
    array, told = _array(folder, len(image.axes))
    check_size(path, math.prod(array.chunks) * array.dtype.itemsize, limit)
    pixels = _Chunks(folder, array, told)
    data: Any
    if lazy:
        chunks = tuple(min(c, max(s, 1)) for c, s in zip(array.chunks, array.shape, strict=True))
        data = as_dask(path, pixels, chunks, limit)
    else:
        check_size(path, math.prod(array.shape) * array.dtype.itemsize, limit)
        data = pixels.read(tuple(slice(0, length) for length in array.shape))
    place = image.geometry(level)
    return ImageFile(data, image.axes, place.pixel_size, path, place, image.is_labels)


def ome_zarr_levels(path: Path, series: str | None = None) -> tuple[Level, ...]:
    """Return the resolutions of an OME-Zarr image."""
    needed("zarr", "zarr", path)
    group = find_image(path, series)
    image = read_multiscale(group)
    return tuple(
        Level(
            index,
            tuple(_array(group / one.path, len(image.axes))[0].shape),
            image.axes,
            image.geometry(index),
        )
        for index, one in enumerate(image.datasets)
    )


def _array(folder: Path, ndim: int) -> tuple[Any, dict[str, Any]]:
    """Return an array of zarr, opened to read, and its metadata, which were checked before."""
    import zarr

    told = check_array(folder)
    array = zarr.open_array(str(folder), mode="r")
    if array.ndim != ndim:
        raise UnreadableFileError(
            f"{str(folder)!r} has {array.ndim} axes, but its image names {ndim}; get it again."
        )
    return array, told


class _Chunks:
    """Pixels as zarr gives them, after it was checked what their chunks unpack to."""

    def __init__(self, folder: Path, array: Any, told: dict[str, Any]) -> None:
        self._folder, self._array = folder, array
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        self._packing = packing_of(folder, told, array.chunks, self.dtype.itemsize)

    def read(self, region: Region) -> NDArray[Any]:
        """Return a box."""
        grid = self._array.shards or self._array.chunks
        files = files_of(self._folder, self._array.metadata, region, grid)
        check_chunks(files, self._packing)
        return np.asarray(self._array[region])
