"""Locks between processes, on this machine or on others that see the same folder."""

import contextlib
from collections.abc import Iterator
from errno import EACCES, ENOENT, ENOTDIR, EPERM, EROFS
from pathlib import Path

from filelock import FileLock, Timeout

_NO_FILE = (EACCES, EPERM, EROFS, ENOENT, ENOTDIR)


class HeldError(Exception):
    """Another process holds what was asked for."""


@contextlib.contextmanager
def held(path: Path, wait_s: float) -> Iterator[None]:
    """Hold a lock; a process that dies lets go of it by itself.

    The empty file stays where it is: were it removed while others wait for it, two could hold
    two files of one name. A network share that knows no locks is gone on without.

    Parameters
    ----------
    path : Path
        A file of its own beside what is guarded, made if it is missing.
    wait_s : float
        How long another's lock is waited for, in seconds; 0 to try once.

    Raises
    ------
    HeldError
        If another process still holds it.
    OSError
        If the file cannot be made.
    """
    path.parent.stat()  # filelock would make a folder that is gone
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path, timeout=wait_s))
        except Timeout as error:
            raise HeldError(str(path)) from error
        except OSError as error:
            if error.errno in _NO_FILE:
                raise
        yield
