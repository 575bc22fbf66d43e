"""The one way to write a file, and the one way to read a file whole.

A file appears complete or not at all: bytes go to a temporary file beside the
target, are flushed to the disk, and take the target's name in one step. So do
folders. Other programs may hold either for a moment on Windows, so whatever takes
another name does so here, with patience. Files are read into memory up to a stated
limit, never mapped, so that a file which changes later can neither crash the process
nor change what was checked.
"""

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from napari_rwkv_seg.errors import OutputError, UnreadableFileError

Result = TypeVar("Result")

_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6) if os.name == "nt" else ()


def write_atomically(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write `target` through `write`, which is given an open binary file.

    Parameters
    ----------
    target : Path
        The file to make or to replace; its folder must exist.
    write : callable
        Writes the content to the binary file that it is given.

    Raises
    ------
    OutputError
        If the file cannot be written; a file that was there before is untouched.
    """
    temporary = _hidden(target, "tmp")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        moved(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be what is missing
            temporary.unlink()


def moved(source: Path, target: Path) -> None:
    """Give a file or a folder another name; a file that has the name is replaced."""
    patiently(lambda: source.replace(target))


def patiently(work: Callable[[], Result]) -> Result:
    """Return what `work` returns, which may be begun several times.

    On Windows a file that any program has open cannot be replaced, nor can a folder that
    it lies in be renamed; a scanner or a viewer holds one for a moment only.
    """
    for pause in _PAUSES_S:
        try:
            return work()
        except PermissionError:
            time.sleep(pause)
    return work()


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return what to tell the user if the system refuses to write `path`."""
    is_held = isinstance(error, PermissionError)  # on Windows perhaps by another program
    other = ", or close the file in other programs" if is_held else " and that has room"
    return OutputError(
        f"Cannot write {str(path)!r}: {error.strerror or error}. "
        f"Choose a folder that you may write to{other}."
    )


def in_memory(write: Callable[[BinaryIO], object]) -> memoryview:
    """Return what `write` writes: for libraries that hide why a disk refused what they wrote."""
    content = io.BytesIO()
    write(content)
    return content.getbuffer()


def append_chunks(path: Path, start: int, chunks: Iterable[bytes]) -> None:
    """Write `chunks` into a file that grows piece by piece; what is there after `start` goes.

    Parameters
    ----------
    path : Path
        The file, made if it is missing: one that may be incomplete, and says so by its name.
    start : int
        Bytes that are kept.
    chunks : iterable of bytes
        The rest; what it raises goes through, and what came before stays in the file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with _growing(path, start) as file:
        for chunk in chunks:
            with _told(path):
                file.write(chunk)


@contextlib.contextmanager
def _growing(path: Path, start: int) -> Iterator[BinaryIO]:
    with _told(path):
        path.touch()
        file = path.open("r+b")
    try:
        with _told(path):
            file.truncate(start)
            file.seek(start)
        yield file
        with _told(path):
            file.flush()
            os.fsync(file.fileno())
    finally:
        file.close()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the system says into an OutputError."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file, whole.

    Parameters
    ----------
    path : Path
        The file.
    limit : int
        Most bytes to accept.

    Raises
    ------
    UnreadableFileError
        If it is missing, not a regular file, larger than `limit`, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableFileError(f"{str(path)!r} is not a regular file; choose a file.")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableFileError(f"Cannot read {str(path)!r}: {reason}.") from error
    if len(content) > limit:
        raise UnreadableFileError(
            f"{str(path)!r} is larger than the {limit / 1e6:.0f} MB "
            "that are accepted for such a file."
        )
    return content


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can (many shares cannot)."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno == errno.EIO:  # the disk fails: this is not saved
            raise


def write_folder_atomically(
    target: Path, write: Callable[[Path], object], *, replace: bool = False
) -> None:
    """Make a folder whose content appears complete or not at all.

    Parameters
    ----------
    target : Path
        The folder to make; the one that it lies in must exist.
    write : callable
        Fills the empty folder that it is given, which lies beside the target.
    replace : bool
        Whether a folder that is there may go. It stays until the new one is complete, and
        comes back if the new one cannot take its place.

    Raises
    ------
    OutputError
        If it is there already, or cannot be written; what was there before is untouched.
    """
    temporary = None
    try:
        with _told(target):
            if os.path.lexists(target) and not replace:
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
            temporary = folder_beside(target)
            write(temporary)
            _sync_tree(temporary)
            put_in_place(temporary, target)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def folder_beside(target: Path) -> Path:
    """Make a hidden, empty folder beside `target`, and return it.

    Unlike one of `tempfile.mkdtemp`, which on Windows nobody but its maker can ever read, nor
    what is moved out of it, it has the rights of any other folder there.
    """
    folder = _hidden(target, "tmp")
    folder.mkdir()
    return folder


def put_in_place(made: Path, target: Path) -> None:
    """Give the folder `made` the name `target`; what has the name goes, or comes back if it fails.

    Both must lie on one disk.
    """
    aside = _hidden(target, "old")
    if os.path.lexists(target):
        moved(target, aside)
    try:
        moved(made, target)
    except OSError:
        if aside.exists():
            moved(aside, target)
        raise
    _sync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)  # here only: else it is all that there is


def _hidden(target: Path, ending: str) -> Path:
    """Return a name beside `target` that nothing has."""
    return target.parent / f".{target.name[:64]}.{secrets.token_hex(8)}.{ending}"


def _sync_tree(folder: Path) -> None:
    """Flush every file of a folder to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)
