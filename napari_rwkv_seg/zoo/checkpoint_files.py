"""From an untrusted weights file to tensors in memory, without running what is in the file.

Reads PyTorch's zip files, by its restricted unpickler only, and safetensors. The
file is read whole and checked before any tensor is made: entries must be stored,
not compressed, and intact, so that a small file cannot fill the memory. There is
no second, looser attempt. Knows no network.
"""

import argparse
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch.torch_version import TorchVersion

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.files import read_bytes

from .card import plain_text
from .weights import read_header
from .zip_files import DAMAGED_ZIP, open_zip

MAX_FILE_BYTES = 2_000_000_000
_MAX_PICKLE_BYTES = 8_000_000  # the names and shapes in a zip file
_SAFE_TORCH = "2.10"  # below it the restricted unpickler has known holes (CVE-2026-24747)
_ZIP_START = b"PK\x03\x04"
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_weights_file(path: Path) -> Mapping[Any, Any]:
    """Return what a weights file holds: a mapping, in the file's own nesting.

    Parameters
    ----------
    path : Path
        A ``.pth``, ``.pt`` or ``.safetensors`` file; the content decides which.

    Raises
    ------
    UnreadableFileError
        If the file is missing, not a file, or larger than 2 GB.
    ModelError
        If it is damaged, unsafe, or of another kind.
    """
    content = read_bytes(path, MAX_FILE_BYTES)
    name = repr(str(path))
    if content.startswith(_ZIP_START):
        _check_zip(content, name)
        return _unpickle(content, name)
    if path.suffix == ".safetensors":
        return _read_safetensors(content, name)
    raise ModelError(f"{name} {_what_else(content)}")


def _what_else(content: bytes) -> str:
    """Return the end of a sentence that says what a file is that cannot be read."""
    if not content:
        return "is empty. Download it again."
    if content.lstrip()[:1] == b"<":
        return "is a web page, not a weights file. Download the file itself."
    if content.startswith(_LEGACY_START):
        return (
            "is in PyTorch's old format, which cannot be checked before it is read. Load it "
            "where you trust it, and save it again with a PyTorch of version 1.6 or later."
        )
    return "is not a PyTorch (zip) or safetensors weights file, or it is damaged."


def _check_zip(content: bytes, name: str) -> None:
    """Refuse a zip file whose directory lies, that is compressed, damaged, or holds a program."""
    try:
        with open_zip(io.BytesIO(content)) as archive:
            _check_entries(archive.infolist(), len(content), name)
            broken = archive.testzip()
    except DAMAGED_ZIP as error:
        reason = plain_text(str(error), 200)  # which may quote the file at length
        raise ModelError(
            f"{name} is damaged or incomplete: {reason}. Download it again."
        ) from error
    if broken is not None:
        raise ModelError(
            f"{name} is damaged: entry {broken[:80]!r} has changed. Download it again."
        )


def _check_entries(entries: list[zipfile.ZipInfo], file_bytes: int, name: str) -> None:
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelError(f"{name} is refused: its entries are compressed, PyTorch's never are.")
    if sum(entry.file_size for entry in entries) > file_bytes:
        raise ModelError(f"{name} is refused: its entries claim more bytes than the file has.")
    last_names = [entry.filename.rpartition("/")[2] for entry in entries]
    if "constants.pkl" in last_names:
        raise ModelError(f"{name} is a TorchScript program, not a weights file; it is not run.")
    if "data.pkl" not in last_names:
        raise ModelError(f"{name} is a zip file, but not one with PyTorch weights.")
    if any(
        entry.file_size > _MAX_PICKLE_BYTES
        for entry in entries
        if entry.filename.endswith("data.pkl")
    ):
        raise ModelError(f"{name} is refused: its list of names is too long for weights.")


def _unpickle(content: bytes, name: str) -> Mapping[Any, Any]:
    """Read a checked zip file by PyTorch's restricted unpickler."""
    if TorchVersion(torch.__version__) < TorchVersion(_SAFE_TORCH):
        raise ModelError(
            f"{name} is not read: this takes PyTorch {_SAFE_TORCH} or later, here is "
            f"{torch.__version__}, which can be attacked by a weights file. Update PyTorch."
        )
    try:
        # Training programs store their options so; it is a bag of values without behaviour.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise ModelError(f"There is not enough memory to read {name}.") from error
    except Exception as error:  # bad bytes make the unpickler raise a dozen types
        first = str(error).partition("\n")[0] or type(error).__name__
        if "weights only" in first.lower():
            first = "it holds more than plain tensors, which could run code"
        raise ModelError(f"{name} is refused or damaged: {first[:200].rstrip('.')}.") from error
    if not isinstance(loaded, Mapping):
        raise ModelError(f"{name} holds a {type(loaded).__name__}, not named tensors.")
    return loaded


def _read_safetensors(content: bytes, name: str) -> dict[str, torch.Tensor]:
    """Read a safetensors file after checking that its header is small and fits the file."""
    try:
        read_header(content)
        return dict(safetensors.torch.load(content))
    except (safetensors.SafetensorError, ModelError, ValueError, KeyError) as error:
        raise ModelError(f"{name} cannot be read. {str(error)[:200]}") from error
