"""A store of streamed labels from outside: whether a folder is one, and what it shows."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import OutputError, RunError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes

ENDING = ".ome.zarr"
PROGRESS = "progress.json"
LOCK = "in_use.lock"
CLAIM = "in_use.json"  # who holds the lock, for others to read
FORMAT = "napari-rwkv-seg streamed labels 1"
_MOST_JSON = 64_000_000  # bytes


def zarr_module() -> Any:
    """Return zarr.

    Raises
    ------
    OutputError
        If it is not installed, or too old.
    """
    try:
        import zarr

        zarr.create_array  # noqa: B018 - zarr 2 has none
    except (ImportError, AttributeError) as error:
        raise OutputError(
            "Results of huge images are kept as Zarr, which is not installed. "
            "Install it with: pip install 'napari-rwkv-seg[zarr]'"
        ) from error
    return zarr


def read_progress(folder: Path) -> dict[str, Any] | None:
    """Return what a store's progress file says, None if it is no store of ours."""
    try:
        content: Any = json.loads(read_bytes(folder / PROGRESS, _MOST_JSON))
    except (UnreadableFileError, ValueError):
        return None
    is_ours = isinstance(content, dict) and content.get("format") == FORMAT
    if not is_ours or not {"run", "state"} <= content.keys():
        return None
    if isinstance(content["run"], dict):
        content["run"].setdefault("views", 1)  # stores of before there were more
    progress: dict[str, Any] = content
    return progress


def is_complete(folder: Path) -> bool:
    """Return whether a folder is a store of ours whose labels are final."""
    content = read_progress(folder)
    state = content["state"] if content is not None else None
    return isinstance(state, dict) and state.get("complete") is True


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder with anything in it that is no store of ours.

    Raises
    ------
    RunError
        If it is such a folder, or a file.
    """
    with told(folder):
        if not folder.exists() or read_progress(folder) is not None:
            return
        if folder.is_dir() and {one.name for one in folder.iterdir()} <= {LOCK, CLAIM}:
            return
    raise RunError(
        f"{str(folder)!r} is there already and is not a store of streamed labels. "
        "Choose another folder."
    )


def numbered_folder(folder: Path, run: dict[str, Any]) -> Path:
    """Return the first of "cells.ome.zarr", "cells-2.ome.zarr", … that is free or of this run.

    Raises
    ------
    RunError
        If a thousand are taken.
    """
    for number in range(1, 1001):
        name = folder.name.removesuffix(ENDING)
        one = folder if number == 1 else folder.with_name(f"{name}-{number}{ENDING}")
        found = read_progress(one) if one.exists() else None
        if not one.exists() or (found is not None and found["run"] == run):
            return one
    raise RunError(f"{str(folder)!r} and a thousand more are taken; choose another folder.")


def open_levels(folder: Path) -> list[Any]:
    """Return the labels of a store, one read-only array a level, finest first.

    Raises
    ------
    RunError
        If the folder is no store of ours.
    """
    content = read_progress(folder)
    if content is None:
        raise RunError(f"{str(folder)!r} is not a store of streamed labels.")
    zarr = zarr_module()
    names = sorted((one.name for one in folder.iterdir() if one.name.isdecimal()), key=int)
    return [zarr.open_array(folder / name, mode="r") for name in names]


@contextlib.contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what the system says into an OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"Cannot use {str(folder)!r}: {reason}. "
            "Choose a folder that you may write to and that has room."
        ) from error
