"""Write labels as compressed OME-TIFF and pictures of them as PNG.

Files appear complete or not at all. Pixel sizes are in micrometres, (Y, X).
"""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.files import write_atomically

from .geometry import Geometry, flat_geometry
from .image_file import SIGNATURE
from .tiff_meaning import geometry_as_json, has_more_than_ome, ome_sizes

_AXES = {2: "YX", 3: "ZYX", 4: "TZYX"}


def write_labels(
    path: str | Path,
    labels: NDArray[np.integer[Any]],
    pixel_size: tuple[float, float] | None = None,
    *,
    axes: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write labels as an OME-TIFF, zlib-compressed, in the smallest unsigned dtype that holds them.

    Parameters
    ----------
    path : path
        The file to make or to replace.
    labels : integer array (..., Y, X)
        Not negative.
    pixel_size : tuple of float, optional
        Size of a pixel (Y, X) in micrometres.
    axes : str, optional
        One letter per axis; "YX", "ZYX" or "TZYX" if not given.
    provenance : mapping, optional
        How the labels were made; stored as JSON in the image's description.

    Raises
    ------
    OutputError
        If the file cannot be written; a file that was there before is untouched.
    ValueError
        If the labels are not whole numbers from 0 to 2³² - 1, or the axes do not fit.
    """
    axes = axes or default_axes(labels)
    write_ome_tiff(Path(path), labels, flat_geometry(axes, pixel_size), provenance)


def default_axes(labels: Any) -> str:
    """Return "YX", "ZYX" or "TZYX" by the number of axes.

    Raises
    ------
    ValueError
        If there are fewer or more.
    """
    if labels.ndim not in _AXES:
        raise ValueError(f"Labels have 2 to 4 axes, got the shape {labels.shape}: state the axes.")
    return _AXES[labels.ndim]


def write_ome_tiff(
    path: Path,
    labels: NDArray[np.integer[Any]],
    geometry: Geometry,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write labels as an OME-TIFF.

    Spacing and units are told as OME tells them; an origin or an affine, for which it has no
    words, as JSON in the description, beside the provenance.

    Raises
    ------
    OutputError, ValueError
        As `write_labels`.
    """
    import tifffile

    axes = geometry.axes
    if len(axes) != labels.ndim:
        raise ValueError(f"Labels of shape {labels.shape} do not fit axes {axes!r}.")
    data = np.asarray(labels).astype(smallest_dtype(labels), copy=False)
    metadata: dict[str, Any] = {"axes": axes, **ome_sizes(geometry)}
    told = dict(provenance or {})
    if has_more_than_ome(geometry) or 1 in data.shape[:-2]:
        told["geometry"] = geometry_as_json(geometry)
    if told or provenance is not None:
        metadata["Description"] = json.dumps(told)
    # Stated, because tifffile takes a last axis of length 3 or 4 for colours.
    options: dict[str, Any] = {"photometric": "minisblack", "software": SIGNATURE}
    options |= {"compression": "zlib", "metadata": metadata}
    options |= _resolution(geometry)
    # Places in a plain TIFF have 32 bits; how small the compressed pixels become is not yet known.
    options["bigtiff"] = data.nbytes > 2**32 - 2**25

    def write(file: BinaryIO) -> None:
        made = BytesIO()  # compressed; tifffile wants a file with a name, or one without any
        tifffile.imwrite(made, data, ome=True, **options)
        file.write(made.getbuffer())

    write_atomically(path, write)


def _resolution(geometry: Geometry) -> dict[str, Any]:
    """Return pixels per centimetre for programs that know no OME, if TIFF's fractions hold them."""
    if geometry.pixel_size is None:
        return {}
    per_centimetre = (1e4 / geometry.pixel_size[1], 1e4 / geometry.pixel_size[0])
    if not all(1e-6 < value < 1e9 for value in per_centimetre):
        return {}
    return {"resolution": per_centimetre, "resolutionunit": "CENTIMETER"}


def smallest_dtype(labels: Any) -> type[np.unsignedinteger[Any]]:
    """Return uint8, uint16 or uint32, whichever is the first to hold the labels.

    Raises
    ------
    ValueError
        If the labels are not whole numbers from 0 to 2³² - 1.
    """
    if labels.dtype.kind not in "bui" or (labels.size and labels.min() < 0):
        raise ValueError(f"Labels are whole numbers from 0, got dtype {labels.dtype}.")
    highest = int(labels.max()) if labels.size else 0
    for dtype in (np.uint8, np.uint16, np.uint32):
        if highest <= np.iinfo(dtype).max:
            return dtype
    raise ValueError(f"Labels go up to 2**32 - 1, got {highest}.")


def write_overlay(
    path: str | Path,
    image: NDArray[Any],
    labels: NDArray[np.integer[Any]],
    colors: Sequence[str] | None = None,
) -> None:
    """Write a PNG of a plane with its labels: tinted inside, outlined at their borders.

    Parameters
    ----------
    path : path
        The file to make or to replace.
    image : array (Y, X) or (Y, X, C)
        Any real dtype; shown from its 0.5th to its 99.5th percentile.
    labels : integer array (Y, X)
        0 is left as it is.
    colors : sequence of str, optional
        `#rrggbb` for every class, the background's first; without it every number gets a colour.

    Raises
    ------
    OutputError
        If the file cannot be written.
    ValueError
        If the shapes do not fit.
    """
    from PIL import Image

    if labels.ndim != 2 or image.shape[:2] != labels.shape:
        raise ValueError(f"A plane {image.shape} and labels {labels.shape} do not fit.")
    picture = _visible(image)
    tint = _tint(labels, colors)
    strength = np.where(_borders(labels), 1.0, 0.35)[..., None] * (labels > 0)[..., None]
    blended = (picture * (1 - strength) + tint * strength).round().astype(np.uint8)
    write_atomically(Path(path), lambda file: Image.fromarray(blended).save(file, format="PNG"))


def _visible(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return a plane as RGB (Y, X, 3) from 0 to 255."""
    plane = np.asarray(image, dtype=np.float64)
    plane = plane[..., None] if plane.ndim == 2 else plane
    plane = plane[..., :3] if plane.shape[-1] >= 3 else plane[..., :1]
    finite = plane[np.isfinite(plane)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    shown = np.nan_to_num((plane - low) / ((high - low) or 1.0), posinf=1.0, neginf=0.0)
    return np.broadcast_to(np.clip(shown, 0, 1) * 255, (*plane.shape[:2], 3))


def _tint(labels: NDArray[np.integer[Any]], colors: Sequence[str] | None) -> NDArray[np.float64]:
    """Return the colour of every label (Y, X, 3) from 0 to 255."""
    if colors is not None:
        table = np.array([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors])
        known = np.minimum(labels, len(table) - 1)
        return np.asarray(table[known], dtype=np.float64)
    # Steps of the golden angle round the colour circle: neighbours in number differ in colour.
    turn = labels.astype(np.float64)[..., None] * 0.618034 * 2 * np.pi
    colored: NDArray[np.float64] = 127.5 + 127.5 * np.cos(turn + np.array([0, 2, 4]) * np.pi / 3)
    return colored


def _borders(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return where a label touches another number, to the right or below or the other way round."""
    borders = np.zeros(labels.shape, dtype=bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    borders[1:] |= down
    borders[:-1] |= down
    borders[:, 1:] |= right
    borders[:, :-1] |= right
    return borders
