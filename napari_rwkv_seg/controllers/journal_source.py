"""What a kept copy says of the file that labels were drawn on, so that they can be saved like it.

Written as plain values; what is read may be damaged or made up, so it is checked, and left
out as a whole if anything is wrong: then the labels are saved by their layer's place alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.axes import check_axes
from napari_rwkv_seg.images.geometry import DicomSeries, Geometry, NiftiHeader, Turn
from napari_rwkv_seg.images.nifti_place import FIELDS
from napari_rwkv_seg.images.tiff_meaning import geometry_as_json, geometry_from_json

_LENGTHS = {"pixdim": 8, "srow_x": 4, "srow_y": 4, "srow_z": 4}  # of NIfTI's fields; others are 1
_CODES = {"qform_code": 2**15 - 1, "sform_code": 2**15 - 1, "xyzt_units": 255}  # at most
_MOST_AXES = 7  # of a NIfTI file
_LARGEST = 1e30  # of an affine; squares of what is larger cannot be computed with
_FLAT = 1e-6  # of a box with the same edges, the volume of a voxel that is none


def plain_source(told: Any) -> dict[str, Any]:
    """Return as plain values what a layer's metadata say of its file; {} if they say nothing."""
    geometry = told.get("geometry") if isinstance(told, Mapping) else None
    if not isinstance(geometry, Geometry):
        return {}
    nifti, dicom = geometry.nifti, geometry.dicom
    planes = [(str(path), frame) for path, frame in dicom.planes] if dicom else []
    return {
        "path": str(told.get("path", "")),
        "shape": told.get("shape"),
        "geometry": geometry_as_json(geometry),
        "nifti": asdict(nifti) if nifti else None,
        "dicom": asdict(replace(dicom, planes=())) | {"planes": planes} if dicom else None,
        "turn": asdict(geometry.turn) if geometry.turn else None,
    }


def source_of(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `plain_source` was given, for a layer's metadata; {} if it cannot be that.

    The files of a DICOM series are only named here; they are looked at, as ever, when labels
    are saved as DICOM-SEG.
    """
    try:
        axes = str(plain["geometry"]["axes"])
        shape = tuple(int(length) for length in plain["shape"])
        geometry = geometry_from_json(plain["geometry"], check_axes(shape, axes))
        if geometry is None or not _is_sound(geometry):
            return {}
        geometry = replace(geometry, nifti=_nifti(plain["nifti"]), dicom=_dicom(plain["dicom"]))
        geometry = replace(geometry, turn=_turn(plain.get("turn"), geometry))
        path = str(plain["path"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, ImageError):
        return {}
    return {"path": path, "axes": geometry.axes, "shape": shape, "geometry": geometry}


def _is_sound(geometry: Geometry) -> bool:
    """Return whether numbers can be computed with, and an affine spans a volume."""
    if not np.isfinite(geometry.origin).all():
        return False
    if geometry.affine is None:
        return True
    matrix = np.array(geometry.affine)
    if not (np.abs(matrix) < _LARGEST).all():  # NaN is not either
        return False
    steps = matrix[:3, :3]
    box = np.prod(np.linalg.norm(steps, axis=0))
    return bool(abs(np.linalg.det(steps)) > _FLAT * box)


def _nifti(told: Any) -> NiftiHeader | None:
    """Return the numbers of a NIfTI header, if there are any; ValueError if they are none."""
    if told is None:
        return None
    shape = tuple(int(length) for length in told["shape"])
    numbers = tuple((str(name), tuple(map(float, values))) for name, values in told["numbers"])
    codes = [(name, values[0]) for name, values in numbers if name in _CODES]
    if (
        told["version"] not in (1, 2)
        or not 0 < len(shape) <= _MOST_AXES
        or min(shape) < 1
        or [(name, len(values)) for name, values in numbers]
        != [(name, _LENGTHS.get(name, 1)) for name in FIELDS]
        or not all(code.is_integer() and 0 <= code <= _CODES[name] for name, code in codes)
    ):
        raise ValueError("These are no numbers of a NIfTI header.")
    return NiftiHeader(told["version"], shape, numbers)


def _dicom(told: Any) -> DicomSeries | None:
    """Return what refers to a DICOM series, if something does."""
    if told is None:
        return None
    planes = tuple((Path(str(path)), int(frame)) for path, frame in told["planes"])
    return DicomSeries(
        str(told["series_uid"]), str(told["study_uid"]), str(told["frame_of_reference_uid"]), planes
    )


def _turn(told: Any, geometry: Geometry) -> Turn | None:
    """Return how an array was turned when it was read, if it was; ValueError if it cannot be."""
    if told is None:
        return None
    order, mirrored = tuple(int(axis) for axis in told["order"]), tuple(told["mirrored"])
    count = len(geometry.axes.replace("T", ""))
    if sorted(order) != list(range(count)) or [type(one) for one in mirrored] != [bool] * count:
        raise ValueError("This is no turn of these axes.")
    if geometry.affine is None:
        raise ValueError("What has no affine was not turned.")
    return Turn(order, mirrored)
