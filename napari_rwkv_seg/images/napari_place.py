"""Between the geometry of a file and the transforms of a napari layer; napari is not imported.

The world of medical images is LPS in napari's order of axes: (z, y, x) are millimetres to
the patient's head, back and left. So NIfTI and DICOM files of one patient lie on one another,
and a slice looks as radiologists hold it, since napari draws y downwards. Arrays run that way
already (`orientation`); an affine is left for oblique volumes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import SPELLINGS, TO_MICROMETRES, Geometry, as_matrix, spacing_of, unknown_geometry
from .orientation import is_upright

_UNITS = frozenset(SPELLINGS.values())  # others would not be understood by napari
_STRAIGHT = 1e-9  # below which a part of a rotation is rounding


def place_of(geometry: Geometry) -> dict[str, Any]:
    """Return the keywords of the layer of an image (without C): where napari is to show it.

    scale, translate, units, axis_labels, and affine where a rotation or a mirror remains. A
    single plane that does not lie in the world's y and x is shown by the size of its pixels.
    """
    units = tuple(unit if unit in _UNITS else "pixel" for unit in geometry.units)
    keywords: dict[str, Any] = {
        "scale": geometry.spacing,
        "translate": geometry.origin,
        "units": units,
        "axis_labels": tuple(geometry.axes.lower()),
    }
    matrix = geometry.affine_in("LPS")
    space = _space_of(geometry.axes)
    if matrix is None or not (is_upright(geometry) if space == "ZYX" else _lies_flat(matrix)):
        return keywords
    return keywords | _placed_by(matrix, geometry, len(space))


def _space_of(axes: str) -> str:
    """Return the axes in space that an affine places."""
    return "ZYX" if axes.endswith("ZYX") else "YX"


def _lies_flat(matrix: NDArray[np.float64]) -> bool:
    """Return whether a plane lies in the world's y and x, where napari can show it in its place."""
    lengths = np.array(spacing_of(matrix, "XY"))
    return bool((lengths > 0).all() and (np.abs(matrix[2, :2]) < _STRAIGHT * lengths).all())


def _placed_by(matrix: NDArray[np.float64], geometry: Geometry, count: int) -> dict[str, Any]:
    """Return translate or affine of a volume (T, Z, Y, X), or of a plane, by its affine to LPS."""
    before = len(geometry.axes) - count
    # Rows are the world's z, y, x; columns are the array's.
    linear = matrix[count - 1 :: -1, count - 1 :: -1] / geometry.spacing[before:]
    shift = matrix[count - 1 :: -1, 3]
    if np.abs(linear - np.eye(count)).max() < _STRAIGHT:
        return {"translate": (*geometry.origin[:before], *shift.tolist())}
    affine = np.eye(before + count + 1)
    affine[before:-1, before:-1] = linear
    affine[before:-1, -1] = shift
    return {"affine": affine}


def geometry_of(axes: str, layer: Mapping[str, Any]) -> Geometry:
    """Return the geometry of a layer of `axes` by its transforms alone.

    Parameters
    ----------
    axes : str
        T, Z, Y, X in the order of the layer.
    layer : mapping
        scale, translate, rotate, shear, affine, units as napari hands them to writers.
    """
    count = len(axes)
    linear, shift = _whole(layer, count)
    units = _units_of(layer.get("units"), axes)
    is_straight = np.abs(linear - np.diag(np.diag(linear))).max() < _STRAIGHT
    if is_straight and (np.diag(linear) > 0).all():
        spacing = tuple(float(value) for value in np.diag(linear))
        return Geometry(axes, spacing, units, tuple(float(value) for value in shift))
    space = _space_of(axes)
    before, inside = len(axes) - len(space), len(space)
    millimetres = np.array([TO_MICROMETRES.get(unit, 1e3) / 1e3 for unit in units[before:]])
    matrix = np.eye(4)
    matrix[:inside, :inside] = (linear[before:, before:] * millimetres[:, None])[::-1, ::-1]
    matrix[:inside, 3] = (shift[before:] * millimetres)[::-1]
    sizes = np.sqrt((linear[:, :before] ** 2).sum(axis=0))
    if set(units[before:]) & set(TO_MICROMETRES):
        units = (*units[:before], *("millimeter",) * inside)
    return Geometry(
        axes,
        (*(float(size) for size in sizes), *spacing_of(matrix, space)),
        units,
        (*(float(value) for value in shift[:before]), *(0.0,) * inside),
        as_matrix(matrix),
        "LPS",
    )


def is_placed(geometry: Geometry, layer: Mapping[str, Any]) -> bool:
    """Return whether a layer still lies where it was put when its file was opened."""
    count = len(geometry.axes)
    mine, theirs = _whole(place_of(geometry), count), _whole(layer, count)
    return all(np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(mine, theirs, strict=True))


def _whole(layer: Mapping[str, Any], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the linear part and the shift of all transforms of a layer, as napari joins them."""
    scale = np.asarray(layer.get("scale", np.ones(count)), dtype=np.float64)
    linear = np.diag(scale)
    shear = np.asarray(layer.get("shear", np.zeros(0)), dtype=np.float64)
    if shear.ndim == 2:
        linear = shear @ linear
    elif shear.any():
        upper = np.eye(count)
        upper[np.triu_indices(count, 1)] = shear
        linear = upper @ linear
    rotate = np.asarray(layer.get("rotate", np.eye(count)), dtype=np.float64)
    linear = rotate @ linear if rotate.ndim == 2 else linear
    shift = np.asarray(layer.get("translate", np.zeros(count)), dtype=np.float64)
    affine = layer.get("affine")
    if affine is not None:
        matrix = np.asarray(getattr(affine, "affine_matrix", affine), dtype=np.float64)
        linear, shift = matrix[:-1, :-1] @ linear, matrix[:-1, :-1] @ shift + matrix[:-1, -1]
    return linear, shift


def _units_of(told: Any, axes: str) -> tuple[str, ...]:
    """Return the names of a layer's units; napari hands over objects of pint."""
    unknown = unknown_geometry(axes).units
    names = [str(unit) for unit in (told if told is not None else ())]
    if len(names) != len(axes):
        return unknown
    return tuple(
        name if name in _UNITS else default for name, default in zip(names, unknown, strict=True)
    )
