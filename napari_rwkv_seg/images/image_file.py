"""An image as read from a file, and the guards that all readers share.

What a file declares is checked against the free memory before anything is decoded,
and every decoding failure becomes one error that names the file and what to do.
"""

import contextlib
import io
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import Any

from napari_rwkv_seg.errors import OutputError, UnreadableFileError

from .geometry import Geometry

PIXEL_LIMIT = 4_000_000_000  # bytes of decoded pixels that are accepted
_FREE_SHARE = 0.7  # of the free memory, the most that one image may take
SIGNATURE = "napari-rwkv-seg labels"  # in our files where the format has no word for labels
_DAMAGED = (
    "The file may be damaged or cut short; get it again, or open and save it in another program."
)


@dataclass(frozen=True)
class ImageFile:
    """An image as read from a file.

    Parameters
    ----------
    data : array
        The pixels, in the file's dtype; a NumPy array from `read_image`, which `open_image`
        gives too where the format cannot be read in parts, else a dask array.
    axes : str
        One letter per axis, from T, Z, C, Y, X.
    pixel_size : tuple of float, or None
        Size of a pixel (Y, X) in micrometres, where the file says so.
    path : Path
        Where it came from.
    geometry : Geometry
        Where the pixels lie in the world; of the axes without C.
    is_labels : bool
        Whether the file says that its pixels are labels, as those written here do.
    notes : tuple of str
        What the user should know: one sentence for everything that had to be assumed.
    indices : array, optional
        Of a picture with a palette, the numbers behind its colours, where they may be labels.
    """

    data: Any
    axes: str
    pixel_size: tuple[float, float] | None
    path: Path
    geometry: Geometry = field(default_factory=Geometry)
    is_labels: bool = False
    notes: tuple[str, ...] = ()
    indices: Any = None


@dataclass(frozen=True)
class Level:
    """One resolution of an image.

    Parameters
    ----------
    index : int
        0 for the full resolution.
    shape : tuple of int
        Lengths of all axes.
    axes : str
        One letter per axis, from T, Z, C, Y, X.
    geometry : Geometry
        Spacing and origin of this level.
    """

    index: int
    shape: tuple[int, ...]
    axes: str
    geometry: Geometry


class Bounded(io.BufferedReader):
    """A file of which no more is asked for than there is.

    Python makes room for all bytes that a reader asks for before it reads, and readers ask
    for as many as the file declares: 4 GB if it lies.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes, or all that are left."""
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def check_size(path: Path, nbytes: int, limit: int) -> None:
    """Refuse an image whose declared pixels would not fit.

    Raises
    ------
    UnreadableFileError
        If `nbytes` is more than `limit` or than 70 % of the free memory.
    """
    import psutil

    free = int(psutil.virtual_memory().available * _FREE_SHARE)
    if nbytes > min(limit, free):
        raise UnreadableFileError(
            f"{str(path)!r} declares {nbytes / 1e9:.1f} GB of pixels; at most "
            f"{min(limit, free) / 1e9:.1f} GB can be read here. Crop it, or close other programs."
        )


@contextlib.contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an UnreadableFileError that names the file."""
    try:
        yield
    except UnreadableFileError:
        raise
    except Exception as error:  # damaged files raise dozens of types in the decoders
        raise UnreadableFileError(
            f"{str(path)!r} cannot be decoded ({_reason(error)}). {_advice(error)}"
        ) from error


def _reason(error: BaseException) -> str:
    """Return the first line of an error's text, or its type."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines and lines[0] else type(error).__name__


def _advice(error: BaseException) -> str:
    """Return what to do about a file that cannot be decoded."""
    if "imagecodecs" in str(error):  # tifffile leaves LZW, JPEG and others to that package
        return "Install it (pip install imagecodecs), or save the image without compression."
    return _DAMAGED


def needed(module: str, extra: str, path: Path) -> ModuleType:
    """Return an optional library that reads `path`.

    Raises
    ------
    UnreadableFileError
        If it is not installed; the text says which extra to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UnreadableFileError(_missing(module, extra, path)) from error


def needed_to_write(module: str, extra: str, path: Path) -> ModuleType:
    """Return an optional library that writes `path`.

    Raises
    ------
    OutputError
        As `needed`.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise OutputError(_missing(module, extra, path)) from error


def _missing(module: str, extra: str, path: Path) -> str:
    library = module.partition(".")[0]
    return (
        f"{path.name!r} takes a library that is not installed ({library}): "
        f"pip install 'napari-rwkv-seg[{extra}]'."
    )


def is_inside(path: str) -> bool:
    """Return whether a path that a file names, on any system, stays in the file's own folder.

    Told by its words alone: a link in the folder is the user's own, and may lead elsewhere.
    """
    parts = PureWindowsPath(path)  # which knows both slashes, drives and shares
    return bool(parts.parts) and not parts.anchor and ".." not in parts.parts


def first_bytes(path: Path, count: int = 16) -> bytes:
    """Return the start of a regular file.

    Raises
    ------
    UnreadableFileError
        If it is missing, no regular file (which is then never opened), or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise UnreadableFileError(f"{str(path)!r} is {kind}; choose an image file.")
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFileError(f"Cannot read {str(path)!r}: {reason}.") from error
