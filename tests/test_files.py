import errno
import os
import stat
from pathlib import Path

import pytest

from napari_rwkv_seg.errors import OutputError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically, write_folder_atomically


def test_a_file_is_written_whole(tmp_path):
    write_atomically(tmp_path / "a.bin", lambda file: file.write(b"content"))
    assert (tmp_path / "a.bin").read_bytes() == b"content"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def full_disk(file):
        file.write(b"half of the n")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"a\.bin.*No space left"):
        write_atomically(target, full_disk)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_any_other_error_while_writing_passes_and_leaves_nothing(tmp_path):
    def broken(file):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a.bin", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_a_sentence(tmp_path):
    with pytest.raises(OutputError, match="No such file or directory"):
        write_atomically(tmp_path / "gone" / "a.bin", lambda file: file.write(b""))


def test_a_folder_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OutputError, match=r"a\.bin"):
        write_atomically(tmp_path / "a.bin", lambda file: file.write(b"x"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot flush a folder")
def test_a_file_system_that_cannot_flush_a_folder_is_written_to(tmp_path, monkeypatch):
    flush_folders_with(errno.EINVAL, monkeypatch)
    write_atomically(tmp_path / "a.bin", lambda file: file.write(b"content"))
    assert (tmp_path / "a.bin").read_bytes() == b"content"


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot flush a folder")
def test_a_folder_on_a_failing_disk_is_a_sentence(tmp_path, monkeypatch):
    flush_folders_with(errno.EIO, monkeypatch)
    with pytest.raises(OutputError, match=r"a\.bin.*Input/output error"):
        write_atomically(tmp_path / "a.bin", lambda file: file.write(b""))


def flush_folders_with(number, monkeypatch):
    """Let a flush of a folder fail; files are flushed as ever."""
    flush = os.fsync

    def fail(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.skipif(os.name == "nt", reason="file modes are those of POSIX")
def test_a_file_gets_the_mode_that_the_user_asks_for(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a.bin", lambda file: file.write(b""))
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_reading_stops_at_the_limit(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a.bin", 5) == b"12345"
    with pytest.raises(UnreadableFileError, match=r"a\.bin.*larger"):
        read_bytes(tmp_path / "a.bin", 4)


def test_a_missing_file_is_a_sentence():
    with pytest.raises(UnreadableFileError, match=r"nowhere.*No such file"):
        read_bytes(Path("nowhere.bin"), 10)


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in the file system")
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_bytes(tmp_path / "pipe", 10)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_bytes(tmp_path, 10)


def fill(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "a.bin").write_bytes(b"content")


def test_a_folder_is_written_whole(tmp_path):
    write_folder_atomically(tmp_path / "a.zarr", fill)
    assert (tmp_path / "a.zarr" / "inner" / "a.bin").read_bytes() == b"content"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    def broken(folder):
        fill(folder)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_folder_atomically(tmp_path / "a.zarr", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_kept_unless_it_may_go(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "mine").write_bytes(b"x")

    with pytest.raises(OutputError, match=r"a\.zarr.*exists"):
        write_folder_atomically(tmp_path / "a.zarr", fill)
    assert [p.name for p in tmp_path.rglob("*")] == ["a.zarr", "mine"]

    write_folder_atomically(tmp_path / "a.zarr", fill, replace=True)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.bin", "a.zarr", "inner"]


def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path, monkeypatch):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "mine").write_bytes(b"x")
    rename = Path.rename

    def fail(self, target):
        if self.name.endswith(".tmp"):
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="Permission denied"):
        write_folder_atomically(tmp_path / "a.zarr", fill, replace=True)
    assert [p.name for p in tmp_path.rglob("*")] == ["a.zarr", "mine"]
