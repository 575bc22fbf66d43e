"""Read PNG and JPEG: palettes become colours, grey with alpha becomes grey."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .geometry import unknown_geometry
from .image_file import SIGNATURE, ImageFile, check_size

if TYPE_CHECKING:
    from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"


def read_picture(path: Path, limit: int) -> ImageFile:
    """Read a PNG or JPEG.

    Raises
    ------
    UnreadableFileError
        If it declares more than `limit` bytes; damage raises whatever Pillow raises.
    """
    from PIL import JpegImagePlugin, PngImagePlugin

    check_size(path, path.stat().st_size, limit)
    # From memory: to read as much as a damaged chunk claims, a file on disk makes room for it.
    with io.BytesIO(path.read_bytes()) as file:
        is_png = file.read(len(PNG)) == PNG
        file.seek(0)
        # The formats' own classes, because Image.open warns of "bombs" by its own fixed limit.
        reader = PngImagePlugin.PngImageFile if is_png else JpegImagePlugin.JpegImageFile
        picture: Image.Image = reader(file)
        width, height = picture.size
        check_size(path, width * height * max(4, len(picture.getbands())), limit)
        is_labels = str(picture.info.get("Software", "")).startswith(SIGNATURE)
        if is_labels and picture.mode == "P":
            data = np.array(picture)  # the numbers, not the colours that show them
        else:
            data = np.array(_without_palette(picture))
    axes = "YX" if data.ndim == 2 else "YXC"
    return ImageFile(data, axes, None, path, unknown_geometry(axes), is_labels)


def _without_palette(picture: "Image.Image") -> "Image.Image":
    """Return the picture in grey or colours that can be computed with."""
    if picture.mode in ("P", "PA", "CMYK"):
        return picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    return picture.getchannel("L") if picture.mode == "LA" else picture
