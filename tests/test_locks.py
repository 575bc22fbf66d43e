"""Locks between processes."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from napari_rwkv_seg.locks import HeldError, held


def test_what_one_holds_no_other_gets(tmp_path: Path) -> None:
    with held(tmp_path / "lock", 0), pytest.raises(HeldError), held(tmp_path / "lock", 0.1):
        pass
    with held(tmp_path / "lock", 0) as is_held:
        assert is_held


def test_of_many_who_wait_one_at_a_time_has_it(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with held(tmp_path / "lock", 60):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is open")
def test_nothing_is_left(tmp_path: Path) -> None:
    with held(tmp_path / "lock", 0):
        assert os.listdir(tmp_path) == ["lock"]
    assert os.listdir(tmp_path) == []


def test_a_process_that_dies_lets_go(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from napari_rwkv_seg.locks import held
with held(Path({str(tmp_path / "lock")!r}), 0):
    os._exit(3)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3
    with held(tmp_path / "lock", 0):
        pass


def test_where_no_lock_can_be_made_the_reason_is_raised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="lock"), held(tmp_path / "missing" / "lock", 0):
        pass


@pytest.mark.skipif(os.name == "nt", reason="flock")
def test_a_share_without_locks_is_gone_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, what: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with held(tmp_path / "lock", 0) as first, held(tmp_path / "lock", 0) as second:
        assert (tmp_path / "lock").exists()
    assert (first, second) == (False, False)
