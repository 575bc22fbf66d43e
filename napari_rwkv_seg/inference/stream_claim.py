"""One process at a time fills a store; one that was killed does not keep others away."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from napari_rwkv_seg.errors import RunError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically
from napari_rwkv_seg.locks import HeldError, held

from .stream_folder import CLAIM, LOCK, refuse_foreign, told

_SAME_S = 1.0  # two looks at one process's start differ by less


class _Claim(NamedTuple):
    """Who fills a store."""

    process: int
    started: float
    host: str


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a store, from before it is opened; its folder is made if there is none.

    Raises
    ------
    RunError
        If a process holds it, here or on another machine, or the folder holds something else.
    OutputError
        If the folder cannot be written to.
    """
    refuse_foreign(folder)
    with contextlib.ExitStack() as stack:
        with told(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                is_locked = stack.enter_context(held(folder / LOCK, 0))
            except HeldError as error:
                raise _refusal(folder, _found(folder)) from error
        if not is_locked:
            _refuse_alive(folder)
        mine = _Claim(os.getpid(), psutil.Process().create_time(), platform.node())
        text = json.dumps(mine._asdict()).encode()
        write_atomically(folder / CLAIM, lambda file: file.write(text))
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the folder may be gone
                (folder / CLAIM).unlink()


def _refuse_alive(folder: Path) -> None:
    """Refuse, on a share that knows no locks, a store whose claim may be of a living process.

    Raises
    ------
    RunError
        If its process lives, or is one of another machine, which cannot be asked.
    """
    claim = _found(folder)
    if claim is None:
        return
    if claim.host != platform.node():
        by_hand = f" If it no longer runs, delete {CLAIM!r} in that folder."
        raise _refusal(folder, claim, by_hand)
    with contextlib.suppress(psutil.Error, ValueError):  # a number that no process has
        if abs(psutil.Process(claim.process).create_time() - claim.started) < _SAME_S:
            raise _refusal(folder, claim)


def _refusal(folder: Path, claim: _Claim | None, more: str = "") -> RunError:
    """Return the sentence that says who fills a store."""
    who = f"process {claim.process} on {claim.host!r}" if claim else "another process"
    return RunError(
        f"{str(folder)!r} is being filled by {who}; wait for it, or cancel it there.{more}"
    )


def _found(folder: Path) -> _Claim | None:
    """Return the claim that lies in a store, None if there is none that can be read."""
    try:
        claim = json.loads(read_bytes(folder / CLAIM, 10_000))
        return _Claim(int(claim["process"]), float(claim["started"]), str(claim["host"]))
    except (UnreadableFileError, ValueError, KeyError, TypeError):
        return None
