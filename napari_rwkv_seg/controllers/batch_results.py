"""The files of one image's result: where they lie, whether they are whole, how they appear.

Everything is made in a folder of the run and then renamed into place: first the
record, which names the SHA-256 of every file, last the labels. So wherever a run is
killed, what is there is whole or is known not to be. What was not made by the
same choices from the same image, or was changed since, is never replaced unasked.
"""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import OutputError, RwkvSegError
from napari_rwkv_seg.files import cannot_write, moved, read_bytes, write_atomically
from napari_rwkv_seg.locks import HeldError, held

from .batch_items import BatchItem, digest_of

RUN_FOLDER = ".batch."
"""How the name of a run's folder begins; host, process and a random part follow."""

_LOCK = ".results.lock"
_LOCK_WAIT_S = 60  # files are moved, and large ones hashed
_RECORD_LIMIT = 64_000_000
_ADVICE = (
    "Overwrite it (Do all anew in the dock, --overwrite in the command), or choose another "
    "folder for the results."
)


@dataclass(frozen=True)
class ResultFiles:
    """Where the result of one image lies.

    Parameters
    ----------
    labels : Path
        The labels.
    record : Path
        How they were made, as JSON.
    objects : Path
        Measurements of every object, as CSV.
    overlay : Path
        A picture of image and labels.
    """

    labels: Path
    record: Path
    objects: Path
    overlay: Path

    def all(self) -> tuple[Path, ...]:
        """Return all files, the labels first."""
        return (self.labels, self.record, self.objects, self.overlay)


def results_of(item: BatchItem, out: Path, ending: str) -> ResultFiles:
    """Return where the result of an image lies below `out`, for labels with `ending`."""
    stem = out / item.stem
    labels = stem.with_name(f"{stem.name}_labels{ending}")
    # Labels of several formats may lie side by side: each has files of its own.
    is_first = ending == ".tif"
    base = stem.name if is_first else labels.name
    return ResultFiles(
        labels=labels,
        record=stem.with_name(f"{stem.name}_labels.json" if is_first else f"{base}.json"),
        objects=stem.with_name(f"{base}_objects.csv"),
        overlay=stem.with_name(f"{base}_overlay.png"),
    )


def kept_record(
    files: ResultFiles, wanted: Sequence[Path], source: str, asked: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the record of a result that is there and is the one asked for.

    Parameters
    ----------
    files : ResultFiles
        Where it would lie.
    wanted : sequence of Path
        Those of `files` that belong to it, besides the record.
    source : str
        SHA-256 of the image as it is now.
    asked : dict
        What the labels depend on besides, of `BatchChoices.asked`.

    Returns
    -------
    dict or None
        None if there is no result, or not all of it.

    Raises
    ------
    OutputError
        If something else lies there; the text says what, and what to do.
    """
    if not (files.labels.exists() or files.labels.is_symlink()):
        _refuse_foreign(files, wanted)
        return None
    there = f"{str(files.labels)!r} is there already"
    record = read_record(files.record)
    if record is None:
        raise OutputError(f"{there}, and nothing says how it was made. {_ADVICE}")
    made: dict[str, Any] = record["batch"]
    for path in wanted:
        if path.exists() and digest_of(path) != made["files"].get(path.name):
            if path == files.labels:
                raise OutputError(f"{there}, and was changed since it was made. {_ADVICE}")
            raise OutputError(f"{str(path)!r} is there, and is not that of the labels. {_ADVICE}")
    if made["source_sha256"] != source:
        raise OutputError(f"{there}, made from another image of this name. {_ADVICE}")
    if different := _different(made["asked"], asked):
        raise OutputError(f"{there}, made with {different}. {_ADVICE}")
    return record if all(path.exists() for path in wanted) else None


def _refuse_foreign(files: ResultFiles, wanted: Sequence[Path]) -> None:
    """Refuse files at the places of a result without labels that are not known to be of ours.

    Raises
    ------
    OutputError
        If there is one; the text says which, and what to do.
    """
    record = read_record(files.record)
    if record is None and files.record.exists():
        raise OutputError(f"{str(files.record)!r} is there, and is no record of ours. {_ADVICE}")
    made = record["batch"]["files"] if record else {}
    for path in wanted:
        if path.exists() and digest_of(path) != made.get(path.name):
            raise OutputError(
                f"{str(path)!r} is there, and nothing says that it was made here. {_ADVICE}"
            )


def read_record(path: Path) -> dict[str, Any] | None:
    """Return what was written by `put_in_place`, or None if there is none, or it is damaged."""
    try:
        record = json.loads(read_bytes(path, _RECORD_LIMIT))
        made = record["batch"]
        is_whole = isinstance(made["files"], dict) and isinstance(made["asked"], dict)
        return record if is_whole and "source_sha256" in made else None
    except (RwkvSegError, ValueError, KeyError, TypeError):
        return None


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write how labels were made.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


@contextlib.contextmanager
def placing(out: Path) -> Iterator[None]:
    """Hold the folder of results while files are put into it, so that two runs mix none.

    Raises
    ------
    OutputError
        If the folder cannot be written to, or another run holds it for long.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(out / _LOCK, _LOCK_WAIT_S))
        except HeldError as error:
            raise OutputError(
                f"Another run has kept {str(out)!r} locked for {_LOCK_WAIT_S} seconds. "
                "End it, or choose another folder for the results."
            ) from error
        except OSError as error:
            raise cannot_write(out, error) from error
        yield


