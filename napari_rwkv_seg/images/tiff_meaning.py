"""What the pixels of a TIFF mean: spacing and units from OME, ImageJ or resolution tags."""

import html
import json
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .geometry import SPELLINGS, TO_MICROMETRES, Geometry, unit_of, unknown_geometry
from .image_file import SIGNATURE

if TYPE_CHECKING:
    import tifffile

Sizes = dict[str, tuple[float, str]]  # of an axis: spacing and unit
_NAMES = {  # how OME writes units
    unit: next(short for short, name in SPELLINGS.items() if name == unit)
    for unit in dict.fromkeys(SPELLINGS.values())
}


def read_geometry(file: "tifffile.TiffFile", axes: str) -> Geometry:
    """Return where the pixels of the first series lie, as far as the file says so."""
    told = _ours(file, axes)
    if told is not None:
        return told
    if file.ome_metadata:
        sizes = _ome_sizes(file.ome_metadata)
    elif file.imagej_metadata:
        sizes = _imagej_sizes(file)
    else:  # inches come from screens and printers, not from microscopes
        tags = file.pages.first.tags
        sizes = _plane_sizes(file, "centimeter" if tags.valueof("ResolutionUnit") == 3 else "")
    return _with_sizes(axes, sizes)


def _with_sizes(axes: str, sizes: Sizes) -> Geometry:
    geometry = unknown_geometry(axes)
    if not {"Y", "X"} <= set(sizes):  # half a size of a pixel is none
        sizes = {letter: size for letter, size in sizes.items() if letter in "TZ"}
    spacing, units = list(geometry.spacing), list(geometry.units)
    for place, letter in enumerate(geometry.axes):
        if letter in sizes:
            spacing[place], units[place] = sizes[letter]
    return replace(geometry, spacing=tuple(spacing), units=tuple(units))


def _left(file: "tifffile.TiffFile") -> Any:
    """Return what our writer left in the description, for what OME has no words; else None."""
    if not str(file.pages.first.tags.valueof("Software")).startswith(SIGNATURE):
        return None
    text = re.search(r"<Description>(.*?)</Description>", file.ome_metadata or "", re.DOTALL)
    try:
        return json.loads(html.unescape(text[1]))["geometry"] if text else None
    except (ValueError, KeyError, TypeError, RecursionError):  # edited by hand, or cut short
        return None


def axes_left(file: "tifffile.TiffFile") -> str:
    """Return the axes that our writer left where one is of length 1, which TIFF forgets; or ""."""
    left = _left(file)
    return str(left.get("axes", "")) if isinstance(left, dict) else ""


def _ours(file: "tifffile.TiffFile", axes: str) -> Geometry | None:
    """Return the geometry that our writer left."""
    try:
        return geometry_from_json(_left(file), axes)
    except (ValueError, KeyError, TypeError):
        return None


def geometry_as_json(geometry: Geometry) -> dict[str, Any]:
    """Return what is kept in a file's description: no path and no identifier of a series."""
    return {
        "axes": geometry.axes,
        "spacing": geometry.spacing,
        "units": geometry.units,
        "origin": geometry.origin,
        "affine": geometry.affine,
        "world": geometry.world,
    }


def geometry_from_json(told: Any, axes: str) -> Geometry | None:
    """Return a geometry that `geometry_as_json` gave, if it fits `axes`.

    Raises
    ------
    ValueError, KeyError, TypeError
        If it is none.
    """
    letters = axes.replace("C", "")
    spacing, origin = (tuple(float(v) for v in told[key]) for key in ("spacing", "origin"))
    units = tuple(str(unit) for unit in told["units"])
    affine = told["affine"] and tuple(tuple(float(v) for v in row) for row in told["affine"])
    fits = told["axes"] == letters and len(spacing) == len(origin) == len(units) == len(letters)
    if not fits or not all(math.isfinite(v) and v > 0 for v in spacing):
        return None
    if affine and ([len(row) for row in affine] != [4] * 4 or told["world"] not in ("RAS", "LPS")):
        return None
    return Geometry(letters, spacing, units, origin, affine or None, told["world"])


def _ome_sizes(xml: str) -> Sizes:
    """Return the physical sizes and the interval of the first image of an OME-XML text.

    Searched as text: parsing foreign XML could be made to take unbounded memory.
    """
    found = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    pixels = found[0] if found else ""
    sizes = {}
    for letter, name, standard in (
        *((letter, f"PhysicalSize{letter}", "µm") for letter in "ZYX"),
        ("T", "TimeIncrement", "s"),
    ):
        size = _positive(_attribute(pixels, name))
        unit = _attribute(pixels, f"{name}Unit")
        known = unit_of(standard if unit is None else unit)
        if size and known:
            sizes[letter] = (size, known)
    return sizes


def _attribute(element: str, name: str) -> str | None:
    """Return an attribute of an element of XML, which may stand in either kind of quotes."""
    found = re.search(rf"""\b{name}\s*=\s*(["'])(.*?)\1""", element, re.DOTALL)
    return found[2] if found else None


def _imagej_sizes(file: "tifffile.TiffFile") -> Sizes:
    told: dict[str, Any] = file.imagej_metadata or {}
    unit = unit_of(str(told.get("unit", "")))
    sizes = _plane_sizes(file, unit)
    depth = abs(_finite(told.get("spacing")))  # negative where planes were taken downwards
    interval = _positive(told.get("finterval"))
    if depth and unit in TO_MICROMETRES:
        sizes["Z"] = (depth, unit)
    if interval:
        sizes["T"] = (interval, unit_of(str(told.get("tunit", "s"))) or "second")
    return sizes


def _plane_sizes(file: "tifffile.TiffFile", unit: str) -> Sizes:
    """Return the size of a pixel by the resolution tags; what is in centimetres comes as µm."""
    tags = file.pages.first.tags
    per_unit = {letter: _ratio(tags.valueof(f"{letter}Resolution")) for letter in "YX"}
    if unit not in TO_MICROMETRES or not all(per_unit.values()):
        return {}
    factor, unit = (1e4, "micrometer") if unit == "centimeter" else (1.0, unit)
    return {letter: (factor / value, unit) for letter, value in per_unit.items()}


def _ratio(value: Any) -> float:
    """Return a TIFF rational as a number, or 0 if it is none."""
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return 0.0
    return _positive(value[0] / value[1])


def _positive(value: Any) -> float:
    """Return a number that can be a size, or 0."""
    return max(_finite(value), 0.0)


def _finite(value: Any) -> float:
    """Return a number, or 0 for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def has_more_than_ome(geometry: Geometry) -> bool:
    """Return whether a geometry holds what OME has no words for."""
    unwritten = any(
        unit not in _NAMES and size != 1.0
        for unit, size in zip(geometry.units, geometry.spacing, strict=True)
    )
    return unwritten or geometry.affine is not None or any(geometry.origin)


def ome_sizes(geometry: Geometry) -> dict[str, Any]:
    """Return spacing and units as OME writes them; axes with an unknown unit are left out."""
    told: dict[str, Any] = {}
    for letter, size, unit in zip(geometry.axes, geometry.spacing, geometry.units, strict=True):
        name = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
        if unit in _NAMES:
            told |= {name: size, f"{name}Unit": _NAMES[unit]}
    return told
