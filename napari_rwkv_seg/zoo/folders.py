"""Folders that appear whole or not at all, and the names that they may have.

What is made lies in a hidden folder beside its place until it is complete.
"""

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_rwkv_seg.errors import OutputError, SettingsError
from napari_rwkv_seg.files import folder_beside, put_in_place

_MAKING = "making"
_FORGOTTEN_S = 24 * 3600.0  # nothing takes as long to make
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789"),
}


def write_folder(
    folder: Path, fill: Callable[[Path], object], *, what: str, overwrite: bool = False
) -> None:
    """Make `folder`, filled by `fill`, which is given an empty folder to write into.

    Parameters
    ----------
    folder : Path
        The folder to make; the folder above it must exist.
    fill : callable
        Writes the content; what it raises leaves nothing behind.
    what : str
        What the folder is, for messages: "model", "encoder".
    overwrite : bool
        Replace a folder that is there.

    Raises
    ------
    OutputError
        If the folder is there already, or cannot be written.
    """
    if folder.exists() and not overwrite:
        raise OutputError(f"{str(folder)!r} exists already; choose another name for the {what}.")
    with staging(folder.parent, what) as made:
        fill(made)
        put_in_place(made, folder)


@contextmanager
def staging(home: Path, what: str = "model") -> Iterator[Path]:
    """Give a hidden folder in `home` to make something in; what is not moved out goes away.

    Raises
    ------
    OutputError
        If the folder cannot be made, or what is done with it fails.
    """
    _sweep(home)
    try:
        made = folder_beside(home / _MAKING)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"Cannot write the {what} in {str(home)!r}: {reason}.") from error


def _sweep(home: Path) -> None:
    """Remove what processes that were killed have left half made, a day ago or longer."""
    with contextlib.suppress(OSError):
        for left in home.glob(f".{_MAKING}.*"):
            if time.time() - left.stat().st_mtime > _FORGOTTEN_S:
                shutil.rmtree(left, ignore_errors=True)


def make_home(home: Path) -> Path:
    """Make the folder that models or encoders lie in, and return it.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make {str(home)!r}: {error.strerror or error}.") from error
    return home


def check_name(name: str) -> str:
    """Return `name` if a model may have it.

    Raises
    ------
    SettingsError
        If it has other signs, is too long, or is one that a system keeps for itself.
    """
    is_fine = _NAME.fullmatch(name) and not name.endswith(".")
    if not is_fine or name.partition(".")[0].lower() in _RESERVED:
        raise SettingsError(
            f"{name[:80]!r} cannot be the name of a model: use 1 to 64 letters, digits, '_', '.' "
            "and '-', beginning with a letter or a digit."
        )
    return name


def is_taken(name: str, names: Iterable[str]) -> bool:
    """Tell whether one of `names` is `name`; on many systems capitals tell no folders apart."""
    return name.casefold() in {each.casefold() for each in names}


def free_name(wish: str, taken: Iterable[str]) -> str:
    """Return `wish` as a name that models may have, numbered if it is taken."""
    base = re.sub(r"[^A-Za-z0-9_.-]+", "_", wish).strip("_.-")[:56] or "model"
    if base.partition(".")[0].lower() in _RESERVED:
        base = f"model_{base}"
    name, count = base, 1
    while is_taken(name, taken):
        count += 1
        name = f"{base}_{count}"
    return name
