"""Compiled code is kept, checked, and never needed."""

import os

import pytest

from napari_rwkv_seg.ops import _cuda_cache
from napari_rwkv_seg.ops._cuda_cache import cached_code


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(_cuda_cache, "_folder", lambda: tmp_path / "cuda")
    return tmp_path / "cuda"


class Compiler:
    def __init__(self, code=b"machine code"):
        self.code, self.runs = code, 0

    def __call__(self):
        self.runs += 1
        return self.code


def test_what_was_compiled_once_is_read_the_second_time():
    make = Compiler()
    assert [cached_code(("source", "sm 90"), make) for _ in range(3)] == [b"machine code"] * 3
    assert make.runs == 1


@pytest.mark.parametrize("parts", [("other", "sm 90"), ("source", "sm 80"), ("sourcesm 90",)])
def test_another_source_or_processor_is_compiled_anew(parts):
    cached_code(("source", "sm 90"), Compiler(b"old"))
    assert cached_code(parts, Compiler(b"new")) == b"new"


@pytest.mark.parametrize(
    "harm", [lambda b: b[:-1], lambda b: b[:40] + b"x" + b[41:], lambda b: b""]
)
def test_damaged_code_is_made_again_and_mended(folder, harm):
    cached_code(("source",), Compiler())
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(harm(whole))
    make = Compiler()
    assert cached_code(("source",), make) == b"machine code"
    assert make.runs == 1
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_made_costs_only_time(folder):
    folder.write_text("a file is in the way")
    assert cached_code(("source",), Compiler()) == b"machine code"
    assert folder.read_text() == "a file is in the way"


def test_a_compiler_that_fails_leaves_nothing_behind(folder):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cached_code(("source",), fail)
    assert not folder.exists()


def test_no_temporary_file_is_left(folder):
    cached_code(("source",), Compiler())
    assert [file.suffix for file in folder.iterdir()] == [".bin"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has no such bits")
@pytest.mark.parametrize("whose", ["anybody's", "a group's", "another user's", "a link"])
def test_m29_a_folder_that_others_may_write_to_is_neither_read_nor_written(
    folder, monkeypatch, whose
):
    cached_code(("source",), Compiler(b"planted"))
    assert folder.stat().st_mode & 0o777 == 0o700
    before = sorted(folder.iterdir())
    if whose == "another user's":
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    elif whose == "a link":
        monkeypatch.setattr(_cuda_cache, "_folder", lambda: folder.with_name("link"))
        folder.with_name("link").symlink_to(folder)
    else:
        folder.chmod(0o777 if whose == "anybody's" else 0o770)

    make = Compiler(b"made here")

    assert cached_code(("source",), make) == b"made here"
    assert cached_code(("another",), make) == b"made here"
    assert make.runs == 2
    assert sorted(folder.iterdir()) == before