def put_in_place(made: Path, files: ResultFiles) -> None:
    """Move what lies in the folder `made` to its place: the record first, the labels last.

    Measurements and pictures of the labels that were there go, unless the labels are the same.

    Raises
    ------
    OutputError
        If a file cannot be moved; all is then as it was, new files are in `made` again.
    """
    place = files.labels
    moves: list[tuple[Path, Path]] = []
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        stale = _stale(made, files)
        order = (files.record, files.objects, files.overlay, files.labels)
        new = [path for path in order if (made / path.name).exists()]
        for place in [*stale, *new]:
            source = made / place.name
            if os.path.lexists(place) and place.is_dir() == source.is_dir():
                _move(place, source.with_name(f"{place.name}.old"), moves)
            if place in new:
                _move(source, place, moves)
    except OSError as error:
        for source, target in reversed(moves):
            with contextlib.suppress(OSError):
                moved(target, source)
        raise cannot_write(place, error) from error


def _move(source: Path, target: Path, moves: list[tuple[Path, Path]]) -> None:
    moved(source, target)
    moves.append((source, target))


def _stale(made: Path, files: ResultFiles) -> list[Path]:
    """Return what was made of labels that are to be replaced; of the same labels it is kept.

    What is kept is taken over into the new record.
    """
    old, new = read_record(files.record), read_record(made / files.record.name)
    if old is None or new is None:
        return []
    before, now = old["batch"]["files"], new["batch"]["files"]
    beside = [
        path
        for path in (files.objects, files.overlay)
        if path.name not in now and path.exists() and digest_of(path) == before.get(path.name)
    ]
    if _origin(old) != _origin(new):
        return beside
    now |= {path.name: before[path.name] for path in beside}
    if files.objects in beside:
        new["batch"]["classes"] = old["batch"].get("classes", [])
    write_record(made / files.record.name, new)
    return []


def _origin(record: dict[str, Any]) -> dict[str, Any]:
    """Return what labels depend on: image, choices, versions, device; files differ each time."""
    made = record["batch"]
    return record | {"batch": [made["source_sha256"], made["asked"]]}


def run_folder_name(token: str) -> str:
    """Return the name of the hidden folder in which this process makes results."""
    return f"{_run_prefix()}{os.getpid()}.{token}"


def sweep(out: Path) -> None:
    """Remove what runs of this machine have left that were killed."""
    import psutil

    prefix = _run_prefix()
    for folder in out.glob(f"{RUN_FOLDER}*"):
        process = folder.name.removeprefix(prefix).partition(".")[0]
        ours = folder.name.startswith(prefix) and process.isdecimal()
        if ours and not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _run_prefix() -> str:
    """Return how names begin of run folders whose processes can be looked up here.

    Containers on one machine may have the same host name, but count processes apart.
    """
    space = 0
    with contextlib.suppress(OSError):
        space = Path("/proc/self/ns/pid").stat().st_ino
    return f"{RUN_FOLDER}{socket.gethostname()}.{space}."


def _different(made: dict[str, Any], asked: dict[str, Any]) -> str:
    """Return in words how the choices of a result differ from those of now, or ""."""
    made = {"views": 1, **made}  # records of before there were more
    names = [name for name in asked if made.get(name) != asked[name]]
    if not names:
        return ""
    if "model_sha256" in names:
        return "another model"
    if "settings" in names:
        before, now = made.get("settings") or {}, asked["settings"]
        names.remove("settings")
        names += [name for name in now if before.get(name) != now[name]]
    words = [name.replace("_", " ") for name in names]
    return f"another choice of {', '.join(words)}"
