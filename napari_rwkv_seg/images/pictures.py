"""Read PNG and JPEG: palettes become colours, grey with alpha becomes grey."""

import io
import struct
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .geometry import unknown_geometry
from .image_file import SIGNATURE, ImageFile, check_size

if TYPE_CHECKING:
    from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
_DEPTH = 24  # where a PNG has its bits a channel; then comes the kind of its colours
_CHANNELS = {2: 3, 4: 1, 6: 4}  # that are wanted of RGB, of grey with alpha and of RGBA
_ORIENTATION = 0x0112  # in EXIF: 1 if a picture is to be shown as it is stored, up to 8 if not
_TURNED = "Its EXIF data say that it is to be shown turned; its pixels are used as they are stored."
_CUT = (
    "It has 16 bits a channel, of which 8 were read; to get all of them, install imagecodecs "
    "(pip install imagecodecs)."
)


def read_picture(path: Path, limit: int) -> ImageFile:
    """Read a PNG or JPEG.

    Raises
    ------
    UnreadableFileError
        If it declares more than `limit` bytes; damage raises whatever the decoder raises.
    """
    from PIL import JpegImagePlugin, PngImagePlugin

    check_size(path, path.stat().st_size, limit)
    # From memory: to read as much as a damaged chunk claims, a file on disk makes room for it.
    content = path.read_bytes()
    with io.BytesIO(content) as file:
        # The formats' own classes, because Image.open warns of "bombs" by its own fixed limit.
        is_png = content.startswith(PNG)
        reader = PngImagePlugin.PngImageFile if is_png else JpegImagePlugin.JpegImageFile
        picture: Image.Image = reader(file)
        width, height = picture.size
        is_deep = is_png and content[_DEPTH] == 16 and content[_DEPTH + 1] in _CHANNELS
        check_size(path, width * height * max(8 if is_deep else 4, len(picture.getbands())), limit)
        is_labels = str(picture.info.get("Software", "")).startswith(SIGNATURE)
        indices = _indices(picture)
        notes: tuple[str, ...] = ()
        if is_labels and picture.mode == "P":
            data, indices = np.array(picture), None
        elif is_deep:
            data, notes = _deep(picture, content)
        else:
            data = np.array(_without_palette(picture))
        notes += (_TURNED,) if _is_turned(picture) else ()
    axes = "YX" if data.ndim == 2 else "YXC"
    return ImageFile(data, axes, None, path, unknown_geometry(axes), is_labels, notes, indices)


def _is_turned(picture: "Image.Image") -> bool:
    """Return whether viewers turn or mirror a picture; pixels here lie as napari shows them."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF data, which say nothing then
        try:  # the class's own: that of PNG decodes the pixels again
            return Image.Image.getexif(picture).get(_ORIENTATION) in range(2, 9)
        except (KeyError, SyntaxError, TypeError, ValueError, struct.error):
            return False


def _deep(picture: "Image.Image", content: bytes) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return a PNG of 16 bits in colours or with alpha, of which Pillow reads 8, and a note."""
    try:
        codecs: Any = import_module("imagecodecs")
    except ImportError:
        codecs = None
    data = np.array(picture) if codecs is None else np.asarray(codecs.png_decode(content))
    channels = _CHANNELS[content[_DEPTH + 1]]
    data = data[..., 0] if channels == 1 else data[..., :channels]
    return data, (_CUT,) if codecs is None else ()


def _indices(picture: "Image.Image") -> NDArray[np.uint8] | None:
    """Return the numbers behind the colours of a picture, as programs for labels keep them.

    None without a palette, and for greys that do not begin with black: programs that save space
    number them as they come, so there the greys are what was meant.
    """
    if picture.mode != "P":
        return None
    palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    is_grey = (palette == palette[:, :1]).all()
    return None if is_grey and palette[:1].any() else np.array(picture)


def _without_palette(picture: "Image.Image") -> "Image.Image":
    """Return the picture in grey or colours that can be computed with."""
    if picture.mode in ("P", "PA", "CMYK"):
        return picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    return picture.getchannel("L") if picture.mode == "LA" else picture
