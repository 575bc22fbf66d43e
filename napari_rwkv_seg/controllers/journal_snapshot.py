"""One kept copy of a layer's labels: a file that is whole, or known not to be.

In order: eight bytes that name the format, length and CRC-32 of a header, the
header as JSON, the labels in chunks compressed by zlib, and the SHA-256 of all
that. The header can be read alone, so that a list of copies opens at once; the
labels are checked whole before they are given out.
"""

import hashlib
import itertools
import json
import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically

MAGIC = b"RWKVLAB1"
FIXED = struct.Struct("<8sII")  # magic, length of the header, its CRC-32
SIDE = 256  # of a chunk along the last two axes; 256 KB of int32
HEADER_LIMIT = 32_000_000
FILE_LIMIT = 4_000_000_000
DIGEST_BYTES = 32

Index = tuple[int, ...]


@dataclass(frozen=True)
class Facts:
    """What is known of a layer beside its pixels; all values plain, as JSON has them.

    Parameters
    ----------
    name : str
        The layer's name.
    shape : tuple of int
        Of the labels.
    dtype : str
        As NumPy writes it, byte order included.
    saved_at : float
        Seconds since 1970.
    edits : int
        How many steps the user has made.
    image, image_path : str
        What was segmented, "" if that is not known.
    place : dict
        Keywords of napari's layers: scale, translate, rotate, shear, affine, units, axis_labels.
    look : dict
        Colours and names of classes, if they are not napari's own.
    provenance : dict
        Which model and settings made the labels first; {} if none did.
    source : dict
        The file that they were drawn on, by `journal_source`; {} if that is not known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    saved_at: float = 0.0
    edits: int = 0
    image: str = ""
    image_path: str = ""
    place: dict[str, Any] = field(default_factory=dict)
    look: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """How labels are cut into chunks: planes along the last two axes, in squares."""

    shape: tuple[int, ...]

    @property
    def chunk(self) -> tuple[int, ...]:
        """The shape of a chunk that touches no border."""
        return tuple(SIDE if axis >= len(self.shape) - 2 else 1 for axis in range(len(self.shape)))

    @property
    def counts(self) -> tuple[int, ...]:
        """How many chunks there are along every axis."""
        return tuple(
            -(-length // side) for length, side in zip(self.shape, self.chunk, strict=True)
        )

    def __iter__(self) -> Iterator[Index]:
        """Yield the index of every chunk, the last axis fastest."""
        return itertools.product(*map(range, self.counts))

    def box(self, index: Index) -> tuple[slice, ...]:
        """Return where a chunk lies."""
        sides = zip(index, self.chunk, self.shape, strict=True)
        return tuple(slice(at * side, min((at + 1) * side, length)) for at, side, length in sides)

    def covering(self, box: tuple[slice, ...]) -> tuple[slice, ...]:
        """Return which chunks touch a box of pixels, as a box of indices."""
        sides = zip(box, self.chunk, strict=True)
        return tuple(
            slice(max(0, part.start) // side, -(-part.stop // side)) for part, side in sides
        )


def write_snapshot(path: Path, facts: Facts, chunks: Mapping[Index, bytes]) -> None:
    """Write a copy of labels; it appears whole or not at all.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    facts : Facts
        Of the layer.
    chunks : mapping
        The compressed bytes of every chunk of the grid.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    bodies = [chunks[index] for index in Grid(facts.shape)]
    content = {"facts": asdict(facts), "side": SIDE, "lengths": [len(body) for body in bodies]}
    header = json.dumps(content, default=str, skipkeys=True).encode()
    start = FIXED.pack(MAGIC, len(header), zlib.crc32(header))

    def write(file: BinaryIO) -> None:
        digest = hashlib.sha256()
        for part in (start, header, *bodies):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())

    write_atomically(path, write)


