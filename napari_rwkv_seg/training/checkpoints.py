"""Checkpoints of a run: written whole, the last but one kept, read without running code."""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from napari_rwkv_seg.errors import RunError, RwkvSegError
from napari_rwkv_seg.files import in_memory, read_bytes, write_atomically

LATEST, PREVIOUS, BEST = "latest.pt", "previous.pt", "best.pt"
CHECKPOINT_LIMIT = 8 * 2**30  # bytes


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; what was there before survives a failure.

    Raises
    ------
    OutputError
        If the file cannot be written, whatever torch makes of the system's reason.
    """
    content = in_memory(lambda file: torch.save(state, file))
    write_atomically(path, lambda file: file.write(content))


def save_latest(folder: Path, state: dict[str, Any]) -> None:
    """Write `latest.pt`, and keep what it replaces as `previous.pt`.

    Raises
    ------
    OutputError
        If it cannot be written; the last good checkpoint is still there.
    """
    latest, previous = folder / LATEST, folder / PREVIOUS
    with contextlib.suppress(OSError):  # a second name for the same file; not all disks can
        previous.unlink(missing_ok=True)
        os.link(latest, previous)
    save_checkpoint(latest, state)


def load_latest(folder: Path) -> dict[str, Any] | None:
    """Return the newest state that can be read; None if the run has none yet.

    Raises
    ------
    RunError
        If there are checkpoints, but none can be read.
    """
    there = [path for path in (folder / LATEST, folder / PREVIOUS) if path.exists()]
    for path in there:
        with contextlib.suppress(RwkvSegError):
            return load_checkpoint_file(path)
    if there:
        raise RunError(f"The run cannot go on: its checkpoints in {str(folder)!r} are damaged.")
    return None


def load_checkpoint_file(path: Path) -> dict[str, Any]:
    """Return what a run saved at `path`: tensors and plain values only, nothing that runs code.

    Raises
    ------
    UnreadableFileError
        If it is missing or cannot be read.
    RunError
        If it is damaged, or holds anything else.
    """
    content = io.BytesIO(read_bytes(path, CHECKPOINT_LIMIT))
    try:
        state = torch.load(content, weights_only=True, map_location="cpu")
    except Exception as error:  # bad bytes make the unpickler raise a dozen types
        raise RunError(f"The checkpoint {str(path)!r} is damaged.") from error
    if not isinstance(state, dict):
        raise RunError(f"The checkpoint {str(path)!r} holds no state of a run.")
    return state
