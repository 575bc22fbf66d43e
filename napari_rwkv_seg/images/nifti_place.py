"""Where the voxels of a NIfTI file lie, and how that is written back exactly."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import TO_MICROMETRES, Geometry, NiftiHeader, as_matrix, spacing_of

FIELDS = (
    *("pixdim", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "qform_code", "sform_code", "xyzt_units"),
)
_MILLIMETRES = {1: 1e3, 3: 1e-3}  # codes of space: metres, micrometres; all others are millimetres
_SECONDS = {8: "second", 16: "millisecond", 24: "microsecond"}
_LARGEST = 1e30  # of the file's units; squares of what is larger cannot be computed with
_FLAT = 1e-6  # of a box with the same edges, the volume of a voxel that is none
_SHEAR = 2e-3  # cosine of the angle of two axes, from which on they are no right angle
_UNKNOWN = "The size of a voxel is not known along {}: 1 mm is used."


def read_place(header: Any, axes: str) -> tuple[Geometry, tuple[str, ...]]:
    """Return the geometry of an image of `axes` by its header, and what had to be assumed.

    The affine is nibabel's (sform, else qform, else the voxel sizes), in millimetres.
    """
    _mend(header)
    letters = axes.replace("C", "")
    sizes, notes = _voxel_sizes(header, letters)
    unit = int(header["xyzt_units"])
    factor = _MILLIMETRES.get(unit & 7, 1.0)
    matrix = _affine(header, sizes)
    matrix[:3] *= factor
    told = dict(zip("XYZ", (size * factor for size in sizes), strict=True))
    by_affine = dict(zip("ZYX", spacing_of(matrix, "ZYX"), strict=True))
    spacing, units = [], []
    for letter in letters:
        if letter == "T":
            interval = float(header["pixdim"][4])
            known = np.isfinite(interval) and interval > 0 and unit & 56 in _SECONDS
            spacing.append(interval if known else 1.0)
            units.append(_SECONDS[unit & 56] if known else "frame")
        else:  # the stated size has no rounding errors of a rotation
            close = np.isclose(told[letter], by_affine[letter], rtol=1e-4)
            spacing.append(told[letter] if close else by_affine[letter])
            units.append("millimeter")
    place = Geometry(
        letters,
        tuple(spacing),
        tuple(units),
        (0.0,) * len(letters),
        as_matrix(matrix),
        "RAS",
        _kept(header),
    )
    return place, notes


def _mend(header: Any) -> None:
    """Mend pixdim as nibabel does when it loads: a direction is 1 or -1, and a size positive."""
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])


def _voxel_sizes(header: Any, letters: str) -> tuple[list[float], tuple[str, ...]]:
    """Return the sizes along X, Y, Z in the file's unit, with 1 for what cannot be one."""
    sizes, unknown = [], []
    for letter, size in zip("XYZ", (float(v) for v in header["pixdim"][1:4]), strict=True):
        is_known = 0 < size < _LARGEST  # which NaN is not
        sizes.append(size if is_known else 1.0)
        if letter in letters and not is_known:
            unknown.append(letter)
    if unknown and int(header["sform_code"]) <= 0:
        return sizes, (_UNKNOWN.format(", ".join(unknown)),)
    return sizes, ()


def _affine(header: Any, sizes: list[float]) -> NDArray[np.float64]:
    """Return the affine (4, 4) that nibabel would take, or the next best if it is damaged."""
    for code, get in (("sform_code", header.get_sform), ("qform_code", header.get_qform)):
        if int(header[code]) > 0:
            try:
                matrix = np.array(get(), dtype=np.float64)
            except (ValueError, ArithmeticError, np.linalg.LinAlgError):
                continue
            if (np.abs(matrix) < _LARGEST).all() and _has_volume(matrix[:3, :3]):
                return matrix
    lengths = [max(1, int(length)) for length in header["dim"][1:4]]
    signs = np.array([-1.0, 1.0, 1.0])  # as nibabel's base affine: x runs to the left
    matrix = np.diag([*(signs * sizes), 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(lengths) - 1) / 2
    return matrix


def _has_volume(steps: NDArray[np.float64]) -> bool:
    """Return whether three steps do not lie in one plane, of whatever length they are."""
    lengths = np.linalg.norm(steps, axis=0)
    return bool(abs(np.linalg.det(steps)) > _FLAT * np.prod(lengths))


def _kept(header: Any) -> NiftiHeader:
    numbers = tuple((name, tuple(float(v) for v in np.atleast_1d(header[name]))) for name in FIELDS)
    count = int(header["dim"][0])
    shape = tuple(int(length) for length in header["dim"][1 : 1 + count])
    return NiftiHeader(2 if int(header["sizeof_hdr"]) == 540 else 1, shape, numbers)


def write_place(header: Any, geometry: Geometry, shape: tuple[int, ...]) -> None:
    """Put a geometry into nibabel's header of an image of `shape` (i, j, k, t).

    What came from a NIfTI file of these voxels goes back number by number. Any other gets its
    affine, or one by spacing and origin, as both sform and qform; without a patient x is
    taken to run to the left and y to the back, so that programs show the image upright. A
    qform cannot hold sheared axes, such as those of CT with gantry tilt: it gets the code 0.
    """
    kept = geometry.nifti
    if kept is not None and kept.shape[:3] == shape[:3]:
        for name, values in kept.numbers:
            header[name] = values if len(values) > 1 else values[0]
        return
    matrix = geometry.affine_in("RAS")
    if matrix is None:
        matrix = _upright(geometry)
    header.set_sform(matrix, code=1)
    header.set_qform(matrix, code=1)
    if _is_sheared(matrix[:3, :3]):
        header["qform_code"] = 0
    time = dict(zip(geometry.axes, zip(geometry.spacing, geometry.units, strict=True), strict=True))
    interval, unit = time.get("T", (1.0, "frame"))
    codes = {name: code for code, name in _SECONDS.items()}
    header["xyzt_units"] = 2 + codes.get(unit, 0)
    if len(shape) > 3:
        header["pixdim"][4] = interval


def _is_sheared(steps: NDArray[np.float64]) -> bool:
    """Return whether three steps do not stand on one another."""
    directions = steps / np.linalg.norm(steps, axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR)


def _upright(geometry: Geometry) -> NDArray[np.float64]:
    """Return an affine to RAS millimetres by spacing and origin."""
    matrix = np.eye(4)
    for axis, letter in enumerate("XYZ"):
        if letter in geometry.axes:
            place = geometry.axes.index(letter)
            factor = TO_MICROMETRES.get(geometry.units[place], 1e3) / 1e3
            matrix[axis, axis] = geometry.spacing[place] * factor
            matrix[axis, 3] = geometry.origin[place] * factor
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