def read_facts(path: Path) -> Facts:
    """Return what a copy says of its layer; the labels are not looked at.

    Raises
    ------
    UnreadableFileError
        If the file cannot be read, is damaged in its beginning, or is not ours.
    """
    try:
        with path.open("rb") as file:
            start = file.read(FIXED.size)
            length = FIXED.unpack(start)[1] if len(start) == FIXED.size else 0
            header = file.read(min(length, HEADER_LIMIT))
    except OSError as error:
        raise UnreadableFileError(
            f"Cannot read {str(path)!r}: {error.strerror or error}."
        ) from error
    return _parse(path, start + header)[0]


def read_snapshot(path: Path) -> tuple[Facts, NDArray[np.integer[Any]]]:
    """Return a copy of labels, checked from the first byte to the last.

    Returns
    -------
    facts : Facts
        Of the layer.
    labels : integer array
        Of the shape and dtype in `facts`.

    Raises
    ------
    UnreadableFileError
        If the file cannot be read, is damaged, or is not ours.
    MemoryError
        If the labels do not fit into memory.
    """
    content = memoryview(read_bytes(path, FILE_LIMIT))
    body = content[: max(0, len(content) - DIGEST_BYTES)]
    if hashlib.sha256(body).digest() != content[len(body) :]:
        raise damaged(path)
    facts, lengths = _parse(path, body)
    grid = Grid(facts.shape)
    labels = np.zeros(facts.shape, dtype=facts.dtype)
    at = len(body) - sum(lengths)
    for index, length in zip(grid, lengths, strict=True):
        box = grid.box(index)
        labels[box] = _unpack(path, body[at : at + length], labels[box].shape, labels.dtype)
        at += length
    return facts, labels


def pack(chunk: NDArray[np.integer[Any]]) -> bytes:
    """Compress a C-contiguous chunk; level 1 is several times as fast as the usual 6."""
    return zlib.compress(chunk.data, 1)


def damaged(path: Path) -> UnreadableFileError:
    """Return what is said of a file that is not whole."""
    return UnreadableFileError(
        f"{str(path)!r} is no whole copy of labels: it is damaged, or not from this plugin."
    )


def _parse(path: Path, start: bytes | memoryview) -> tuple[Facts, list[int]]:
    """Return the facts and the lengths of the chunks from the beginning of a file."""
    if len(start) < FIXED.size:
        raise damaged(path)
    magic, length, crc = FIXED.unpack_from(start)
    header = bytes(start[FIXED.size : FIXED.size + min(length, HEADER_LIMIT)])
    if magic != MAGIC or len(header) != length or zlib.crc32(header) != crc:
        raise damaged(path)
    try:
        content = json.loads(header)
        given = content["facts"]
        facts = Facts(**{**given, "shape": tuple(int(each) for each in given["shape"])})
        lengths = [int(each) for each in content["lengths"]]
        side = content["side"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path) from error
    if side != SIDE or min(lengths, default=0) < 0 or not _is_sound(facts, len(lengths)):
        raise damaged(path)
    return facts, lengths


def _is_sound(facts: Facts, count: int) -> bool:
    """Return whether facts are of the kinds that they should be, and go with `count` chunks."""
    kinds: list[tuple[object, type | tuple[type, ...]]] = [
        (facts.name, str),
        (facts.dtype, str),
        (facts.saved_at, (int, float)),
        (facts.edits, int),
        (facts.place, dict),
        (facts.look, dict),
        (facts.provenance, dict),
        (facts.source, dict),
    ]
    return (
        all(isinstance(value, kind) for value, kind in kinds)
        and re.fullmatch("[<>|][iu][1248]", facts.dtype) is not None
        and len(facts.shape) >= 2
        and min(facts.shape) > 0
        and math.prod(Grid(facts.shape).counts) == count
    )


def _unpack(
    path: Path, body: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[np.integer[Any]]:
    """Return a chunk; bytes that inflate to more than the chunk holds are refused unread."""
    size = math.prod(shape) * dtype.itemsize
    try:
        raw = zlib.decompressobj().decompress(body, size + 1)
    except zlib.error as error:
        raise damaged(path) from error
    if len(raw) != size:
        raise damaged(path)
    return np.frombuffer(raw, dtype=dtype).reshape(shape)
