"""Read NIfTI-1 and NIfTI-2 files (.nii, .nii.gz); nibabel reads the header.

Pixels are read here, exactly as many bytes as the header's shape takes: nibabel would map
the file into memory, and read extensions of any length. The array is the file's, its axes
in NumPy's order: (i, j, k, t) of the file is (t, k, j, i), which are T, Z, Y and X.
"""

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .image_file import ImageFile, check_size, first_bytes, needed
from .lazy import RawReading, Region, as_dask
from .nifti_place import read_place

GZIP = b"\x1f\x8b"
_MOST_OFFSET = 64_000_000  # bytes of extensions before the pixels
_LABEL_INTENT = 1002  # NIFTI_INTENT_LABEL: "this dataset is an index into a list of labels"
_HEADERS = {348: ("Nifti1Header", b"n+1\0", 344), 540: ("Nifti2Header", b"n+2\0", 4)}


def is_nifti(path: Path, start: bytes) -> bool:
    """Return whether a file, of which the first bytes are given, is a NIfTI."""
    try:
        return _version(_start(path, start)) is not None
    except (OSError, EOFError, zlib.error):  # no gzip at all, or one that is cut short
        return False


def _start(path: Path, start: bytes) -> bytes:
    """Return the first 544 bytes, of what a gzip holds if it is one."""
    if not start.startswith(GZIP):
        return first_bytes(path, 544)
    with gzip.open(path) as file:
        return file.read(544)


def _version(start: bytes) -> tuple[str, int] | None:
    """Return the name of nibabel's header and its length, told by the magic."""
    for order in ("little", "big"):
        length = int.from_bytes(start[:4], cast("Any", order))
        if length in _HEADERS:
            name, magic, place = _HEADERS[length]
            if start[place : place + 4] == magic:
                return name, length
    return None


def read_nifti(path: Path, limit: int, *, lazy: bool = False) -> ImageFile:
    """Read a NIfTI file; a lazy one that is not compressed becomes a dask array.

    Raises
    ------
    UnreadableFileError
        If its header is damaged, it is too large or cut short, or nibabel is missing.
    """
    nifti1 = needed("nibabel", "nifti", path)
    start = _start(path, first_bytes(path))
    found = _version(start)
    if found is None:
        raise UnreadableFileError(
            f"{str(path)!r} is truncated or corrupt: its header is cut short."
        )
    name, length = found
    header: Any = getattr(nifti1, name).from_fileobj(io.BytesIO(start[:length]), check=False)
    shape, axes = _shape_and_axes(path, header)
    stored, samples = _stored(path, header)
    shape, axes = shape + samples, axes + "C" * len(samples)
    offset = _offset(path, header, length)
    data = _pixels(
        path, header, RawReading(path, offset, stored, shape, bool(samples)), limit, lazy
    )
    geometry, notes = read_place(header, axes)
    is_labels = int(header["intent_code"]) == _LABEL_INTENT
    return ImageFile(data, axes, geometry.pixel_size, path, geometry, is_labels, notes)


def _shape_and_axes(path: Path, header: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape in NumPy's order and the axes; unused axes of length 1 go."""
    count = int(header["dim"][0])
    lengths = [int(length) for length in header["dim"][1 : 1 + max(0, min(count, 7))]]
    if not 1 <= count <= 7 or min(lengths) < 1:
        raise UnreadableFileError(
            f"{str(path)!r} is truncated or corrupt: its header states the shape "
            f"{[int(length) for length in header['dim']]}. Get the file again."
        )
    while len(lengths) > 4 and lengths[-1] == 1:
        lengths.pop()
    if not 2 <= len(lengths) <= 5:
        raise UnreadableFileError(
            f"{str(path)!r} has {len(lengths)} axes; 2 to 5 can be used. Save the part to segment "
            "as a file of its own."
        )
    letters = "XYZTC"[: len(lengths)]
    if len(lengths) == 5 and lengths[3] == 1:  # the fifth is a vector at each voxel, without time
        del lengths[3]
        letters = "XYZC"
    return tuple(reversed(lengths)), letters[::-1]


def _stored(path: Path, header: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the dtype of the numbers in the file, and (3,) or (4,) for colours."""
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception as error:
        raise UnreadableFileError(
            f"{str(path)!r} is truncated or corrupt: its header states the data type "
            f"{int(header['datatype'])}, which there is not. Get the file again."
        ) from error
    if dtype.names and all(dtype[name] == np.uint8 for name in dtype.names):
        return np.dtype(np.uint8), (len(dtype.names),)
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise UnreadableFileError(
            f"{str(path)!r} holds numbers of type {dtype}; save them as real numbers of 64 bits."
        )
    return dtype, ()


def _offset(path: Path, header: Any, length: int) -> int:
    """Return where the pixels begin."""
    told = float(header["vox_offset"])
    if not (math.isfinite(told) and length <= told <= _MOST_OFFSET):
        raise UnreadableFileError(
            f"{str(path)!r} is truncated or corrupt: its pixels should begin at byte {told:g}. "
            "Get the file again."
        )
    return int(told)


def _pixels(path: Path, header: Any, raw: RawReading, limit: int, lazy: bool) -> Any:
    """Return the pixels, scaled as the header says."""
    is_gzip = first_bytes(path).startswith(GZIP)
    reading = _Scaled(raw, header)
    nbytes = math.prod(raw.shape) * (raw.dtype.itemsize + reading.dtype.itemsize)
    if not is_gzip and lazy:
        raw.check_length()
        return as_dask(path, reading, raw.chunks, limit)
    check_size(path, nbytes, limit)
    if not is_gzip:
        raw.check_length()
        return reading.scaled(_whole(path.open("rb"), raw))
    return reading.scaled(_whole(cast("BinaryIO", gzip.open(path)), raw))


def _whole(file: BinaryIO, raw: RawReading) -> NDArray[Any]:
    """Return all pixels as they are stored, and close the file."""
    with file:
        file.seek(raw.offset)
        count = math.prod(raw.shape) * raw.stored.itemsize
        content = file.read(count)
    if len(content) < count:
        raise ValueError(f"truncated or corrupt: {len(content)} of {count} bytes of pixels")
    return np.frombuffer(content, raw.stored).reshape(raw.shape)


class _Scaled:
    """Stored numbers as what they stand for: slope × number + intercept."""

    def __init__(self, raw: RawReading, header: Any) -> None:
        self._raw = raw
        slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
        is_scaled = np.isfinite(slope) and slope != 0 and np.isfinite(intercept)
        self._scale = (slope, intercept) if is_scaled else (1.0, 0.0)
        self.shape, self.dtype = raw.shape, raw.dtype
        if self._scale != (1.0, 0.0):
            is_small = raw.dtype.itemsize <= 2 or raw.dtype == np.float32
            self.dtype = np.dtype(np.float32 if is_small else np.float64)

    def read(self, region: Region) -> NDArray[Any]:
        """Return a box."""
        return self.scaled(self._raw.read(region))

    def scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return what stored numbers stand for."""
        if self._scale == (1.0, 0.0):
            return stored.astype(self.dtype)  # a copy: what was read from bytes cannot be written
        slope, intercept = self._scale
        return (stored * np.float64(slope) + intercept).astype(self.dtype)
