"""One kept copy of labels: what is written comes back, and what is damaged is known."""

import hashlib
import json
import random
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_rwkv_seg.controllers.journal_snapshot import (
    FIXED,
    MAGIC,
    Facts,
    Grid,
    pack,
    read_facts,
    read_snapshot,
    write_snapshot,
)
from napari_rwkv_seg.errors import UnreadableFileError

SHAPES = [(1, 1), (37, 53), (256, 256), (257, 513), (3, 300, 41), (2, 2, 30, 260), (5, 1, 3)]
DTYPES = ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64", ">i4"]


def make_labels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    info = np.iinfo(np.dtype(dtype))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, shape).astype(dtype)
    labels.flat[0], labels.flat[-1] = info.max, info.min
    return labels


def write(path: Path, labels: np.ndarray, **facts: Any) -> Facts:
    given = Facts("cells", labels.shape, labels.dtype.str, **facts)
    grid = Grid(labels.shape)
    chunks = {index: pack(np.ascontiguousarray(labels[grid.box(index)])) for index in grid}
    write_snapshot(path, given, chunks)
    return given


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "00000001.labels"
    write(path, make_labels((300, 41), "int32"))
    return path


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_labels_of_any_shape_and_dtype_come_back(tmp_path, shape, dtype):
    labels = make_labels(shape, dtype)
    facts = write(tmp_path / "copy", labels)

    read, back = read_snapshot(tmp_path / "copy")

    assert read == facts
    assert back.dtype == labels.dtype
    assert back.flags.writeable
    np.testing.assert_array_equal(back, labels)


def test_what_is_known_of_a_layer_comes_back_without_its_pixels_being_read(tmp_path):
    facts = {
        "saved_at": 12.5,
        "edits": 183,
        "image": "cells",
        "image_path": "cells.tif",
        "place": {"scale": [2.0, 3.0], "units": ["micrometer", "micrometer"]},
        "look": {"colors": {"1": [1.0, 0.0, 0.0, 1.0]}},
        "provenance": {"model": "bright"},
        "source": {"path": "cells.tif"},
    }
    given = write(tmp_path / "copy", make_labels((300, 300), "int32"), **facts)
    content = (tmp_path / "copy").read_bytes()
    (tmp_path / "copy").write_bytes(content[: len(content) // 2])

    assert read_facts(tmp_path / "copy") == given


def test_chunks_cover_every_pixel_once():
    for shape in SHAPES:
        times = np.zeros(shape, dtype=int)
        for index in Grid(shape):
            times[Grid(shape).box(index)] += 1
        assert (times == 1).all()


def test_the_chunks_that_cover_a_box_are_those_that_share_a_pixel_with_it():
    rng = random.Random(42)
    for _ in range(200):
        shape = rng.choice(SHAPES)
        starts = [rng.randrange(length) for length in shape]
        pairs = zip(starts, shape, strict=True)
        box = tuple(slice(start, rng.randint(start + 1, length)) for start, length in pairs)
        touched = np.zeros(shape, dtype=bool)
        touched[box] = True
        expected = {index for index in Grid(shape) if touched[Grid(shape).box(index)].any()}
        marked = np.zeros(Grid(shape).counts, dtype=bool)
        marked[Grid(shape).covering(box)] = True
        assert {tuple(row) for row in np.argwhere(marked).tolist()} == expected


def test_a_copy_that_was_cut_short_anywhere_is_refused(copy):
    content = copy.read_bytes()
    rng = random.Random(42)
    for length in [0, 1, 8, 15, 16, 17, len(content) - 1, *rng.sample(range(len(content)), 60)]:
        copy.write_bytes(content[:length])
        with pytest.raises(UnreadableFileError, match="damaged"):
            read_snapshot(copy)


def test_a_copy_with_one_flipped_bit_anywhere_is_refused(copy):
    content = copy.read_bytes()
    rng = random.Random(42)
    for place in [*range(16), len(content) - 1, *rng.sample(range(len(content)), 200)]:
        wrong = bytearray(content)
        wrong[place] ^= 1 << rng.randrange(8)
        copy.write_bytes(wrong)
        with pytest.raises(UnreadableFileError, match="damaged"):
            read_snapshot(copy)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(90), b"<html>404</html>" * 9, bytes(4096)]
)
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "copy").write_bytes(content)

    for read in (read_facts, read_snapshot):
        with pytest.raises(UnreadableFileError, match="not from this plugin"):
            read(tmp_path / "copy")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        for read in (read_facts, read_snapshot):
            with pytest.raises(UnreadableFileError):
                read(path)


