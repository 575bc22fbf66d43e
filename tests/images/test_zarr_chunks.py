"""What a chunk unpacks to is known before it is unpacked, whatever it says of itself."""

import bz2
import gzip
import lzma
import os
import struct
import tracemalloc
import warnings
import zlib

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images import open_image, read_image

pytest.importorskip("dask.array")  # imported now, not while memory is measured
MEMORY = 32_000_000  # bytes, of which reading JSON takes 16; chunks claim far more
CLAIMED = 2**31 - 17
PIXELS = np.random.default_rng(0).integers(0, 200, (3, 17, 23)).astype(np.uint16)


def write(folder, version, **options):
    """Write an OME-Zarr image with one array; return its folder, and a file of its pixels."""
    group = zarr.open_group(str(folder), mode="w", zarr_format=version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of codecs that the standard of Zarr 3 does not name yet
        group.create_array("0", data=PIXELS, **({"chunks": (1, 16, 8)} | options))
    axes = [{"name": letter, "type": "space"} for letter in "zyx"]
    steps = [{"type": "scale", "scale": [2, 0.5, 0.25]}]
    told = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    told = {"multiscales": [told]}
    group.attrs.update({"ome": told} if version == 3 else told)
    files = [path for path in (folder / "0").rglob("*") if path.is_file()]
    return folder, min(path for path in files if path.name[0].isdigit())


PACKED, CHECKED = (BytesCodec(), ZstdCodec()), (Crc32cCodec(),)


def sharded(location="end", codecs=PACKED, index=CHECKED):
    codec = ShardingCodec(
        chunk_shape=(1, 16, 8), codecs=list(codecs), index_codecs=[BytesCodec(), *index],
        index_location=location,
    )  # fmt: skip
    return {"serializer": codec, "compressors": None, "chunks": (2, 16, 16)}


WAYS = {
    "plain": (2, {"compressors": None}),
    **{name: (2, {"compressors": numcodecs.registry.get_codec({"id": name})})
       for name in ("blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma")},
    "filters": (2, {"filters": [numcodecs.Delta("u2"), numcodecs.Shuffle(2)]}),
    "third": (3, {}),
    "plain third": (3, {"compressors": None}),
    "third blosc": (3, {"compressors": BloscCodec()}),
    "third gzip": (3, {"compressors": GzipCodec()}),
    "checksum": (3, {"compressors": [ZstdCodec(), Crc32cCodec()]}),
    "turned": (3, {"filters": TransposeCodec(order=(2, 1, 0))}),
    "shards": (3, {"shards": (2, 16, 16)}),
    "index first": (3, sharded("start")),
    "index without checksum": (3, sharded(index=())),
    "shards of plain pixels": (3, sharded(codecs=[BytesCodec()])),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_an_honest_image_is_read_however_it_is_packed(tmp_path, way):
    version, options = WAYS[way]
    path, _ = write(tmp_path / "a.zarr", version, **options)

    np.testing.assert_array_equal(read_image(path).data, PIXELS)
    part = open_image(path).data[1:3, 3:17, 5:20].compute()
    np.testing.assert_array_equal(part, PIXELS[1:3, 3:17, 5:20])


def refused(path, match):
    """Check that an image is refused, whole and in part, and that little memory is taken."""
    tracemalloc.start()
    try:
        for read in (lambda: read_image(path), lambda: np.asarray(open_image(path).data[:1])):
            with pytest.raises(UnreadableFileError, match=match):
                read()
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def claiming(name, content):
    """Return a packed chunk with another size in its header."""
    if name == "zstd":  # flags for a size of eight bytes, of which it had one or two
        return content[:4] + bytes([0xE0]) + struct.pack("<Q", CLAIMED) + content[6:]
    at = {"blosc": 4, "lz4": 0}[name]
    return content[:at] + struct.pack("<I", CLAIMED) + content[at + 4 :]


@pytest.mark.parametrize("way", ["blosc", "lz4", "zstd", "third", "third blosc", "checksum"])
def test_a_chunk_that_claims_gigabytes_is_refused(tmp_path, way):
    version, options = WAYS[way]
    path, chunk = write(tmp_path / "a.zarr", version, **options)
    name = "blosc" if "blosc" in way else "lz4" if way == "lz4" else "zstd"
    chunk.write_bytes(claiming(name, chunk.read_bytes()))

    refused(path, "unpacks to more")


@pytest.mark.parametrize("way", ["shards", "index first", "index without checksum"])
def test_a_chunk_in_a_shard_that_claims_gigabytes_is_refused(tmp_path, way):
    path, shard = write(tmp_path / "a.zarr", 3, **WAYS[way][1])
    content = shard.read_bytes()
    at = content.index(b"\x28\xb5\x2f\xfd")  # where a chunk begins; nothing may move
    claim = bytes([0xE0]) + struct.pack("<Q", CLAIMED)
    shard.write_bytes(content[: at + 4] + claim + content[at + 4 + len(claim) :])

    refused(path, "unpacks to more")


def endless_zstd(size):
    """Return a zstd frame that does not state its size: blocks of one byte, many times."""
    count = -(-size >> 17)
    blocks = [(int(n == count - 1) | 1 << 1 | 1 << 20).to_bytes(3, "little") for n in range(count)]
    return b"\x28\xb5\x2f\xfd\0\x58" + b"\0".join(blocks) + b"\0"


BOMBS = {
    "zlib": zlib.compress, "gzip": gzip.compress, "bz2": bz2.compress, "lzma": lzma.compress,
    "zstd": lambda zeros: endless_zstd(len(zeros)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_that_unpacks_to_too_much_is_refused(tmp_path, name):
    path, chunk = write(tmp_path / "a.zarr", 2, **WAYS[name][1])
    chunk.write_bytes(BOMBS[name](bytes(40_000_000)))

    refused(path, "unpacks to more")


def test_a_frame_that_does_not_state_its_size_is_read(tmp_path):
    path, chunk = write(tmp_path / "a.zarr", 2, **WAYS["zstd"][1])
    raw = PIXELS[0, :16, :8].tobytes()
    header = (1 | len(raw) << 3).to_bytes(3, "little")  # one block, not packed
    chunk.write_bytes(b"\x28\xb5\x2f\xfd\0\x58" + header + raw)

    np.testing.assert_array_equal(read_image(path).data, PIXELS)


def test_a_chunk_that_is_too_large_on_the_disk_is_refused(tmp_path):
    path, chunk = write(tmp_path / "a.zarr", 2, **WAYS["plain"][1])
    os.truncate(chunk, 50_000_000)

    refused(path, "unpacks to more")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.timeout(30)
def test_a_pipe_in_the_place_of_a_chunk_is_never_waited_for(tmp_path):
    path, chunk = write(tmp_path / "a.zarr", 2)
    chunk.unlink()
    os.mkfifo(chunk)

    refused(path, "no regular file")


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": [GzipCodec(), ZstdCodec()]},
        sharded(index=(GzipCodec(),)),
        sharded(codecs=[ShardingCodec(chunk_shape=(1, 16, 8))]),
    ],
    ids=["twice", "packed index", "shards in shards"],
)
def test_what_cannot_be_measured_is_refused(tmp_path, options):
    path, _ = write(tmp_path / "a.zarr", 3, **options)

    refused(path, "of which the size cannot be told")


@pytest.mark.parametrize("cut", [0, 5, -8])
def test_a_shard_that_is_cut_short_is_refused(tmp_path, cut):
    path, shard = write(tmp_path / "a.zarr", 3, **WAYS["shards"][1])
    shard.write_bytes(shard.read_bytes()[:cut])

    refused(path, "cannot be decoded")
