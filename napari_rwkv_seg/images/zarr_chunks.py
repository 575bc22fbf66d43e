"""How much the chunks of a Zarr array unpack to, found out before they are unpacked.

The decoders believe what a chunk says of itself: one of a few bytes can take gigabytes,
whatever its array declares. So the sizes are read from the chunks here, by the formats of
the packers, and where a packer does not tell them the chunk is unpacked once piece by piece.
"""

import bz2
import gzip
import io
import lzma
import math
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_rwkv_seg.errors import UnreadableFileError

PACKERS = frozenset(("blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma"))
_CHECKSUMS = {"crc32": "start", "adler32": "start", "crc32c": "end"}  # and where they lie
_SPARE = 1_000_000  # bytes that a chunk may be larger than its pixels, for headers
_WIDENED = 8  # times that what filters leave may be larger than the pixels
_MOST_INFLATED = 1032  # times that deflate makes bytes smaller, at best
_LZMA_MEMORY = 200_000_000  # bytes that an xz stream may ask for beside what it holds
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK = 1 << 17  # bytes that a packed block holds at most
_PIECE = 1 << 20
_NONE = 2**64 - 1  # of an index of shards: this chunk is not there
_PLAIN_INDEX = (["bytes"], ["bytes", "crc32c"])

Codec = dict[str, Any]


@dataclass(frozen=True)
class Packing:
    """How the chunks of an array are packed.

    Parameters
    ----------
    packer : str
        One of PACKERS, or "" where the pixels lie as they are.
    skipped : int
        Bytes of checksums before the packed ones.
    most : int
        Bytes that a chunk may have, packed and unpacked.
    chunks : int
        In each file; 0 where a file is a chunk, else it is a shard with an index of them.
    is_indexed_first : bool
        Whether the index of a shard is at its start.
    tail : int
        Bytes of the checksum behind the index.
    """

    packer: str
    skipped: int
    most: int
    chunks: int = 0
    is_indexed_first: bool = False
    tail: int = 0


def packing_of(folder: Path, told: Codec, chunks: Sequence[int], itemsize: int) -> Packing:
    """Return how an array is packed.

    Parameters
    ----------
    folder : Path
        Of the array, for errors.
    told : dict
        The array's metadata, as in its JSON.
    chunks : sequence of int
        The shape of the smallest piece that is packed.
    itemsize : int
        Bytes of a pixel.

    Raises
    ------
    UnreadableFileError
        If it is packed in a way of which the size cannot be told.
    """
    pixels = math.prod(chunks) * itemsize
    if "codecs" not in told:  # Zarr 2
        filters = [_name(each) for each in told.get("filters") or []]
        last = told.get("compressor")
        return _packing(folder, [*filters, *([_name(last)] if last else [])], 0, pixels)
    codecs: list[Codec] = told["codecs"]
    outer = codecs[-1]
    if _name(outer) != "sharding_indexed":
        return _of_codecs(folder, codecs, pixels)
    options = outer["configuration"]
    index = [_name(each) for each in options.get("index_codecs", [{"name": "bytes"}])]
    before = [_name(each) for each in codecs[:-1]]
    if index not in _PLAIN_INDEX or set(before) - {"transpose"}:
        raise _unclear(folder, [*before, "shards", *index])
    one = _of_codecs(folder, options["codecs"], pixels)
    shard = told["chunk_grid"]["configuration"]["chunk_shape"]
    count = math.prod(shard) // math.prod(chunks)
    is_first = options.get("index_location", "end") == "start"
    return replace(one, chunks=count, is_indexed_first=is_first, tail=4 * (len(index) - 1))


def _name(codec: Codec) -> str:
    return str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")


def _unclear(folder: Path, names: list[str]) -> UnreadableFileError:
    return UnreadableFileError(
        f"{str(folder)!r} is packed by {', '.join(names)}, of which the size cannot be told before "
        "unpacking; save it with blosc, zstd or gzip alone."
    )


def _of_codecs(folder: Path, codecs: list[Codec], pixels: int) -> Packing:
    """Return the packing by the codecs of Zarr 3, the outermost last."""
    names = [_name(codec) for codec in codecs]
    skipped = 0
    while names and names[-1] in _CHECKSUMS:
        options = codecs[len(names) - 1].get("configuration") or {}
        place = options.get("location", _CHECKSUMS[names.pop()])
        skipped += 4 * (place == "start")
    return _packing(folder, [name for name in names if name != "bytes"], skipped, pixels)


def _packing(folder: Path, names: list[str], skipped: int, pixels: int) -> Packing:
    """Return the packing by the names of filters and packer, which has to come last."""
    packers = [name for name in names if name in PACKERS]
    is_nested = "sharding_indexed" in names
    if is_nested or len(packers) > 1 or (packers and names[-1] not in PACKERS):
        raise _unclear(folder, names)
    filters = set(names) - PACKERS - {"transpose"}
    most = pixels * (_WIDENED if filters else 1) + _SPARE
    return Packing(packers[0] if packers else "", skipped, most)


