"""The files of one layer while it is edited: compress what changed, write whole copies.

Called by the journal's worker thread only.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import OutputError

from .journal_folders import (
    ENDED_FILE,
    SUFFIX,
    journal_folder,
    make_layer_folder,
    mark_ended,
    snapshots,
)
from .journal_snapshot import Facts, Index, pack, write_snapshot

RESERVE_BYTES = 200_000_000  # of the disk that is left to others

Batch = Iterable[tuple[Index, NDArray[np.integer[Any]]]]


class Copies:
    """The compressed chunks of one layer and its files; touched by the worker only."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._chunks: dict[Index, bytes] = {}
        self._folder: Path | None = None
        self._number = 0
        self._has_changed = True
        self.settles: Path | None = None
        """A layer of an earlier process that is safe once this one is written."""

    def restart(self) -> None:
        """Forget the chunks: the labels have another shape or dtype."""
        self._chunks.clear()
        self._has_changed = True

    def keep(self, batch: Batch) -> None:
        """Compress chunks."""
        for index, chunk in batch:
            packed = pack(chunk)
            if self._chunks.get(index) != packed:
                self._chunks[index] = packed
                self._has_changed = True

    def write(self, facts: Facts) -> str:
        """Write a copy if something has changed, and delete all but the one before."""
        if not self._has_changed:
            return ""
        if self._folder is None or not self._folder.is_dir():
            self._folder = make_layer_folder(self._home)
        needed = sum(map(len, self._chunks.values())) + RESERVE_BYTES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise OutputError(
                f"only {free / 1e6:.0f} MB are free in {str(self._folder)!r}, "
                f"and {needed / 1e6:.0f} MB are wanted"
            )
        write_snapshot(self._folder / f"{self._number + 1:08}{SUFFIX}", facts, self._chunks)
        self._number += 1
        self._has_changed = False
        (self._folder / ENDED_FILE).unlink(missing_ok=True)
        for old in snapshots(self._folder)[2:]:
            old.unlink(missing_ok=True)
        if self.settles is not None:
            mark_ended(self.settles)
            self.settles = None
        return "written"

    def end(self) -> None:
        """Note that the layer was closed in the ordinary way."""
        if self._folder is not None:
            mark_ended(self._folder)


def sentence(error: BaseException) -> str:
    """Return why labels are not being saved, and what to do."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError):
        reason = f"{cause.strerror or cause}, in the folder {str(journal_folder())!r}"
    elif isinstance(error, MemoryError):
        reason = "there is not enough memory"
    else:
        reason = str(error)
    return (
        f"Edited labels are not being saved in the background: {reason.rstrip('.')}. "
        "Save them yourself with File ▸ Save Selected Layers."
    )
