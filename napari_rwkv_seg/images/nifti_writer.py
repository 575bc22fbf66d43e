"""Write labels as NIfTI, placed exactly as the image that they were drawn on."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.files import write_atomically

from .geometry import Geometry
from .image_file import SIGNATURE, needed_to_write
from .nifti_place import write_place
from .writers import smallest_dtype

_MOST_LENGTH = 32_767  # of an axis in NIfTI-1


def write_nifti(
    path: Path,
    labels: NDArray[np.integer[Any]],
    geometry: Geometry,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write labels as NIfTI-1, or NIfTI-2 if the source was one or an axis is too long.

    Parameters
    ----------
    path : Path
        The file to make or to replace; compressed if its name ends in .gz.
    labels : integer array
        With the axes of the geometry.
    geometry : Geometry
        From a NIfTI file it is written back number by number; nothing else of that file's
        header is taken over, since its free texts may name a patient.
    provenance : mapping, optional
        How the labels were made; kept as a comment.

    Raises
    ------
    OutputError
        If nibabel is missing, or the file cannot be written.
    ValueError
        If the labels are not whole numbers from 0 to 2³² - 1.
    """
    nibabel: Any = needed_to_write("nibabel", "nifti", path)
    data = np.asarray(labels).astype(smallest_dtype(labels), copy=False)
    if "T" in geometry.axes and "Z" not in geometry.axes:
        data = data[:, None]  # the third axis is always one of space
    shape = tuple(int(length) for length in reversed(data.shape))
    kept = geometry.nifti
    if kept is not None and _trimmed(kept.shape) == _trimmed(shape):
        shape = kept.shape
    is_second = max(shape) > _MOST_LENGTH or (kept is not None and kept.version == 2)
    header = (nibabel.Nifti2Header if is_second else nibabel.Nifti1Header)()
    header.set_data_shape(shape)
    header.set_data_dtype(data.dtype.newbyteorder("<"))
    write_place(header, geometry, shape)
    header.set_slope_inter(1, 0)
    header.set_intent("label", name="")
    header["descrip"] = SIGNATURE.encode()
    if provenance:
        text = json.dumps(dict(provenance)).encode()
        header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", text))
    header.set_data_offset(int(header["sizeof_hdr"]) + 4 + header.extensions.get_sizeondisk())

    def write(file: BinaryIO) -> None:
        if not path.name.lower().endswith(".gz"):
            _write(file, header, data)
            return
        # No name and no time inside, so that the same labels give the same file.
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            _write(packed, header, data)

    write_atomically(path, write)


def _write(file: Any, header: Any, data: NDArray[Any]) -> None:
    """Write header, extensions and voxels."""
    header.write_to(file)
    for plane in data:  # plane by plane, so that no second copy of a volume is made
        file.write(np.ascontiguousarray(plane, data.dtype.newbyteorder("<")).tobytes())


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the axes of length 1 at its end."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
