"""What an OME-Zarr group says of itself, read from its JSON before zarr is asked.

Zarr decodes chunks by the codecs that the metadata names; one of those that numcodecs
knows runs code out of the file (pickle). So only known codecs of numbers are let through.
"""

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.files import read_bytes

from .geometry import SPELLINGS, Geometry, as_matrix, unknown_geometry
from .image_file import is_inside
from .tiff_meaning import geometry_from_json

MARKS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
KEY = "napari-rwkv-seg"  # of our own attributes
_LIMIT = 16_000_000  # bytes of a JSON file
_SAFE = frozenset(
    (
        *("blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma", "crc32", "crc32c", "adler32"),
        *("delta", "shuffle", "bitround", "quantize", "packbits", "fixedscaleoffset"),
        *("bytes", "transpose", "sharding_indexed"),
    )
)
_NUMBERS = re.compile(r"[<>|=]?[buif][1248]|bool|u?int(8|16|32|64)|float(16|32|64)")
_AXES_OF_0_2 = ("t", "c", "z", "y", "x")  # the order before axes had names


@dataclass(frozen=True)
class Dataset:
    """One resolution.

    Parameters
    ----------
    path : str
        Of the array within the group.
    scale, translation : tuple of float
        Of all axes.
    """

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """An image of an OME-Zarr group.

    Parameters
    ----------
    axes : str
        T, C, Z, Y, X in the order of its arrays.
    units : tuple of str
        Of all axes; "" where nobody said.
    datasets : tuple of Dataset
        The finest first.
    is_labels : bool
        Whether its pixels are labels.
    told : Geometry or None
        Of the finest level, where our writer left it: OME-Zarr has no affine.
    """

    axes: str
    units: tuple[str, ...]
    datasets: tuple[Dataset, ...]
    is_labels: bool
    told: Geometry | None = None

    def geometry(self, level: int) -> Geometry:
        """Return where the pixels of a level lie."""
        if self.told is not None:
            return self._of_told(self.told, level)
        one = self.datasets[level]
        places = [place for place, letter in enumerate(self.axes) if letter != "C"]
        unknown = unknown_geometry(self.axes)
        return Geometry(
            unknown.axes,
            tuple(one.scale[place] for place in places),
            tuple(self.units[p] or unit for p, unit in zip(places, unknown.units, strict=True)),
            tuple(one.translation[place] for place in places),
        )

    def _of_told(self, told: Geometry, level: int) -> Geometry:
        """Return the geometry that was left, of a level that takes every n-th pixel."""
        fine, coarse = self.datasets[0].scale, self.datasets[level].scale
        factors = dict(
            zip(self.axes, (b / a for a, b in zip(fine, coarse, strict=True)), strict=True)
        )
        spacing = zip(told.axes, told.spacing, strict=True)
        matrix = told.affine_in(told.world)
        steps = np.diag([*(factors.get(letter, 1.0) for letter in "XYZ"), 1.0])
        return replace(
            told,
            spacing=tuple(size * factors[letter] for letter, size in spacing),
            affine=None if matrix is None else as_matrix(matrix @ steps),
        )


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a Zarr group or array."""
    return any((folder / name).is_file() for name in MARKS)


def _json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; {} if there is none."""
    if not path.is_file():
        return {}
    try:
        told = json.loads(read_bytes(path, _LIMIT))
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(
            f"{str(path)!r} is damaged: it is no JSON. Get the image again."
        ) from error
    return told if isinstance(told, dict) else {}


def attributes(folder: Path) -> dict[str, Any]:
    """Return what OME says in a group of Zarr 2 (OME-Zarr 0.4) or 3 (0.5)."""
    third = _json(folder / "zarr.json")
    if third:
        told = third.get("attributes", {})
        return dict(told.get("ome", told)) if isinstance(told, dict) else {}
    return _json(folder / ".zattrs")


def zarr_format(folder: Path) -> int:
    """Return the version of Zarr in which a group is written, 2 or 3."""
    return 3 if (folder / "zarr.json").is_file() else 2


