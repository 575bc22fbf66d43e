"""Locks between processes, on this machine or on others that see the same folder."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_LOOK_EVERY_S = 0.05


class HeldError(Exception):
    """Another process holds what was asked for."""


@contextlib.contextmanager
def held(path: Path, wait_s: float) -> Iterator[bool]:
    """Hold a lock; a process that dies lets go of it by itself.

    Parameters
    ----------
    path : Path
        A file of its own beside what is guarded; it is there while the lock is held.
    wait_s : float
        How long another's lock is waited for, in seconds; 0 to try once.

    Yields
    ------
    bool
        Whether it is held; a network share that knows no locks is gone on without.

    Raises
    ------
    HeldError
        If another process still holds it.
    OSError
        If the file cannot be made.
    """
    end = time.monotonic() + wait_s
    while (taken := _taken(path)) is None:
        if time.monotonic() >= end:
            raise HeldError(str(path))
        time.sleep(_LOOK_EVERY_S)
    handle, is_held = taken
    try:
        yield is_held
    finally:
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        os.close(handle)


def _taken(path: Path) -> tuple[int, bool] | None:
    """Return the open file, and whether it is locked; None if another process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # for all who share the folder
    is_free = _lock(handle)
    if is_free is not False and _is_still(path, handle):
        return handle, is_free is True
    os.close(handle)
    return None


def _is_still(path: Path, handle: int) -> bool:
    """Return whether an open file was not removed, by who held it, before it was locked."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError:
        return False


def _lock(handle: int) -> bool | None:
    """Take the lock of an open file; return whether it was free, None if there are no locks."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a network share without locks
        return None
    return True