def forge(path: Path, bodies: list[bytes], lengths: list[int] | None = None, **facts: Any) -> None:
    """Write a file whose sums are right, whatever it says."""
    given = {"name": "x", "shape": [4, 4], "dtype": "<i4", "saved_at": 0.0, **facts}
    lengths = lengths if lengths is not None else [len(body) for body in bodies]
    header = json.dumps({"facts": given, "side": 256, "lengths": lengths}).encode()
    content = FIXED.pack(MAGIC, len(header), zlib.crc32(header)) + header + b"".join(bodies)
    path.write_bytes(content + hashlib.sha256(content).digest())


SIXTEEN = zlib.compress(bytes(64))


def test_the_forger_of_these_tests_can_write_a_file_that_is_read(tmp_path):
    forge(tmp_path / "copy", [SIXTEEN])

    assert read_snapshot(tmp_path / "copy")[1].shape == (4, 4)


@pytest.mark.parametrize(
    ("bodies", "changes"),
    [
        ([SIXTEEN], {"shape": [10**6, 10**6]}),
        ([SIXTEEN], {"shape": [10**18, 10**18, 10**18]}),
        ([SIXTEEN], {"shape": []}),
        ([SIXTEEN], {"shape": [16]}),
        ([], {"shape": [0, 4]}),
        ([SIXTEEN], {"shape": [-4, -4]}),
        ([SIXTEEN], {"shape": "four"}),
        ([SIXTEEN], {"dtype": "O"}),
        ([SIXTEEN], {"dtype": "<f4"}),
        ([SIXTEEN], {"dtype": "i4,i4"}),
        ([SIXTEEN], {"dtype": 7}),
        ([SIXTEEN], {"name": 7}),
        ([SIXTEEN], {"saved_at": "now"}),
        ([SIXTEEN], {"place": [1]}),
        ([SIXTEEN], {"source": [1]}),
        ([SIXTEEN], {"unheard": 1}),
        ([SIXTEEN], {"lengths": [10**9]}),
        ([SIXTEEN], {"lengths": [-1]}),
        ([SIXTEEN, SIXTEEN], {}),
        ([zlib.compress(bytes(63))], {}),
        ([zlib.compress(bytes(10**8))], {}),
        ([b"no zlib"], {}),
        ([b""], {}),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(tmp_path, bodies, changes):
    forge(tmp_path / "copy", bodies, **changes)

    with pytest.raises(UnreadableFileError, match="damaged"):
        read_snapshot(tmp_path / "copy")


def test_a_header_that_is_said_to_be_enormous_is_not_read(tmp_path):
    (tmp_path / "copy").write_bytes(struct.pack("<8sII", MAGIC, 2**32 - 1, 0) + bytes(100))

    with pytest.raises(UnreadableFileError, match="damaged"):
        read_facts(tmp_path / "copy")


def test_facts_that_json_does_not_know_are_written_as_text(tmp_path):
    labels = make_labels((4, 4), "int32")
    facts = Facts("cells", labels.shape, labels.dtype.str, provenance={"path": Path("a"), (1,): 2})
    write_snapshot(tmp_path / "copy", facts, {(0, 0): pack(labels)})

    assert read_facts(tmp_path / "copy") == replace(facts, provenance={"path": "a"})