def read_multiscale(folder: Path) -> Multiscale:
    """Return what an image group says of its first image.

    Raises
    ------
    UnreadableFileError
        If it says what cannot be; other damage raises KeyError, TypeError or ValueError.
    """
    told = attributes(folder)
    first = told["multiscales"][0]
    axes, units = _axes(folder, first)
    common = _transform(first.get("coordinateTransformations"), len(axes))
    datasets = []
    for one in first["datasets"]:
        path = str(one["path"])
        if not is_inside(path):
            raise UnreadableFileError(f"{str(folder)!r} names an array outside of it: {path!r}.")
        scale, translation = _transform(one.get("coordinateTransformations"), len(axes))
        datasets.append(
            Dataset(
                path,
                tuple(a * b for a, b in zip(scale, common[0], strict=True)),
                tuple(t * b + c for t, b, c in zip(translation, common[0], common[1], strict=True)),
            )
        )
    return Multiscale(axes, units, tuple(datasets), "image-label" in told, _left(told, axes))


def _left(told: dict[str, Any], axes: str) -> Geometry | None:
    """Return the geometry that our writer left in a group's attributes."""
    try:
        left = told[KEY]["geometry"]
        return geometry_from_json(left, axes)
    except (KeyError, TypeError, ValueError):  # not ours, or edited by hand
        return None


def _axes(folder: Path, told: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return axes in our letters, and their units."""
    named = [
        {"name": axis} if isinstance(axis, str) else dict(axis)
        for axis in told.get("axes", _AXES_OF_0_2)
    ]
    letters = "".join(
        "C" if axis.get("type") == "channel" else str(axis.get("name", "?"))[:2].upper()
        for axis in named
    )
    if set(letters) - set("TCZYX") or len(set(letters)) < len(letters) or "YX" not in letters:
        raise UnreadableFileError(
            f"{str(folder)!r} has the axes {[axis.get('name') for axis in named]}, which do not "
            "fit t, c, z, y and x; save the part to segment as an image of its own."
        )
    units = (str(axis.get("unit") or "") for axis in named)
    return letters, tuple(SPELLINGS.get(unit, unit) for unit in units)


def _transform(told: Any, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and translation of a list of transformations, applied in their order."""
    scale, translation = [1.0] * count, [0.0] * count
    for one in told or []:
        if one.get("type") == "scale":
            factors = _numbers(one["scale"], count)
            scale = [s * f for s, f in zip(scale, factors, strict=True)]
            translation = [t * f for t, f in zip(translation, factors, strict=True)]
        elif one.get("type") == "translation":
            shift = _numbers(one["translation"], count)
            translation = [t + s for t, s in zip(translation, shift, strict=True)]
    if min(scale) <= 0:
        raise ValueError("a scale that is not positive")
    return tuple(scale), tuple(translation)


def _numbers(told: Any, count: int) -> list[float]:
    numbers = [float(value) for value in told]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{told} where {count} numbers belong")
    return numbers


def check_array(folder: Path) -> dict[str, Any]:
    """Refuse an array whose pixels are no numbers, or whose codecs are not known to be safe.

    Returns
    -------
    dict
        What the array says of itself, in the words of Zarr 2 or 3.

    Raises
    ------
    UnreadableFileError
        If it is missing or cannot be read; the text names the codec.
    """
    told = _json(folder / "zarr.json") or _json(folder / ".zarray")
    if not told:
        raise UnreadableFileError(f"{str(folder)!r} is missing: the image is not complete.")
    dtype = told.get("data_type", told.get("dtype"))
    if not isinstance(dtype, str) or not _NUMBERS.fullmatch(dtype):
        raise UnreadableFileError(f"{str(folder)!r} holds {dtype!r}, which are no real numbers.")
    for name in _codecs(told):
        if name.removeprefix("numcodecs.") not in _SAFE:
            raise UnreadableFileError(
                f"{str(folder)!r} is packed with {name!r}, which is not read here; save it with "
                "blosc, zstd or gzip."
            )
    return told


def _codecs(told: Any) -> list[str]:
    """Return the names of all codecs, of those within others too."""
    found: list[str] = []
    listed = [told.get("compressor"), *(told.get("filters") or []), *(told.get("codecs") or [])]
    for codec in listed:
        if codec is None:
            continue
        found.append(str(codec.get("id", codec.get("name"))))
        inner = codec.get("configuration") or {}
        found += _codecs({"codecs": [*inner.get("codecs", []), *inner.get("index_codecs", [])]})
    return found
