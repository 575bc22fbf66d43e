"""Write labels as PNG: one plane, its numbers as 8 or 16 bit."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.files import write_atomically

from .image_file import SIGNATURE
from .writers import smallest_dtype

_INSTEAD = "save it as OME-TIFF (.ome.tif) or OME-Zarr (.ome.zarr)"


def write_png(
    path: Path,
    labels: NDArray[np.integer[Any]],
    colors: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write labels as PNG, indexed where their colours are known and 255 at most.

    Parameters
    ----------
    path : Path
        The file to make or to replace.
    labels : integer array (Y, X)
        At most 65535.
    colors : sequence of str
        `#rrggbb` of 0, 1, 2 …; without them the numbers are grey values.
    provenance : mapping, optional
        How the labels were made; kept as a comment.

    Raises
    ------
    OutputError
        If there is more than one plane or a number is too high, with what to use instead; or
        if the file cannot be written.
    ValueError
        If the labels are not whole numbers from 0.
    """
    from PIL import Image, PngImagePlugin

    if labels.ndim != 2:
        raise OutputError(
            f"A PNG holds one plane, and {path.name!r} would hold {labels.ndim} axes: {_INSTEAD}."
        )
    dtype = smallest_dtype(labels)
    if dtype is np.uint32:
        raise OutputError(
            f"A PNG holds numbers up to 65535, and {path.name!r} would hold "
            f"{int(labels.max())}: {_INSTEAD}."
        )
    picture = Image.fromarray(np.ascontiguousarray(labels, dtype=dtype))
    if dtype is np.uint8 and colors and all(colors):
        picture = picture.copy()
        picture.putpalette(bytes(v for color in colors for v in bytes.fromhex(color[1:])))
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Software", SIGNATURE)
    comment.add_text("Comment", json.dumps(dict(provenance or {})))
    write_atomically(path, lambda file: picture.save(file, format="PNG", pnginfo=comment))
