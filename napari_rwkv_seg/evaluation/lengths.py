"""Lengths with units: the size of a pixel along each axis, and tolerances as people write them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from napari_rwkv_seg.errors import SettingsError

PIXELS = "px"
SCALE_UNITS = "scale units"
"""Of a layer whose scale was set, but not its units."""

_MICROMETRES = {"pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "µm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_SAME = {
    "um": "µm",
    "μm": "µm",
    "micron": "µm",
    "microns": "µm",
    "micrometer": "µm",
    "micrometre": "µm",
    "nanometer": "nm",
    "nanometre": "nm",
    "millimeter": "mm",
    "millimetre": "mm",
    "centimeter": "cm",
    "centimetre": "cm",
    "meter": "m",
    "metre": "m",
    "picometer": "pm",
    "angstrom": "Å",
    "pixel": PIXELS,
    "pixels": PIXELS,
}
_LENGTH = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([^\s0-9]*)\s*")


@dataclass(frozen=True)
class Spacing:
    """The size of a pixel.

    Parameters
    ----------
    sizes : tuple of float
        Along each axis, in the order of NumPy; above 0.
    unit : str
        "µm", "mm" and so on; "px" if no size is known, and then all sizes are 1.
    """

    sizes: tuple[float, ...]
    unit: str = PIXELS

    def __post_init__(self) -> None:
        if not self.sizes or not all(0 < size < math.inf for size in self.sizes):
            raise SettingsError(
                f"The size of a pixel is stated as {self.sizes}; sizes are numbers above 0."
            )


def pixels(axes: int) -> Spacing:
    """Return the spacing of labels with `axes` axes of which no size is known."""
    return Spacing((1.0,) * axes)


def in_micrometres(spacing: Spacing) -> tuple[float, ...]:
    """Return sizes that are lengths in micrometres."""
    return tuple(size * _MICROMETRES[spacing.unit] for size in spacing.sizes)


def unit_name(unit: str) -> str:
    """Return one name for all ways to write a unit of length; what is unknown as it is."""
    name = unit.strip()
    return _SAME.get(name.lower(), _SAME.get(name, name))


def spacing_from(sizes: Sequence[float], units: Sequence[str]) -> Spacing | None:
    """Return sizes in the unit of the last axis; None if the units do not fit each other.

    Parameters
    ----------
    sizes : sequence of float
        Along each axis.
    units : sequence of str
        Of each size; "pixel" where nobody stated one.

    Raises
    ------
    SettingsError
        If a size is not above 0.
    """
    names = [unit_name(unit) for unit in units]
    if set(names) == {PIXELS}:
        is_scaled = any(not math.isclose(size, 1) for size in sizes)
        return Spacing(tuple(sizes), SCALE_UNITS if is_scaled else PIXELS)
    if not set(names) <= set(_MICROMETRES):
        return None
    unit = names[-1]
    factors = [_MICROMETRES[name] / _MICROMETRES[unit] for name in names]
    return Spacing(tuple(size * by for size, by in zip(sizes, factors, strict=True)), unit)


def read_length(text: str) -> tuple[float, str]:
    """Return number and unit of a length such as "1.5mm"; the unit is "" if there is none.

    Raises
    ------
    SettingsError
        If it is no length of 0 or more, or of a unit that is not known.
    """
    found = _LENGTH.fullmatch(text)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    unit = unit_name(found[2]) if found else ""
    if not math.isfinite(number) or (unit and unit not in {*_MICROMETRES, PIXELS}):
        raise SettingsError(
            f"{text!r} is no length; write a number of 0 or more with a unit, such as 1.5mm, "
            f"2µm or 1px (known units: {', '.join([*_MICROMETRES, PIXELS])})."
        )
    return number, unit


def in_unit_of(spacing: Spacing, number: float, unit: str) -> float:
    """Return a length in the unit of `spacing`; without a unit it is in that already.

    Raises
    ------
    SettingsError
        If one is in pixels and the other is not.
    """
    if unit in ("", spacing.unit):
        return number
    if unit == PIXELS and len(set(spacing.sizes)) == 1:
        return number * spacing.sizes[0]
    if unit in _MICROMETRES and spacing.unit in _MICROMETRES:
        return number * _MICROMETRES[unit] / _MICROMETRES[spacing.unit]
    sizes = " × ".join(f"{size:g}" for size in spacing.sizes)
    raise SettingsError(
        f"A tolerance of {number:g} {unit} cannot be used for labels whose pixels are "
        f"{sizes} {spacing.unit}; state it in {spacing.unit}."
    )
