"""Read OME-Zarr 0.4 and 0.5, at any level of its pyramid, whole or chunk by chunk."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .image_file import ImageFile, Level, check_size, needed
from .lazy import Region, as_dask
from .zarr_metadata import check_array, find_image, read_multiscale


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
    array = _array(group, image.datasets[level].path, len(image.axes))
    chunk = math.prod(array.chunks) * array.dtype.itemsize
    check_size(path, chunk, limit)
    chunks = tuple(min(c, max(s, 1)) for c, s in zip(array.chunks, array.shape, strict=True))
    data: Any = as_dask(path, _Chunks(array), chunks, limit)
    if not lazy:
        check_size(path, math.prod(array.shape) * array.dtype.itemsize, limit)
        data = np.asarray(array[...])
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
            tuple(_array(group, one.path, len(image.axes)).shape),
            image.axes,
            image.geometry(index),
        )
        for index, one in enumerate(image.datasets)
    )


def _array(group: Path, name: str, ndim: int) -> Any:
    """Return an array of zarr, opened to read, after its metadata were checked."""
    import zarr

    folder = group / name
    check_array(folder)
    array = zarr.open_array(str(folder), mode="r")
    if array.ndim != ndim:
        raise UnreadableFileError(
            f"{str(folder)!r} has {array.ndim} axes, but its image names {ndim}; get it again."
        )
    return array


class _Chunks:
    """Pixels as zarr gives them."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)

    def read(self, region: Region) -> NDArray[Any]:
        """Return a box."""
        return np.asarray(self._array[region])
