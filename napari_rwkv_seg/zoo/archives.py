"""Model folders as one zip file: packed for others, and unpacked without trust.

An archive holds the files of one folder, at its top or in one folder of its own.
Everything is checked in the directory before a byte is unpacked, and every file
is cut off at the size that it claims.
"""

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.files import append_chunks, write_atomically

from .card import plain_text
from .weights import ENCODER_LIMIT
from .zip_files import DAMAGED_ZIP, open_zip

MAX_FILES = 200
MAX_RATIO = 200  # bytes unpacked per byte packed
MAX_BYTES = ENCODER_LIMIT + 50_000_000
_CHUNK = 1 << 20
_ENDINGS = {".safetensors", ".toml", ".md", ".txt", ".json", ".csv", ".png", ".svg"}
_ENCRYPTED = 0x1


def pack_folder(folder: Path, target: Path) -> None:
    """Write the files of a model folder into one zip file; it appears whole or not at all.

    Parameters
    ----------
    folder : Path
        The folder; its name becomes the folder in the archive. Links and folders in it
        are left out, as is what an archive may not hold.
    target : Path
        The zip file to make or replace.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    files = [item for item in sorted(folder.iterdir()) if is_plain(item)]

    def write(file: BinaryIO) -> None:
        # Weights do not shrink, and stored entries can be read in place.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for item in files:
                archive.write(item, f"{folder.name}/{item.name}")

    write_atomically(target, write)


def is_plain(item: Path) -> bool:
    """Tell whether a file belongs into an archive: a regular one, of a kind that models have."""
    return item.is_file() and not item.is_symlink() and item.suffix.lower() in _ENDINGS


def is_folder_archive(path: Path) -> bool:
    """Tell whether a file is a zip with a model's or an encoder's card in it."""
    try:
        with path.open("rb") as file, open_zip(file) as archive:
            names = {PurePosixPath(entry).name for entry in archive.namelist()}
    except DAMAGED_ZIP:
        return False
    return bool(names & {"model.toml", "encoder.toml"})


def unpack_folder(path: Path, into: Path) -> None:
    """Unpack the files of an archive into an empty folder.

    Parameters
    ----------
    path : Path
        The zip file.
    into : Path
        An empty folder, which the caller throws away if this raises.

    Raises
    ------
    ModelError
        If the archive is damaged, or holds anything that a model folder does not.
    OutputError
        If the files cannot be written.
    """
    with _opened(path) as archive:
        entries = _checked(archive.infolist(), path)
        for entry in entries:
            append_chunks(into / PurePosixPath(entry.filename).name, 0, _content(archive, entry))


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with path.open("rb") as file, open_zip(file) as archive:
            yield archive
    except DAMAGED_ZIP as error:
        reason = plain_text(str(error), 200)  # which may quote the archive at length
        raise ModelError(f"{str(path)!r} is damaged or no zip file: {reason}.") from error


def _checked(entries: list[zipfile.ZipInfo], path: Path) -> list[zipfile.ZipInfo]:
    """Return the entries to unpack; ModelError, naming the first, if one is not allowed."""
    if not all(entry.filename for entry in entries):
        raise _refused(path, "an entry has no name")
    files = [entry for entry in entries if not entry.is_dir() and not _is_clutter(entry.filename)]
    if not files or len(entries) > MAX_FILES:
        raise _refused(path, f"it holds {len(entries)} entries, which is no model folder")
    if sum(entry.file_size for entry in files) > MAX_BYTES:
        raise _refused(path, f"it would unpack to more than {MAX_BYTES / 1e6:.0f} MB")
    folders = {str(PurePosixPath(entry.filename).parent) for entry in files}
    names = [PurePosixPath(entry.filename).name.casefold() for entry in files]
    for entry in entries:
        reason = _fault_of(entry)
        if reason:
            raise _refused(path, f"entry {entry.filename[:80]!r} {reason}")
    if len(folders) > 1:
        raise _refused(path, "its files lie in several folders")
    if len(set(names)) < len(names):
        raise _refused(path, "two of its files have the same name")
    return files


def _fault_of(entry: zipfile.ZipInfo) -> str:
    """Return what is wrong with an entry, "" if nothing is."""
    name = entry.filename
    parts = name.rstrip("/").split("/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name or {"", ".", ".."} & set(parts):
        return "leads out of the folder"
    if len(parts) > 2 and not _is_clutter(name):
        return "lies too deep"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if entry.file_size > MAX_RATIO * max(entry.compress_size, 1) + 1000:
        return "unpacks to far more than it is"
    if not entry.is_dir() and not _is_clutter(name) and Path(name).suffix.lower() not in _ENDINGS:
        return "is of a kind that no model folder holds"
    return ""


def _is_clutter(name: str) -> bool:
    """Tell whether an entry is what macOS leaves in archives."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] == ".DS_Store"


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield an entry's bytes, never more than it claims to have."""
    left = entry.file_size
    with archive.open(entry) as file:
        while piece := file.read(_CHUNK):
            left -= len(piece)
            if left < 0:
                raise ModelError(f"Entry {entry.filename[:80]!r} is larger than it claims.")
            yield piece


def _refused(path: Path, reason: str) -> ModelError:
    return ModelError(f"{str(path)!r} is refused: {reason}.")
