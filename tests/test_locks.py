"""Locks between processes."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from napari_rwkv_seg.locks import HeldError, held


def test_what_one_holds_no_other_gets(tmp_path: Path) -> None:
    with held(tmp_path / "lock", 0), pytest.raises(HeldError), held(tmp_path / "lock", 0.1):
        pass
    with held(tmp_path / "lock", 0):
        pass


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


def test_a_share_without_locks_is_gone_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(lock: FileLock) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "_acquire", refuse)
    reached = False
    with held(tmp_path / "lock", 0):
        reached = True
    assert reached
