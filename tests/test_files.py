import errno
import os
import stat
from pathlib import Path

import pytest

from napari_rwkv_seg import files
from napari_rwkv_seg.errors import OutputError, UnreadableFileError
from napari_rwkv_seg.files import (
    folder_beside,
    moved,
    patiently,
    put_in_place,
    read_bytes,
    write_atomically,
    write_folder_atomically,
)


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
    replace = Path.replace

    def fail(self, target):
        if self.name.endswith(".tmp"):
            raise OSError(errno.EACCES, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="Permission denied"):
        write_folder_atomically(tmp_path / "a.zarr", fill, replace=True)
    assert [p.name for p in tmp_path.rglob("*")] == ["a.zarr", "mine"]


@pytest.fixture
def scanner(monkeypatch):
    """Let another program hold what is moved at the first two tries of each move, as on Windows."""
    replace, tries = Path.replace, {}

    def held(self, target):
        tries[self] = tries.get(self, 0) + 1
        if tries[self] <= 2:
            raise PermissionError(errno.EACCES, "Access is denied", str(self), None, str(target))
        return replace(self, target)

    monkeypatch.setattr(files, "_PAUSES_S", (0.1, 0.2, 0.4))
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Path, "replace", held)


@pytest.mark.usefixtures("scanner")
def test_a_file_and_a_folder_are_moved_though_a_scanner_holds_them_for_a_moment(tmp_path):
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    (tmp_path / "c").mkdir()
    moved(tmp_path / "a", tmp_path / "b")
    moved(tmp_path / "c", tmp_path / "d")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "d"]
    assert (tmp_path / "b").read_bytes() == b"new"


@pytest.mark.usefixtures("scanner")
def test_a_folder_is_replaced_though_a_scanner_holds_it_for_a_moment(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    write_folder_atomically(tmp_path / "a.zarr", fill, replace=True)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.bin", "a.zarr", "inner"]


def test_only_what_is_held_is_tried_again(monkeypatch):
    monkeypatch.setattr(files, "_PAUSES_S", (0.0, 0.0))
    tries = []

    def work(error):
        tries.append(error)
        raise error

    for error, count in ((PermissionError(), 3), (OSError(errno.ENOSPC, "full"), 1)):
        tries.clear()
        with pytest.raises(type(error)):
            patiently(lambda error=error: work(error))
        assert len(tries) == count


@pytest.mark.skipif(os.name == "nt", reason="file modes are those of POSIX")
def test_a_folder_that_is_to_be_moved_is_as_open_as_any_other(tmp_path):
    made = folder_beside(tmp_path / "model")
    (tmp_path / "plain").mkdir()
    assert made.parent == tmp_path
    assert made.name.startswith(".model.")
    assert made.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_neither_takes_its_place_nor_comes_back_is_still_there(tmp_path, monkeypatch):
    old, made = tmp_path / "a", tmp_path / "made"
    old.mkdir()
    fill(old)
    made.mkdir()
    replace = Path.replace

    def fail(self, target):
        if self != old:
            raise OSError(errno.EIO, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        put_in_place(made, old)
    assert [p.read_bytes() for p in tmp_path.rglob("a.bin")] == [b"content"]


def test_a_file_that_may_be_held_by_another_program_is_told_as_such(tmp_path):
    def held(file):
        raise PermissionError(errno.EACCES, "Access is denied")

    with pytest.raises(OutputError, match=r"a\.csv.*or close the file in other programs\.$"):
        write_atomically(tmp_path / "a.csv", held)
