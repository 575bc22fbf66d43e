"""A run whose checkpoints cannot be written waits, and goes on when they can."""

import errno
import os
import shutil
import time

import pytest

from napari_rwkv_seg.errors import CancelledError, OutputError
from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.training import checkpoints, patience
from napari_rwkv_seg.training.budget import Stopwatch
from napari_rwkv_seg.training.control import Control
from napari_rwkv_seg.training.finetune import run_finetune
from napari_rwkv_seg.training.patience import Patience

posix = pytest.mark.skipif(os.name == "nt", reason="there an open file holds its folder")


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Let attempts follow each other quickly."""
    monkeypatch.setattr(patience, "_EVERY_S", 0.05)
    monkeypatch.setattr(patience, "_LOOK_S", 0.01)


def full(target):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise OutputError(f"Cannot write {str(target)!r}.") from error


def waiting(tmp_path, is_over=lambda: False):
    """Return what waits, what it told, and the watch of its run."""
    told, watch = [], Stopwatch()
    insist = Patience(tmp_path, lambda kind, **facts: told.append((kind, facts)), is_over, watch)
    return insist, told, watch


def test_a_write_that_fails_for_a_while_is_told_once_and_its_time_does_not_count(tmp_path):
    insist, told, watch = waiting(tmp_path)
    attempts = []

    def write():
        attempts.append(time.monotonic())
        if len(attempts) < 4:
            full(tmp_path / "latest.pt")

    begun = time.monotonic()
    took = insist(write)

    waited = time.monotonic() - begun
    assert len(attempts) == 4
    assert waited > 0.1
    assert took < 0.05
    assert watch.seconds < waited - 0.1
    [(kind, facts)] = told
    assert kind == "waiting"
    assert "No space left on device" in facts["what"]
    assert "waits for up to 25 minutes" in facts["what"]


@pytest.mark.parametrize("longest", [0.2, 99])
def test_waiting_ends_when_it_is_over_or_has_taken_too_long(tmp_path, monkeypatch, longest):
    monkeypatch.setattr(patience, "LONGEST_S", longest)
    insist, _, _ = waiting(tmp_path, is_over=lambda: longest == 99)

    with pytest.raises(OutputError, match=r"latest\.pt.*last checkpoint is whole"):
        insist(lambda: full(tmp_path / "latest.pt"))


class Disk:
    """A disk on which no checkpoint fits while it is full."""

    def __init__(self, monkeypatch):
        self.is_full, self.attempts = False, 0
        monkeypatch.setattr(checkpoints, "write_atomically", self._write)

    def _write(self, target, write):
        if self.is_full:
            self.attempts += 1
            self.is_full = self.attempts < 3
            full(target)
        write_atomically(target, write)


def test_a_run_on_a_full_disk_goes_on_to_the_result_that_it_would_have_had(
    tiny, tmp_path, monkeypatch
):
    (tmp_path / "plain").mkdir()
    plain = run_finetune(tiny.tiny_run(tmp_path / "plain", steps=8).path)
    disk, told = Disk(monkeypatch), []

    def hear(event):
        told.append(event["event"])
        disk.is_full |= event["event"] == "started"

    (tmp_path / "full").mkdir()
    finished = run_finetune(tiny.tiny_run(tmp_path / "full", steps=8).path, hear)

    assert told.count("waiting") == 1
    assert disk.attempts == 3
    assert finished["after"] == plain["after"]


@posix
def test_a_run_whose_folder_is_renamed_goes_on_when_it_is_back(tiny, tmp_path):
    run, told = tiny.tiny_run(tmp_path, steps=8), []

    def hear(event):
        told.append(event["event"])
        if event["event"] == "started":
            run.path.rename(tmp_path / "elsewhere")
        elif event["event"] == "waiting":
            (tmp_path / "elsewhere").rename(run.path)

    assert run_finetune(run.path, hear)["event"] == "finished"
    assert "waiting" in told
    assert run.result.is_file()


@posix
@pytest.mark.parametrize(("wish", "end"), [("stop", OutputError), ("cancel", CancelledError)])
def test_a_run_that_waits_hears_what_is_asked_for(tiny, tmp_path, wish, end):
    run, control = tiny.tiny_run(tmp_path, steps=100_000), Control()

    def hear(event):
        if event["event"] == "started":
            shutil.rmtree(run.path)
        elif event["event"] == "waiting":
            getattr(control, wish)()

    with pytest.raises(end):
        run_finetune(run.path, hear, control)
    assert not run.path.exists()


@posix
def test_a_run_that_is_left_while_it_waits_ends_at_once(tiny, tmp_path):
    run, control = tiny.tiny_run(tmp_path, steps=100_000), Control()

    def hear(event):
        if event["event"] == "started":
            shutil.rmtree(run.path)
        elif event["event"] == "waiting":
            control.leave()

    with pytest.raises(OutputError, match="last checkpoint is whole"):
        run_finetune(run.path, hear, control)


@posix
def test_an_unexpected_error_is_not_hidden_by_a_folder_that_is_gone(tiny, tmp_path):
    run = tiny.tiny_run(tmp_path, steps=100_000)

    def hear(event):
        if event["event"] == "started":
            shutil.rmtree(run.path)
            raise ZeroDivisionError("what went wrong")

    with pytest.raises(ZeroDivisionError, match="what went wrong"):
        run_finetune(run.path, hear)
