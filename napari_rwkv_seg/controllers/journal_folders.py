"""Where copies of labels lie, and whose they are: find them, give them out, put them away.

    journal/4711-1763683200/       one napari: its process number, and when it was started
        process.json               what tells this process from a later one of the same number
        1/                         one Labels layer
            00000007.labels        the newest whole copy
            00000006.labels        the one before, for when the newest turns out damaged
            ended                  there if the layer, or napari, was closed in the ordinary way

Only files with these names are ever deleted.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.errors import OutputError, UnreadableFileError
from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.zoo.store import PACKAGE

from .journal_process import PROCESS_FILE, is_alive, sign, start_time
from .journal_snapshot import Facts, damaged, read_facts, read_snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENDED_FILE = "ended"
SUFFIX = ".labels"
KEEP_DAYS = 14  # what was closed in the ordinary way
KEEP_LOST_DAYS = 90  # what nobody has decided on, perhaps because nobody was there
KEEP_BYTES = 2_000_000_000
NEWBORN_S = 3_600.0  # a folder without a copy may belong to a napari that is about to write one

_PROCESS_NAME = re.compile(r"\d+-\d+")
_OURS = re.compile(r"\d{8}\.labels|ended|process\.json|\..*\.tmp")


@dataclass(frozen=True)
class Entry:
    """The kept copies of one layer.

    Parameters
    ----------
    folder : Path
        Where they lie.
    facts : Facts
        Of the newest whose beginning can be read.
    size : int
        Of all copies, in bytes.
    is_alive : bool
        Whether the napari that writes them still runs.
    has_ended : bool
        Whether the layer or napari was closed in the ordinary way.
    """

    folder: Path
    facts: Facts
    size: int
    is_alive: bool
    has_ended: bool

    @property
    def id(self) -> str:
        """What names it on the command line."""
        return f"{self.folder.parent.name}-{self.folder.name}"

    @property
    def is_lost(self) -> bool:
        """Whether napari ended before the layer did: what is offered by itself."""
        return not self.is_alive and not self.has_ended


def journal_folder() -> Path:
    """Return the folder of all copies; it need not exist."""
    import platformdirs

    return platformdirs.user_data_path(PACKAGE, appauthor=False) / "journal"


def make_layer_folder(home: Path) -> Path:
    """Make a folder for one layer of this process.

    Raises
    ------
    OSError
        If it cannot be made.
    OutputError
        If it cannot be written to.
    """
    process = home / f"{os.getpid()}-{start_time()}"
    process.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (process / PROCESS_FILE).exists():
        sign(process)
    number = 1
    while True:
        with contextlib.suppress(FileExistsError):
            (process / str(number)).mkdir(mode=0o700)
            return process / str(number)
        number += 1


def snapshots(folder: Path) -> list[Path]:
    """Return the copies of a layer, the newest first."""
    return sorted(folder.glob(f"[0-9]*{SUFFIX}"), reverse=True)


def list_entries(home: Path) -> list[Entry]:
    """Return what is kept, the newest first; what cannot be read is left out. Never raises."""
    found = [
        entry
        for process in _folders(home)
        if _PROCESS_NAME.fullmatch(process.name)
        for entry in _entries_of(process)
    ]
    return sorted(found, key=lambda entry: entry.facts.saved_at, reverse=True)


def find_entry(home: Path, name: str) -> Entry:
    """Return the entry of that `id`.

    Raises
    ------
    UnreadableFileError
        If there is none.
    """
    for entry in list_entries(home):
        if entry.id == name:
            return entry
    raise UnreadableFileError(
        f"There are no kept labels {name!r}. `napari-rwkv-seg journal list` shows what there is."
    )


def read_entry(entry: Entry) -> "tuple[Facts, NDArray[np.integer[Any]], str]":
    """Return the newest whole copy of a layer.

    Returns
    -------
    facts : Facts
        Of that copy.
    labels : integer array
        Its labels.
    note : str
        What the user should know; "" if the newest copy is whole.

    Raises
    ------
    UnreadableFileError
        If no copy is whole.
    """
    note = ""
    for path in snapshots(entry.folder):
        try:
            facts, labels = read_snapshot(path)
        except UnreadableFileError:
            note = "The newest copy was damaged; this is the one before."
        else:
            return facts, labels, note
    raise damaged(entry.folder)


def mark_ended(folder: Path) -> None:
    """Note that a layer was closed in the ordinary way; its copies stay for a while."""
    with contextlib.suppress(OutputError):  # it is offered again then: no harm
        write_atomically(folder / ENDED_FILE, lambda file: file.write(b""))


def discard(entry: Entry) -> None:
    """Delete the copies of one layer.

    Raises
    ------
    OutputError
        If they cannot be deleted.
    """
    try:
        _empty(entry.folder)
        rest = list(_folders(entry.folder.parent))
        if not rest and not entry.is_alive:
            _empty(entry.folder.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot delete the kept labels in {str(entry.folder)!r}: {error.strerror or error}."
        ) from error


def tidy(home: Path) -> None:
    """Delete what is too old, and the oldest of more than `KEEP_BYTES`.

    What a running napari writes is left alone, and so is the newest of what was
    lost, however old or large. Never raises.
    """
    entries = [entry for entry in list_entries(home) if not entry.is_alive]
    newest_lost = next((entry for entry in entries if entry.is_lost), None)
    room = KEEP_BYTES - (newest_lost.size if newest_lost else 0)
    # what was closed in the ordinary way goes before what was lost, and the old before the new
    for entry in sorted(entries, key=lambda entry: entry.has_ended):
        if entry is newest_lost:
            continue
        room -= entry.size
        days = KEEP_DAYS if entry.has_ended else KEEP_LOST_DAYS
        if room < 0 or entry.facts.saved_at < time.time() - days * 86_400:
            with contextlib.suppress(OutputError):
                discard(entry)
    for process in _folders(home):
        if _PROCESS_NAME.fullmatch(process.name) and _is_left_over(process):
            with contextlib.suppress(OSError):
                _empty(process)


def _entries_of(process: Path) -> Iterator[Entry]:
    folders = _folders(process)
    runs = bool(folders) and is_alive(process)
    for folder in folders:
        copies = snapshots(folder)
        facts = _first_facts(copies)
        if facts is None:
            continue
        with contextlib.suppress(OSError):  # deleted by another napari just now
            size = sum(copy.stat().st_size for copy in copies)
            yield Entry(folder, facts, size, runs, (folder / ENDED_FILE).exists())


def _first_facts(copies: list[Path]) -> Facts | None:
    for copy in copies:
        with contextlib.suppress(UnreadableFileError):
            return read_facts(copy)
    return None


def _folders(home: Path) -> list[Path]:
    """Return the folders in a folder; links are not followed."""
    try:
        return sorted(item for item in home.iterdir() if item.is_dir() and not item.is_symlink())
    except OSError:
        return []


def _is_left_over(process: Path) -> bool:
    """Return whether a process folder holds no copy, and will hold none any more."""
    try:
        age = time.time() - process.stat().st_mtime
    except OSError:
        return False
    has_copy = any(snapshots(folder) for folder in _folders(process))
    return not has_copy and age > NEWBORN_S and not is_alive(process)


def _empty(folder: Path) -> None:
    """Delete a folder of ours with what we wrote into it; what others wrote stays."""
    for inner in _folders(folder):
        if inner.name.isdigit():
            _empty(inner)
    for item in folder.iterdir():
        if _OURS.fullmatch(item.name):
            item.unlink()
    with contextlib.suppress(OSError):  # it holds something that is not ours
        folder.rmdir()
