"""Between the geometry of a file and the transforms of a napari layer; napari is not imported.

The world of medical images is LPS in napari's order of axes: (z, y, x) are millimetres to
the patient's head, back and left. So NIfTI and DICOM files of one patient lie on one another,
and a slice looks as radiologists hold it, since napari draws y downwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import SPELLINGS, TO_MICROMETRES, Geometry, as_matrix, spacing_of, unknown_geometry

_UNITS = frozenset(SPELLINGS.values())  # others would not be understood by napari
_STRAIGHT = 1e-9  # below which a part of a rotation is rounding


@dataclass(frozen=True)
class Place:
    """How napari is to show an array.

    Parameters
    ----------
    order : tuple of int
        The array's axes (without C) in the order in which napari gets them. Planes that were
        taken from the side are turned here, because napari slices along its world's axes.
    keywords : dict
        scale, translate, units, axis_labels, and affine where a rotation or a mirror remains.
    """

    order: tuple[int, ...]
    keywords: dict[str, Any]


def place_of(geometry: Geometry) -> Place:
    """Return how napari is to show an image of a geometry (without C)."""
    units = tuple(unit if unit in _UNITS else "pixel" for unit in geometry.units)
    keywords: dict[str, Any] = {
        "scale": geometry.spacing,
        "translate": geometry.origin,
        "units": units,
        "axis_labels": tuple(geometry.axes.lower()),
    }
    matrix = geometry.affine_in("LPS")
    if matrix is None or "ZYX" not in geometry.axes:
        return Place(tuple(range(len(geometry.axes))), keywords)
    return _placed_by(matrix, geometry, keywords)


def _placed_by(matrix: NDArray[np.float64], geometry: Geometry, keywords: dict[str, Any]) -> Place:
    """Return the place of a volume (T, Z, Y, X) by its affine to LPS."""
    before = len(geometry.axes) - 3
    lengths = np.array(spacing_of(matrix, "ZYX"))
    turned = matrix[2::-1, 2::-1] / lengths  # rows of the world z, y, x; columns of the array
    order = max(
        permutations(range(3)),
        key=lambda each: abs(np.prod([turned[row, column] for row, column in enumerate(each)])),
    )
    spacing = np.array([geometry.spacing[before + axis] for axis in order])
    linear = matrix[2::-1, 2::-1][:, order] / spacing
    shift = matrix[2::-1, 3]
    if np.abs(linear - np.eye(3)).max() < _STRAIGHT:
        keywords["translate"] = (*geometry.origin[:before], *shift.tolist())
    else:
        affine = np.eye(before + 4)
        affine[before:-1, before:-1] = linear
        affine[before:-1, -1] = shift
        keywords["affine"] = affine
    keywords["scale"] = (*geometry.spacing[:before], *spacing.tolist())
    return Place((*range(before), *(before + axis for axis in order)), keywords)


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
    plain = replace(unknown_geometry(axes), units=units)
    sizes = np.sqrt((linear**2).sum(axis=0))
    plain = replace(plain, spacing=tuple(float(size) for size in sizes))
    if not axes.endswith("ZYX"):
        return plain
    millimetres = np.array([TO_MICROMETRES.get(unit, 1e3) / 1e3 for unit in units[-3:]])
    matrix = np.eye(4)
    matrix[:3, :3] = (linear[-3:, -3:] * millimetres[:, None])[::-1, ::-1]
    matrix[:3, 3] = (shift[-3:] * millimetres)[::-1]
    units = (*units[:-3], *("millimeter",) * 3)
    spacing = (*plain.spacing[:-3], *spacing_of(matrix, "ZYX"))
    return replace(plain, spacing=spacing, units=units, affine=as_matrix(matrix), world="LPS")


def is_placed(place: Place, layer: Mapping[str, Any]) -> bool:
    """Return whether a layer still lies where it was put when it was opened."""
    count = len(place.order)
    mine, theirs = _whole(place.keywords, count), _whole(layer, count)
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
