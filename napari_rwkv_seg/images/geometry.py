"""Where an image lies in the world: spacing, units, origin, and the affine of medical files.

Everything is told for the axes T, Z, Y and X in the order of the array; C has no place
in the world. A pixel's coordinate is that of its centre, so the origin is the place of
the first pixel's centre. Units have the names of OME-NGFF ("micrometer", "second"),
and are "pixel" (of time: "frame") where nobody said.
"""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = tuple[tuple[float, ...], ...]

_TO_UM = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4}
TO_MICROMETRES = _TO_UM | {"meter": 1e6, "picometer": 1e-6, "angstrom": 1e-4}
SPELLINGS = {  # how files and programs write units; what is not here is unknown
    "µm": "micrometer",
    "μm": "micrometer",
    "um": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "nm": "nanometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "pm": "picometer",
    "Å": "angstrom",
    "s": "second",
    "sec": "second",
    "ms": "millisecond",
    "µs": "microsecond",
    "μs": "microsecond",
    "min": "minute",
    "h": "hour",
} | {unit: unit for unit in TO_MICROMETRES}
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS and back


@dataclass(frozen=True)
class NiftiHeader:
    """The numbers of a NIfTI header that place its voxels, exactly as they were read.

    But for what nibabel mends too: pixdim[0] is 1 or -1, and a voxel size has no sign.

    Parameters
    ----------
    version : int
        1 or 2.
    shape : tuple of int
        The lengths of i, j, k, t … as in the file.
    numbers : tuple of (name, values)
        pixdim, quaternion, offsets, sform rows, both codes and the units.
    """

    version: int
    shape: tuple[int, ...]
    numbers: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class DicomSeries:
    """What refers to a DICOM series: identifiers of image data, never of a patient.

    Parameters
    ----------
    series_uid, study_uid, frame_of_reference_uid : str
        As in the files; "" where they say nothing.
    planes : tuple of (Path, int)
        The file, and the frame in it, of every plane in their order along the normal.
    """

    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    planes: tuple[tuple[Path, int], ...]


