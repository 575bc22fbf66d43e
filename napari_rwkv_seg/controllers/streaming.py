"""When an image is streamed into a store, what that means for the user, and where it is kept.

An image is streamed if to run it whole would take more than half of the memory
that is free. Plain values and sentences; knows no Qt, no napari and no torch.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_rwkv_seg.images.axes import plane_shape, stack_shape
from napari_rwkv_seg.images.geometry import Geometry

from .sentences import duration

PACKAGE = "napari-rwkv-seg"
SECONDS_PER_TILE = 0.15  # of 512 × 512 pixels, on two cores; until a run has told better
_CLASSES = 4  # how many a model may have, roughly
_PLANE_BYTES = 12 + 4 * _CLASSES + 60  # a pixel while its plane is run and labelled
_STACK_BYTES = 2 * _CLASSES + 8  # a pixel of all planes: probabilities and labels
_TILE_STEP = 353  # pixels from tile to tile of 512


@dataclass(frozen=True)
class StreamPlan:
    """Where a streamed run keeps its result, and where that lies in the world.

    Parameters
    ----------
    folder : Path
        The store.
    is_numbered : bool
        Whether another folder with a number is taken if this one holds another run.
    geometry : Geometry, optional
        Where the labels lie.
    """

    folder: Path
    is_numbered: bool = True
    geometry: Geometry | None = None


class Crop:
    """A box of an array that is only read where it is asked for.

    Parameters
    ----------
    array : array
        Anything with `shape`, `dtype` and indexing.
    box : tuple of slice
        One slice with a start and a stop for every axis.
    """

    def __init__(self, array: Any, box: tuple[slice, ...]) -> None:
        self._array, self._box = array, box
        self.dtype = array.dtype
        self.shape = tuple(part.stop - part.start for part in box)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[int | slice, ...]) -> Any:
        """Return the pixels of a tuple of one index or slice an axis."""
        pairs = zip(key, self._box, strict=True)
        return self._array[tuple(_shifted(one, part) for one, part in pairs)]


def must_stream(shape: Sequence[int], axes: str, itemsize: int, free: int | None = None) -> bool:
    """Return whether an image is too large to be run whole.

    Parameters
    ----------
    shape, axes
        Of the array or the part of it that is to be run.
    itemsize : int
        Bytes of a number in it.
    free : int, optional
        Bytes of memory that are free; asked of the system if not given.
    """
    return whole_bytes(shape, axes, itemsize) > (_free_memory() if free is None else free) / 2


def whole_bytes(shape: Sequence[int], axes: str, itemsize: int) -> int:
    """Return roughly how much memory it takes to run an image whole."""
    height, width = plane_shape(shape, axes)
    channels = shape[axes.index("C")] if "C" in axes else 1
    pixels = height * width
    stack = math.prod(stack_shape(shape, axes))
    return pixels * (stack * _STACK_BYTES + _PLANE_BYTES + channels * itemsize)


def forecast(shape: Sequence[int], axes: str, itemsize: int, folder: Path, views: int = 1) -> str:
    """Return what the user should know before an image is streamed, in a few sentences."""
    tiles = math.prod(stack_shape(shape, axes))
    for length in plane_shape(shape, axes):
        tiles *= max(1, math.ceil((length - 512) / _TILE_STEP) + 1)
    gigabytes = whole_bytes(shape, axes, itemsize) / 1e9
    time = duration(tiles * views * SECONDS_PER_TILE)
    return (
        f"To run this image whole would take about {gigabytes:.0f} GB of memory, so it is streamed "
        f"in {tiles:,} tiles: about {time} on two cores, without "
        f"keeping probabilities. The labels appear as they are done and are kept in {folder}. "
        "They cannot be painted on; copy a part of them to do that."
    )


def store_folder(chosen: str, name: str) -> Path:
    """Return where a result is kept: in the folder chosen, or else in the user's data.

    Parameters
    ----------
    chosen : str
        The folder that the user chose to hold stores; "" for none.
    name : str
        The image's name.
    """
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:60] or "image"
    return (Path(chosen) if chosen else _home()) / f"{slug}.ome.zarr"


def open_store(folder: Path) -> list[Any]:
    """Return the labels of a store, one array a level, finest first; they cannot be written to."""
    from napari_rwkv_seg.inference.stream_folder import open_levels

    return open_levels(folder)


def _home() -> Path:
    import platformdirs

    return platformdirs.user_data_path(PACKAGE, appauthor=False) / "streamed"


def _free_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _shifted(key: int | slice, part: slice) -> int | slice:
    """Return an index or slice of a box as one of the whole axis."""
    if not isinstance(key, slice):
        return key + int(part.start)
    start, stop, step = key.indices(part.stop - part.start)
    return slice(start + part.start, stop + part.start, step)
