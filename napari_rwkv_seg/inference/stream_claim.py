"""One process at a time fills a store; one that was killed does not keep others away."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from napari_rwkv_seg.errors import RunError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically

CLAIM = "in_use.json"
_SAME_S = 1.0  # two looks at one process's start differ by less


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a store while it is filled.

    Raises
    ------
    RunError
        If a process that is alive holds it.
    OutputError
        If the folder cannot be written to.
    """
    refuse_held(folder)
    path = folder / CLAIM
    mine = {"process": os.getpid(), "started": psutil.Process().create_time()}
    write_atomically(path, lambda file: file.write(json.dumps(mine).encode()))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            path.unlink()


def refuse_held(folder: Path) -> None:
    """Refuse a store that a process is filling.

    Raises
    ------
    RunError
        If a process that is alive holds it.
    """
    holder = _holder(folder / CLAIM)
    if holder is not None:
        raise RunError(
            f"{str(folder)!r} is being filled by process {holder}; wait for it, or cancel it there."
        )


def _holder(path: Path) -> int | None:
    """Return the number of the process that holds a store and is alive, None if there is none."""
    try:
        claim = json.loads(read_bytes(path, 10_000))
        number, started = int(claim["process"]), float(claim["started"])
        is_it = abs(psutil.Process(number).create_time() - started) < _SAME_S
    except (UnreadableFileError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return number if is_it else None
