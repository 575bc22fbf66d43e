"""What a TIFF claims of other files and of its planes, checked before tifffile follows it.

An image may lie in several files, which each name the others: OME-TIFF in its XML, NDTiff in an
index beside it. tifffile reads them wherever they lie, waits for a pipe, and makes room for as
many planes as are claimed.
"""

import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.files import read_bytes

from .image_file import is_inside
from .tiff_directories import check_directories

if TYPE_CHECKING:
    import tifffile

_MOST_PLANES = 1_000_000  # of an image in all its files
_NDTIFF_INDEX = "NDTiff.index"
_NDTIFF_NUMBERS = 32  # bytes of each entry behind the name
_INDEX_LIMIT = 500_000_000  # bytes


def check_parts(path: Path, file: "tifffile.TiffFile") -> None:
    """Refuse a TIFF that names files outside of its folder, or planes without end.

    Parameters
    ----------
    path : Path
        Where it lies.
    file : TiffFile
        Just opened; its series were not asked for yet.

    Raises
    ------
    UnreadableFileError
        If it does, or one of its parts is no regular file or leads round in a circle; the
        text names the part. Parts that are missing, or no TIFF, are left to tifffile.
    """
    root = _xml(path, file)
    if root is not None:
        _check_counts(path, root)
    for name in sorted({*_ome_parts(path, root), *_ndtiff_parts(path, file)}):
        if not is_inside(name):
            raise UnreadableFileError(
                f"{str(path)!r} names a part of the image outside of its folder: {name[:200]!r}. "
                "Put all its parts into one folder, or save the image as one file."
            )
        _check_part(path.parent / name)


def _xml(path: Path, file: "tifffile.TiffFile") -> ElementTree.Element | None:
    """Return the OME-XML of a file as tifffile reads it; None if there is none."""
    text = file.ome_metadata
    if not text:
        return None
    if "<!DOCTYPE" in text:  # with which a short text can be made to stand for a very long one
        raise UnreadableFileError(
            f"{str(path)!r} has OME-XML with a DOCTYPE, which OME-TIFF does not allow; open and "
            "save it in another program."
        )
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None  # tifffile then reads the pages as they come


def _check_counts(path: Path, root: ElementTree.Element) -> None:
    """Refuse OME-XML that claims more planes, or places along an axis, than an image has."""
    most = max((_count(element) for element in root.iter()), default=0)
    if most > _MOST_PLANES:
        raise UnreadableFileError(
            f"{str(path)!r} claims {most} planes in its OME-XML; at most {_MOST_PLANES} can be "
            "read. Get it again, or open and save it in another program."
        )


def _count(element: ElementTree.Element) -> int:
    """Return for how many planes, or places along an axis, tifffile makes room."""
    tag, told = str(element.tag), element.attrib
    if tag.endswith("Pixels"):
        return math.prod(int(told.get(f"Size{axis}", 1)) for axis in "TZC")
    if tag.endswith("TiffData"):
        return max(int(told.get(name, 0)) for name in ("PlaneCount", "NumPlanes"))
    if tag[:-1].endswith("Along") and {"Start", "End"} <= set(told):  # a part of another axis
        return int(abs(float(told["End"]) - float(told["Start"])) / abs(float(told.get("Step", 1))))
    return 0


def _ome_parts(path: Path, root: ElementTree.Element | None) -> Iterator[str]:
    """Yield the names of the other files that OME-XML speaks of."""
    if root is None:
        return
    own = root.get("UUID")
    for element in root.iter():
        name = element.get("FileName")
        is_own = own is not None and element.text == own  # which may have been renamed since
        if element.tag.endswith("UUID") and name and not is_own and name != path.name:
            yield name


def _ndtiff_parts(path: Path, file: "tifffile.TiffFile") -> Iterator[str]:
    """Yield the names of the other files in the index of an NDTiff."""
    if not file.is_ndtiff:
        return
    index = path.with_name(_NDTIFF_INDEX)
    content, at = read_bytes(index, _INDEX_LIMIT), 0
    while at + 4 <= len(content):
        start = at + 4 + _length(content, at)  # behind the place along all axes
        end = start + 4 + _length(content, start)
        if end > len(content):
            raise UnreadableFileError(f"{str(index)!r} is damaged; get the image again.")
        name = content[start + 4 : end].decode("utf-8", errors="replace")
        if name != path.name:
            yield name
        at = end + _NDTIFF_NUMBERS


def _length(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "little")


def _check_part(part: Path) -> None:
    """Refuse a part that is there and cannot be read to an end."""
    import tifffile

    try:
        is_file = stat.S_ISREG(part.stat().st_mode)
    except OSError:
        return
    if not is_file:
        raise UnreadableFileError(f"{str(part)!r} is no regular file; put the image's part there.")
    try:
        with tifffile.TiffFile(part) as file:
            check_directories(part, file)
    except tifffile.TiffFileError:
        return
