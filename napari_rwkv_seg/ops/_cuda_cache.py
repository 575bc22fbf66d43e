"""Compiled CUDA code, kept on disk so that a machine compiles each kernel once.

A file is named after everything that its content depends on and begins with the
SHA-256 of the rest, so what is damaged is made again. The code runs in this process's
name, so a folder that others may write to is neither read nor written. The cache saves
seconds and is never needed: a folder that cannot be used is not an error.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.files import write_atomically

_DIGEST_BYTES = 32
_LIMIT = 64_000_000  # bytes; the kernels take well under one million


def cached_code(parts: tuple[str, ...], make: Callable[[], bytes]) -> bytes:
    """Return what `make` returns, from the disk if it was made from the same parts before.

    Parameters
    ----------
    parts : tuple of str
        All that the code depends on: sources, options, compiler, architecture.
    make : callable
        Compiles; its errors pass through.
    """
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    path = _folder() / f"{key}.bin"
    code = _read(path) if _is_ours(path.parent) else None
    if code is None:
        code = make()
        # A disk that is full, or a folder that is not ours: compiled again next time.
        with contextlib.suppress(OSError, OutputError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(path.parent):
                return code
            write_atomically(path, lambda file: file.write(hashlib.sha256(code).digest() + code))
    return code


def _folder() -> Path:
    """Return where the code is kept."""
    import platformdirs

    return platformdirs.user_cache_path("napari-rwkv-seg", appauthor=False) / "cuda"


def _is_ours(folder: Path) -> bool:
    """Return whether a folder is this user's, and nobody else may write into it."""
    try:
        facts = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(facts.st_mode):
        return False
    if not hasattr(os, "getuid"):  # Windows keeps the folder of a user to itself
        return True
    return facts.st_uid == os.getuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(path: Path) -> bytes | None:
    """Return the code in a file, or None if it is missing or not what was written."""
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT)
    except OSError:
        return None
    stated, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return code if code and hashlib.sha256(code).digest() == stated else None