def check_chunks(paths: Iterator[Path], packing: Packing) -> None:
    """Refuse chunks that unpack to more than their pixels take; those that are missing are fine.

    Raises
    ------
    UnreadableFileError
        If one does, or is no regular file; the text names it. Damage raises ValueError or
        whatever the packers of the standard library raise.
    """
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableFileError(f"{str(path)!r} is no regular file; get the image again.")
        with path.open("rb") as file:
            for start, length in _parts(file, found.st_size, packing):
                file.seek(start + packing.skipped)
                if length > packing.most or _unpacked(file, length, packing) > packing.most:
                    raise UnreadableFileError(
                        f"{str(path)!r} unpacks to more than the {packing.most / 1e6:.1f} MB that "
                        "its image allows; the file is damaged: get the image again."
                    )


def files_of(folder: Path, metadata: Any, region: Sequence[slice], grid: Any) -> Iterator[Path]:
    """Yield the files, of chunks or shards of the shape `grid`, in which a box of pixels lies."""
    ranges = [
        range(part.start // length, -(-part.stop // length))
        for part, length in zip(region, grid, strict=True)
    ]
    for index in product(*ranges):
        yield folder / metadata.encode_chunk_key(index)


def _parts(file: BinaryIO, size: int, packing: Packing) -> list[tuple[int, int]]:
    """Return where the chunks in a file begin, and how many bytes they take."""
    if not packing.chunks:
        return [(0, size)]
    length = 16 * packing.chunks
    file.seek(0 if packing.is_indexed_first else max(0, size - length - packing.tail))
    index = np.frombuffer(file.read(min(length, size)), "<u8")
    if len(index) < 2 * packing.chunks:
        raise ValueError("the index of a shard is cut short")
    pairs = index.reshape(-1, 2)
    found = [(int(start), int(count)) for start, count in pairs[(pairs != _NONE).any(axis=1)]]
    if any(start + count > size for start, count in found):
        raise ValueError("a shard names chunks beyond its end")
    return found


def _unpacked(file: BinaryIO, length: int, packing: Packing) -> int:
    """Return how many bytes a chunk unpacks to; at least one more than allowed if it is more."""
    if packing.packer in ("", "blosc", "lz4"):
        start = file.read(8)
        told = {"": length, "blosc": _little(start[4:8]), "lz4": _little(start[:4])}
        return told[packing.packer]
    if packing.packer in ("zlib", "gzip") and length * _MOST_INFLATED <= packing.most:
        return 0
    content = file.read(length)
    if packing.packer == "zstd":
        return _of_zstd(content, packing.most)
    return _measured(packing.packer, content, packing.most)


def _little(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _of_zstd(content: bytes, most: int) -> int:
    """Return the size that a zstd frame states, or else the most that its blocks can hold."""
    total = at = 0
    while at < len(content) and total <= most:
        if content[at : at + 4] != _ZSTD or len(content) < at + 6:
            raise ValueError("no zstd frame where one belongs")
        flags = content[at + 4]
        is_single = flags >> 5 & 1
        place = at + 5 + (1 - is_single) + (0, 1, 2, 4)[flags & 3]
        width = (is_single, 2, 4, 8)[flags >> 6]
        if width and not at:  # the decoder makes room for this, and takes no more
            return _little(content[place : place + width]) + 256 * (width == 2)
        at, held = _blocks_of_zstd(content, place + width, most - total)
        at, total = at + 4 * (flags >> 2 & 1), total + held
    return total


def _blocks_of_zstd(content: bytes, at: int, most: int) -> tuple[int, int]:
    """Return where the blocks of a frame end, and the most bytes that they can hold."""
    total, is_last = 0, 0
    while not is_last and total <= most:
        header = _little(content[at : at + 3])
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if len(content) < at + 3:
            raise ValueError("a zstd frame is cut short")
        total += _ZSTD_BLOCK if kind == 2 else size
        at += 4 if kind == 1 else 3 + size
    return at, total


def _measured(packer: str, content: bytes, most: int) -> int:
    """Return how much is unpacked, piece by piece and not kept, up to a little more than `most`."""
    total = 0
    for piece in _pieces(packer, content):
        total += len(piece)
        if total > most:
            break
    return total


def _pieces(packer: str, content: bytes) -> Iterator[bytes]:
    """Yield unpacked bytes, a megabyte at a time."""
    if packer in ("gzip", "bz2"):
        opened: Any = gzip.open if packer == "gzip" else bz2.open
        with opened(io.BytesIO(content)) as file:
            while piece := file.read(_PIECE):
                yield piece
    elif packer == "zlib":
        inflate = zlib.decompressobj()
        while content:
            yield inflate.decompress(content, _PIECE)
            content = inflate.unconsumed_tail
    else:
        expand = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
        while not expand.eof:
            piece = expand.decompress(content if expand.needs_input else b"", _PIECE)
            content = b""
            if not piece and expand.needs_input:
                return  # cut short: the decoder says so
            yield piece
        if expand.unused_data:
            raise ValueError("several xz streams in one chunk")
