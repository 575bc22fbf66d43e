"""Rows D: disks that are full, slow, read-only, or not what they seem."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_rwkv_seg import files
from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.files import write_atomically

SCRIPT = Path(__file__).with_name("full_disk.py")


def write(target: Path, content: bytes = b"new") -> None:
    write_atomically(target, lambda file: file.write(content))


def faults_on(*arguments: str) -> dict[str, str]:
    """Return what full_disk.py found."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True, text=True, timeout=250, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are those of POSIX")
def test_no_writer_loses_the_old_file_when_a_file_may_not_grow(tmp_path):
    assert faults_on(str(tmp_path), "200000") == {}


WITHOUT_TEMPORARY = """
import sys, tempfile
from pathlib import Path
tempfile.tempdir = sys.argv[1]
sys.path.insert(0, sys.argv[2])
import full_disk
for name, write in full_disk.WRITERS.items():
    write(Path(sys.argv[3]) / name, 8)
"""


def test_d09_no_writer_needs_a_folder_for_temporary_files(tmp_path):
    places = [str(tmp_path / "gone"), str(SCRIPT.parent), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TEMPORARY, *places],
        capture_output=True, text=True, timeout=250, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="a small disk is made as on Linux")
def test_no_writer_loses_the_old_file_on_a_small_disk_that_is_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False)
    if made.returncode != 0:
        pytest.skip("only the administrator may make a small disk")
    try:
        assert faults_on(str(disk)) == {}
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO, errno.EDQUOT]
)
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_whatever_the_system_refuses_the_old_file_stays_and_the_error_names_it(
    tmp_path, monkeypatch, number, step
):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    owner, name = {"open": (Path, "open"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[
        step
    ]

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as failing:
        failing.setattr(owner, name, fail)
        with pytest.raises(OutputError, match=r"a\.bin.*Choose a folder"):
            write(target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="links and long names as on Linux and macOS")
@pytest.mark.parametrize("kind", ["too long", "circle of links", "below a file", "folder"])
def test_a_place_that_cannot_be_is_a_sentence(tmp_path, kind):
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    target = {
        "too long": tmp_path / ("x" * 300),
        "circle of links": tmp_path / "circle" / "a.bin",
        "below a file": tmp_path / "file" / "a.bin",
        "folder": tmp_path / "folder",
    }[kind]
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OutputError, match="Cannot write"):
        write(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="links take a privilege on Windows")
@pytest.mark.parametrize("hard", [False, True], ids=["symbolic", "hard"])
def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path, hard):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_bytes(b"mine")
    target = tmp_path / "a.bin"
    if hard:
        target.hardlink_to(elsewhere / "mine.txt")
    else:
        target.symlink_to(elsewhere / "mine.txt")
    write(target)
    assert (elsewhere / "mine.txt").read_bytes() == b"mine"
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()


def test_the_temporary_file_lies_beside_its_target(tmp_path):
    seen = []
    write_atomically(tmp_path / "a.bin", lambda file: seen.extend(tmp_path.iterdir()))
    assert len(seen) == 1
    assert seen[0].name.startswith(".a.bin.")
    assert seen[0].name.endswith(".tmp")


def refusing(times: int, monkeypatch) -> list[float]:
    """Let a file be held by another program `times` times; return the pauses that were made."""
    pauses: list[float] = []
    replace, left = Path.replace, [times]

    def held(self, target):
        if left[0]:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "The file is used by another process")
        return replace(self, target)

    monkeypatch.setattr(files, "_PAUSES_S", (0.1, 0.2, 0.4, 0.8, 1.6))
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    monkeypatch.setattr(Path, "replace", held)
    return pauses


def test_a_file_that_a_scanner_holds_for_two_seconds_is_written_in_the_end(tmp_path, monkeypatch):
    pauses = refusing(5, monkeypatch)
    write(tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert sum(pauses) > 2


def test_a_file_that_is_held_for_good_is_a_sentence(tmp_path, monkeypatch):
    refusing(100, monkeypatch)
    with pytest.raises(OutputError, match=r"a\.bin.*used by another process"):
        write(tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []
