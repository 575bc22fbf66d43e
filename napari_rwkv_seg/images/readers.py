"""Read TIFF, OME-TIFF, PNG and JPEG into arrays with their axes and pixel size.

The kind of a file is told by its first bytes, not by its name. What a file
declares is checked against the free memory before anything is decoded, and
every decoding failure becomes one error that names the file. Damage that
decodes to plausible pixels cannot be detected: these formats hold no checksum.
Pixel sizes are in micrometres, (Y, X).
"""

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

if TYPE_CHECKING:
    import tifffile
    from PIL import Image

PIXEL_LIMIT = 4_000_000_000  # bytes of decoded pixels that are accepted
_FREE_SHARE = 0.7  # of the free memory, the most that one image may take

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"

_MICROMETRES = {
    "µm": 1,
    "μm": 1,
    "um": 1,
    "micron": 1,
    "microns": 1,
    "micrometer": 1,
    r"\u00b5m": 1,
}
_UNITS_UM = _MICROMETRES | {"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "pm": 1e-6, "Å": 1e-4}


@dataclass(frozen=True)
class ImageFile:
    """An image as read from a file.

    Parameters
    ----------
    data : array
        The pixels, in the file's dtype, in memory.
    axes : str
        One letter per axis, from T, Z, C, Y, X.
    pixel_size : tuple of float, or None
        Size of a pixel (Y, X) in micrometres, where the file says so.
    path : Path
        Where it came from.
    """

    data: NDArray[Any]
    axes: str
    pixel_size: tuple[float, float] | None
    path: Path


def read_image(path: str | Path, *, limit: int = PIXEL_LIMIT) -> ImageFile:
    """Read an image file.

    Parameters
    ----------
    path : path
        A TIFF, OME-TIFF, PNG or JPEG file.
    limit : int
        Most bytes of decoded pixels to accept; 70 % of the free memory is a second limit.

    Raises
    ------
    UnreadableFileError
        If it is missing, no file, of another kind, too large, or cannot be decoded.
    """
    path = Path(path)
    start = _first_bytes(path)
    decode = _read_tiff if start.startswith(_TIFF) else _read_picture
    if decode is _read_picture and not start.startswith((_PNG, _JPEG)):
        raise UnreadableFileError(
            f"{str(path)!r} is {_kind(start)}; use a TIFF, PNG or JPEG image."
        )
    try:
        return decode(path, limit)
    except UnreadableFileError:
        raise
    except Exception as error:  # damaged files raise dozens of types in the decoders
        raise UnreadableFileError(
            f"{str(path)!r} cannot be decoded ({_reason(error)}). {_advice(error)}"
        ) from error


def _first_bytes(path: Path) -> bytes:
    """Return the start of a regular file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise UnreadableFileError(f"{str(path)!r} is {kind}; choose an image file.")
        with path.open("rb") as file:
            return file.read(16)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFileError(f"Cannot read {str(path)!r}: {reason}.") from error


def _kind(start: bytes) -> str:
    """Return what a file that we do not read seems to be."""
    if not start:
        return "an empty file"
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html", b"<head"):
        return "a web page (perhaps a download that failed)"
    if start.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        return "a compressed archive"
    return "not a kind of file that can be read here"


def _reason(error: BaseException) -> str:
    """Return the first line of an error's text, or its type."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines and lines[0] else type(error).__name__


def _advice(error: BaseException) -> str:
    """Return what to do about a file that cannot be decoded."""
    if "imagecodecs" in str(error):  # tifffile leaves LZW, JPEG and others to that package
        return "Install it (pip install imagecodecs), or save the image without compression."
    return (
        "The file may be damaged or cut short; get it again, or open and save it in another "
        "program."
    )


def _check_size(path: Path, nbytes: int, limit: int) -> None:
    """Refuse an image whose declared pixels would not fit."""
    import psutil

    free = int(psutil.virtual_memory().available * _FREE_SHARE)
    if nbytes > min(limit, free):
        raise UnreadableFileError(
            f"{str(path)!r} declares {nbytes / 1e9:.1f} GB of pixels; at most "
            f"{min(limit, free) / 1e9:.1f} GB can be read here. Crop it, or close other programs."
        )


def _read_picture(path: Path, limit: int) -> ImageFile:
    """Read a PNG or JPEG; palettes become colours, grey with alpha becomes grey."""
    from PIL import JpegImagePlugin, PngImagePlugin

    with path.open("rb") as file:
        is_png = file.read(len(_PNG)) == _PNG
        file.seek(0)
        # The formats' own classes, because Image.open warns of "bombs" by its own fixed limit.
        reader = PngImagePlugin.PngImageFile if is_png else JpegImagePlugin.JpegImageFile
        picture: Image.Image = reader(file)
        width, height = picture.size
        _check_size(path, width * height * max(4, len(picture.getbands())), limit)
        if picture.mode in ("P", "PA", "CMYK"):
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        elif picture.mode == "LA":
            picture = picture.getchannel("L")
        data = np.array(picture)
    return ImageFile(data, "YX" if data.ndim == 2 else "YXC", None, path)


def _read_tiff(path: Path, limit: int) -> ImageFile:
    """Read the first series of a TIFF at full resolution."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise UnreadableFileError(f"{str(path)!r} holds no image.")
        series = file.series[0]
        dtype = series.dtype
        if dtype is None:
            raise UnreadableFileError(f"{str(path)!r} holds pixels of an unknown type.")
        _check_size(path, int(np.prod(series.shape, dtype=object)) * dtype.itemsize, limit)
        pixel_size = _pixel_size(file)
        axes = str(series.axes)
        data = np.asarray(series.asarray())
    data, axes = _known_axes(path, data, axes)
    return ImageFile(data, axes, pixel_size, path)


def _known_axes(path: Path, data: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    """Return the pixels and their axes in our letters.

    Samples become channels; foreign axes of length 1 go, and longer ones (pages
    without a meaning) become the stack axis Z, or T if Z is taken.
    """
    foreign = [place for place, letter in enumerate(axes) if letter not in "TZCYXS"]
    if "S" in axes and "C" in axes:
        foreign.append(axes.index("C"))
    drop = tuple(place for place in foreign if data.shape[place] == 1)
    kept = "".join(letter for place, letter in enumerate(axes) if place not in drop)
    letters = kept.replace("S", "C")
    for letter in kept:
        if letter not in "TZCYXS":
            free = [wished for wished in "ZT" if wished not in letters]
            letters = letters.replace(letter, free[0] if free else "?", 1)
    spatial = letters.replace("C", "")
    if set(letters) - set("TZCYX") or len(set(letters)) < len(letters) or spatial[-2:] != "YX":
        raise UnreadableFileError(
            f"{str(path)!r} has axes {axes!r}, which do not fit T, Z, C, Y and X; "
            "save the part to segment as a file of its own."
        )
    return data.squeeze(drop), letters


def _pixel_size(file: "tifffile.TiffFile") -> tuple[float, float] | None:
    """Return the pixel size (Y, X) in µm from OME, ImageJ or centimetre resolution tags."""
    if file.ome_metadata:
        return _ome_pixel_size(file.ome_metadata)
    tags = file.pages.first.tags
    per_unit = [_ratio(tags.valueof(name)) for name in ("YResolution", "XResolution")]
    if not all(per_unit):
        return None
    if file.imagej_metadata:
        unit_um = _UNITS_UM.get(str(file.imagej_metadata.get("unit", "")), 0.0)
    else:  # inches come from screens and printers, not from microscopes
        unit_um = 1e4 if tags.valueof("ResolutionUnit") == 3 else 0.0
    return (unit_um / per_unit[0], unit_um / per_unit[1]) if unit_um else None


def _ratio(value: Any) -> float:
    """Return a TIFF rational as a number, or 0 if it is none."""
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return 0.0
    return float(value[0] / value[1])


def _ome_pixel_size(xml: str) -> tuple[float, float] | None:
    """Return PhysicalSizeY and X of the first image of an OME-XML text in µm.

    Searched as text: parsing foreign XML could be made to take unbounded memory.
    """
    sizes = []
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    for axis in "YX":
        size = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]+)"', pixels[0] if pixels else "")
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', pixels[0] if pixels else "")
        try:
            sizes.append(float(size[1]) * _UNITS_UM[unit[1] if unit else "µm"] if size else 0.0)
        except (ValueError, KeyError):
            return None
    return (sizes[0], sizes[1]) if all(0 < size < np.inf for size in sizes) else None
