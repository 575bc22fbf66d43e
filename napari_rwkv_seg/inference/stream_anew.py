"""A result that is made anew beside a finished one, in its store, and takes its place at the end.

So a run that is cancelled, fails or is killed leaves the finished labels as they were.
All of it lies in the store's own folder, which one process at a time holds (`stream_claim`).
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from napari_rwkv_seg.files import moved

from .stream_folder import PROGRESS, is_complete, told

ANEW = "anew"
_OLD = "old"


def settle(folder: Path) -> None:
    """Let what was made anew take the place of the old result if it is complete.

    Can be cut off anywhere: the next call goes on. The progress file moves first; once
    it has, what is left in the folder of the new is what still has to move.

    Raises
    ------
    OutputError
        If something cannot be moved; both results are there, and the next call tries again.
    """
    anew, old = folder / ANEW, folder / _OLD
    if not anew.is_dir():
        return
    with told(folder):
        if is_complete(anew):
            old.mkdir(exist_ok=True)
            for part in parts(folder):
                _take_away(old / part.name)
                moved(part, old / part.name)
            moved(anew / PROGRESS, folder / PROGRESS)
        if not (anew / PROGRESS).exists():
            for part in parts(anew):
                moved(part, folder / part.name)
            shutil.rmtree(anew, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove what a store holds; its progress file goes last: until then it is ours."""
    with told(folder):
        for part in parts(folder):
            _take_away(part)
        (folder / PROGRESS).unlink()


def parts(folder: Path) -> Iterator[Path]:
    """Yield what a store consists of besides its progress file: arrays, and what describes them."""
    for one in sorted(folder.iterdir()):
        is_array = one.is_dir() and (one.name == "work" or one.name.isdecimal())
        if is_array or one.name == "zarr.json":
            yield one


def _take_away(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)