@dataclass(frozen=True)
class Turn:
    """How the array of a file was turned when it was read.

    Parameters
    ----------
    order : tuple of int
        Of the file's last axes without C (Z, Y, X or Y, X), in the order of the turned array.
    mirrored : tuple of bool
        Whether each of the turned array's axes runs against that of the file.
    """

    order: tuple[int, ...]
    mirrored: tuple[bool, ...]

    @property
    def back(self) -> "Turn":
        """The turn that undoes this one."""
        order = tuple(self.order.index(axis) for axis in range(len(self.order)))
        return Turn(order, tuple(self.mirrored[axis] for axis in order))


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of an image lie.

    Parameters
    ----------
    axes : str
        Letters of T, Z, Y, X, one for each entry of what follows.
    spacing : tuple of float
        From one pixel to the next; positive.
    units : tuple of str
        Of spacing and origin.
    origin : tuple of float
        Of the first pixel's centre; of medical images it is in the affine, and zero here.
    affine : 4 × 4 tuple, or None
        From (x, y, z, 1), the place of a voxel along X, Y and Z, to millimetres in `world`.
        Includes the spacing. None for images without a patient.
    world : str
        "RAS" (x to the patient's right, y to the front, z to the head: NIfTI), "LPS" (x to
        the left, y to the back, z to the head: DICOM), or "" without an affine.
    nifti, dicom
        What the file's own format needs to be written back exactly; of the file's own array.
    turn : Turn, optional
        How this array was made from the file's, where that lies another way (`orientation`).
    """

    axes: str = ""
    spacing: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    origin: tuple[float, ...] = ()
    affine: Matrix | None = None
    world: str = ""
    nifti: NiftiHeader | None = None
    dicom: DicomSeries | None = None
    turn: Turn | None = None

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """The size of a pixel (Y, X) in micrometres; None where a unit of length is missing."""
        if not self.axes.endswith("YX"):
            return None
        factors = [TO_MICROMETRES.get(unit) for unit in self.units[-2:]]
        if factors[0] is None or factors[1] is None:
            return None
        return self.spacing[-2] * factors[0], self.spacing[-1] * factors[1]

    def affine_in(self, world: str) -> NDArray[np.float64] | None:
        """Return the affine (4, 4) with its result in "RAS" or "LPS"; None if there is none."""
        if self.affine is None:
            return None
        matrix = np.array(self.affine, dtype=np.float64)
        return matrix if world == self.world else _FLIP @ matrix

    def of_axes(self, axes: str) -> "Geometry":
        """Return the geometry of an array of `axes`, some of which may be new (and unknown)."""
        wanted = axes.replace("C", "")
        if wanted == self.axes:
            return self
        unknown = unknown_geometry(wanted)
        known = {letter: place for place, letter in enumerate(self.axes)}

        def pick(mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(
                mine[known[letter]] if letter in known else theirs[place]
                for place, letter in enumerate(wanted)
            )

        is_same_space = set(wanted) - {"T"} == set(self.axes) - {"T"}
        return replace(
            self,
            axes=wanted,
            spacing=pick(self.spacing, unknown.spacing),
            units=pick(self.units, unknown.units),
            origin=pick(self.origin, unknown.origin),
            nifti=self.nifti if is_same_space else None,
            dicom=None,
            turn=self.turn if is_same_space else None,
        )

    def coarser(self, factors: Sequence[float]) -> "Geometry":
        """Return the geometry of an image that was averaged over `factors` pixels an axis."""
        if len(factors) != len(self.axes):
            raise ValueError(f"{len(factors)} factors do not fit axes {self.axes!r}.")
        shift = [(factor - 1) / 2 for factor in factors]  # the centre of the first pixels
        origin = [o + s * d for o, s, d in zip(self.origin, self.spacing, shift, strict=True)]
        return replace(
            self,
            spacing=tuple(s * f for s, f in zip(self.spacing, factors, strict=True)),
            origin=tuple(origin) if self.affine is None else self.origin,
            affine=self._coarser_affine(factors, shift),
            nifti=None,
            dicom=None,
        )

    def _coarser_affine(self, factors: Sequence[float], shift: Sequence[float]) -> Matrix | None:
        matrix = self.affine_in(self.world)
        if matrix is None:
            return None
        change = np.eye(4)
        for place, letter in enumerate("XYZ"):
            if letter in self.axes:
                change[place, place] = factors[self.axes.index(letter)]
                change[place, 3] = shift[self.axes.index(letter)]
        return as_matrix(matrix @ change)


def unknown_geometry(axes: str) -> Geometry:
    """Return the geometry of an image of `axes` that says nothing: spacing 1, origin 0."""
    axes = axes.replace("C", "")
    units = tuple("frame" if letter == "T" else "pixel" for letter in axes)
    return Geometry(axes, (1.0,) * len(axes), units, (0.0,) * len(axes))


def pixel_side(size: tuple[float, float] | None) -> float | None:
    """Return the side of a square as large as a pixel (Y, X) in micrometres.

    None if the size is not known, or is none: up to a metre is believed.
    """
    side = math.sqrt(abs(size[0] * size[1])) if size else 0.0
    return side if 0 < side <= 1e6 else None


def flat_geometry(axes: str, pixel_size: tuple[float, float] | None) -> Geometry:
    """Return the geometry of an image of which the size of a pixel (Y, X) in µm is known."""
    geometry = unknown_geometry(axes)
    if pixel_size is None:
        return geometry
    return replace(
        geometry,
        spacing=(*geometry.spacing[:-2], *pixel_size),
        units=(*geometry.units[:-2], "micrometer", "micrometer"),
    )


def unit_of(text: str) -> str:
    """Return the name of a unit that a file writes, or "" if it is unknown.

    OME-XML may write its µ as &#181; or &#xB5;, and ImageJ as a backslash and u00B5.
    """
    plain = re.sub(
        r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), html.unescape(text), flags=re.I
    )
    return SPELLINGS.get(plain, "")


def as_matrix(array: NDArray[np.floating]) -> Matrix:
    """Return a matrix as tuples of Python's numbers."""
    return tuple(tuple(float(value) for value in row) for row in array)


def spacing_of(matrix: NDArray[np.floating], axes: str) -> tuple[float, ...]:
    """Return the lengths in mm of a step along each of `axes`, of Z, Y, X, by an affine (4, 4)."""
    lengths = np.sqrt((np.asarray(matrix, dtype=np.float64)[:3, :3] ** 2).sum(axis=0))
    return tuple(float(lengths["XYZ".index(letter)]) for letter in axes)
