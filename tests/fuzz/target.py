"""What a target of the fuzzers is: a kind of file, good examples of it, and what reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_rwkv_seg.errors import RwkvSegError


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Parameters
    ----------
    seeds : callable
        Returns good files, as bytes.
    read : callable
        Reads bytes that are given to it with a folder to work in.
    """

    seeds: Callable[[Path], list[bytes]]
    read: Callable[[bytes, Path], object]


def check(target: Target, content: bytes, folder: Path) -> bool:
    """Read a file; return whether it was accepted, and let everything but our errors through."""
    try:
        target.read(content, folder)
    except RwkvSegError as error:
        if "\n" in str(error) or len(str(error)) > 2000:
            raise ValueError(f"not one sentence: {error!r}") from error
        return False
    return True


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
