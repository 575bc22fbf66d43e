"""Saving edits in the background: when, how much in one step, and what comes back after a fault."""

import errno
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_rwkv_seg.controllers import journal as journal_module
from napari_rwkv_seg.controllers import journal_copies
from napari_rwkv_seg.controllers.journal import (
    AFTER_EDITS,
    AFTER_S,
    COPY_BYTES,
    Journal,
    LayerJournal,
)
from napari_rwkv_seg.controllers.journal_folders import list_entries, read_entry, snapshots
from napari_rwkv_seg.controllers.journal_snapshot import Facts, pack


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Layer:
    """Labels, and what edits them as a window would."""

    def __init__(self, journal: Journal, labels: np.ndarray) -> None:
        self.data = labels
        self.journal: LayerJournal = journal.follow()
        self._owner = journal

    def facts(self) -> Facts:
        return Facts("cells", self.data.shape, self.data.dtype.str)

    def paint(self, box: tuple[slice, ...], label: int) -> None:
        self.journal.edited(box)  # told before the pixels change, as napari does
        self.data[box] = label

    def step(self) -> None:
        self.journal.step(self.data, self.facts)
        self._owner.wait()

    def save(self) -> None:
        """Go on until nothing is under way."""
        self.step()
        while self.journal.is_saving:
            self.step()
        self.step()  # hear how it ended

    def kept(self) -> np.ndarray:
        [entry] = list_entries(self._owner.home)
        return read_entry(entry)[1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Any:
    journal = Journal(tmp_path / "journal", clock)
    yield journal
    journal.close()


@pytest.fixture
def layer(journal: Journal) -> Layer:
    return Layer(journal, np.zeros((300, 500), dtype=np.int32))


BOX = (slice(10, 20), slice(250, 270))


def test_nothing_is_written_before_the_first_edit(layer, journal, clock):
    clock.now = 1000
    layer.journal.suspect()
    layer.save()

    assert not journal.home.exists()


def test_an_edit_is_saved_half_a_minute_later_and_not_before(layer, journal, clock):
    layer.paint(BOX, 7)
    clock.now = AFTER_S - 0.1
    layer.save()
    assert list_entries(journal.home) == []

    clock.now = AFTER_S
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)
    assert AFTER_S < 30


def test_edits_are_saved_when_there_are_many_however_fast(layer, journal):
    for _ in range(AFTER_EDITS - 1):
        layer.paint(BOX, 7)
    layer.save()
    assert list_entries(journal.home) == []

    layer.paint(BOX, 8)
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)
    assert list_entries(journal.home)[0].facts.edits == AFTER_EDITS <= 50


def test_the_clock_starts_at_the_first_edit_after_a_save_not_at_the_last(layer, clock):
    layer.paint(BOX, 7)
    for clock.now in range(1, 30):
        layer.paint(BOX, clock.now)
        layer.save()

    assert layer.kept().any()


def test_the_time_of_day_may_jump_without_delaying_a_save(layer, clock, monkeypatch):
    monkeypatch.setattr(journal_module.time, "time", lambda: -1e6)
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_a_large_layer_is_copied_a_few_megabytes_a_step(journal, clock, monkeypatch):
    layer = Layer(journal, np.ones((4096, 2048), dtype=np.int32))
    copied: list[int] = []
    original = journal_copies.Copies.keep

    def keep(self: Any, batch: Any) -> None:
        copied.append(sum(chunk.nbytes for _, chunk in batch))
        original(self, batch)

    monkeypatch.setattr(journal_copies.Copies, "keep", keep)
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.save()
    assert max(copied) <= COPY_BYTES
    assert sum(copied) == layer.data.nbytes

    copied.clear()
    layer.paint((slice(1000, 1010), slice(700, 800)), 9)
    clock.now += AFTER_S
    layer.save()

    assert copied == [2 * 256 * 256 * 4]  # the two chunks that the box touches
    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_a_worker_that_falls_behind_is_not_given_more_than_it_can_hold(journal, monkeypatch):
    monkeypatch.setattr(journal_module, "QUEUE_BYTES", 8 * 2**20)
    gate, given = threading.Event(), []

    def slow(chunk: np.ndarray) -> bytes:
        gate.wait(20)
        return pack(chunk)

    monkeypatch.setattr(journal_copies, "pack", slow)
    layer = Layer(journal, np.ones((4096, 2048), dtype=np.int32))
    for _ in range(AFTER_EDITS):
        layer.paint(BOX, 7)
    for _ in range(20):
        layer.journal.step(layer.data, layer.facts)
        given.append(sum(size for _, size in layer.journal._queue))
    gate.set()
    layer.save()

    assert max(given) <= 8 * 2**20 + COPY_BYTES
    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_what_is_painted_while_a_save_is_under_way_is_in_it(journal, clock):
    layer = Layer(journal, np.zeros((4096, 2048), dtype=np.int32))
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.step()
    assert layer.journal.is_saving
    layer.paint((slice(0, 4000), slice(3, 9)), 8)  # where it was copied, and where it was not
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_edits_before_every_step_do_not_keep_a_save_from_its_end(layer, clock, journal):
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.journal.step(layer.data, layer.facts)
    for label in range(8, 12):
        layer.paint(BOX, label)
        layer.journal.suspect()
        layer.step()

    assert layer.kept().any()
    clock.now += AFTER_S
    layer.save()
    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_suspicions_before_every_step_do_not_keep_the_save_of_a_large_layer_from_its_end(
    journal, clock
):
    layer = Layer(journal, np.zeros((4096, 2048), dtype=np.int32))
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    for _ in range(12):
        layer.data[-1, -1] += 1
        layer.journal.suspect()
        layer.step()
    assert layer.kept()[BOX].all()

    clock.now += AFTER_S
    layer.save()
    np.testing.assert_array_equal(layer.kept(), layer.data)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", ">u2"])
@pytest.mark.parametrize("shape", [(300, 500), (5, 280, 30), (2, 3, 40, 40)])
def test_after_random_edits_and_undo_the_journal_equals_the_layer(journal, clock, shape, dtype):
    rng = np.random.default_rng(42)
    layer = Layer(journal, rng.integers(0, 3, shape).astype(dtype))
    layer.journal.edited(None)
    for _ in range(12):
        for _ in range(rng.integers(1, 4)):
            before = layer.data.copy()
            starts = [int(rng.integers(0, length)) for length in shape]
            pairs = zip(starts, shape, strict=True)
            box = tuple(slice(at, int(rng.integers(at, n)) + 1) for at, n in pairs)
            layer.paint(box, int(rng.integers(0, 100)))
            if rng.random() < 0.2:
                layer.data[...] = before
                layer.journal.suspect()
            if rng.random() < 0.1:
                layer.data = np.roll(layer.data, 1, axis=-1)
                layer.journal.edited(None)
            if rng.random() < 0.3:
                layer.step()
        clock.now += AFTER_S
        layer.save()
        np.testing.assert_array_equal(layer.kept(), layer.data)
        assert layer.kept().dtype == np.dtype(dtype)


def test_new_data_of_another_shape_and_dtype_is_saved_whole(layer, clock):
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.save()
    layer.data = np.full((2, 30, 40), 9, dtype=np.uint8)
    layer.journal.edited(None)
    clock.now += AFTER_S
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)
    assert layer.kept().dtype == np.uint8


def test_a_box_that_reaches_over_the_border_or_has_other_axes_does_no_harm(layer, clock):
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.save()
    layer.journal.edited((slice(-5, 9), slice(400, 900)))
    layer.data[0, 450] = 8
    layer.journal.edited((slice(0, 1), slice(0, 9), slice(0, 9)))
    clock.now += AFTER_S
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_arrays_that_are_not_contiguous_or_not_writeable_are_saved(journal, clock):
    labels = np.arange(300 * 200).reshape(300, 200).astype(np.int32).T[::-1, ::2]
    labels.flags.writeable = False
    layer = Layer(journal, labels)
    layer.journal.edited(None)
    clock.now = AFTER_S
    layer.save()

    np.testing.assert_array_equal(layer.kept(), labels)


def test_two_copies_are_kept_and_older_ones_deleted(layer, journal, clock):
    for label in range(1, 6):
        layer.paint(BOX, label)
        clock.now += AFTER_S
        layer.save()

    [entry] = list_entries(journal.home)
    assert [path.name for path in snapshots(entry.folder)] == ["00000005.labels", "00000004.labels"]


def test_a_refresh_that_changed_no_pixel_writes_nothing(layer, journal, clock):
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.save()
    layer.journal.suspect()
    clock.now += AFTER_S
    layer.save()

    [entry] = list_entries(journal.home)
    assert len(snapshots(entry.folder)) == 1
    assert not layer.journal.is_busy


def fail_with(number: int) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        import os

        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def told(journal: Journal) -> list[str]:
    told: list[str] = []
    journal.problem_changed.connect(told.append)
    return told


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_n06_a_disk_that_fails_is_told_once_and_the_copy_before_stays(
    layer, journal, clock, told, monkeypatch, number
):
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.save()
    good = layer.kept()
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fail_with(number))
        for label in (8, 9, 10):
            layer.paint(BOX, label)
            clock.now += AFTER_S
            layer.save()
        np.testing.assert_array_equal(layer.kept(), good)
        assert len(told) == 1
        assert "not being saved in the background" in told[0]
        assert "Save Selected" in told[0]
    clock.now += AFTER_S
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)
    assert told[1:] == [""]
    assert [p.suffix for p in journal.home.rglob("*.tmp")] == []


def test_n06_a_disk_that_is_nearly_full_is_left_alone(layer, journal, clock, told, monkeypatch):
    usage = type("Usage", (), {"free": 150_000_000})
    monkeypatch.setattr(journal_copies.shutil, "disk_usage", lambda _: usage)
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.save()

    assert "only 150 MB are free" in told[0]
    assert list_entries(journal.home) == []


def test_d02_a_folder_that_cannot_be_made_is_told(tmp_path, clock):
    (tmp_path / "file").write_text("not a folder")
    journal = Journal(tmp_path / "file" / "journal", clock)
    layer = Layer(journal, np.zeros((30, 40), dtype=np.int32))
    layer.paint((slice(0, 2), slice(0, 2)), 7)
    clock.now = AFTER_S
    layer.save()
    layer.paint((slice(0, 2), slice(0, 2)), 8)

    assert "not being saved" in journal.problem
    journal.close()


def test_too_little_memory_to_compress_is_told_and_made_good(layer, clock, told, monkeypatch):
    def fail(chunk: np.ndarray) -> bytes:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(journal_copies, "pack", fail)
        layer.paint(BOX, 7)
        clock.now = AFTER_S
        layer.save()
    assert "not enough memory" in told[0]
    clock.now += AFTER_S
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)
    assert told[-1] == ""


def test_a_folder_that_was_deleted_meanwhile_is_made_anew(layer, journal, clock):
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.save()
    shutil.rmtree(journal.home)
    layer.paint(BOX, 8)
    clock.now += AFTER_S
    layer.save()

    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_what_is_left_is_saved_at_once_when_a_layer_goes(layer, journal):
    layer.paint(BOX, 7)
    layer.journal.flush(layer.data, layer.facts)
    layer.journal.end()
    journal.wait()

    [entry] = list_entries(journal.home)
    assert entry.has_ended
    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_a_layer_that_is_taken_out_is_saved_without_anyone_waiting(journal, clock, monkeypatch):
    layer = Layer(journal, np.zeros((4096, 2048), dtype=np.int32))
    layer.paint(BOX, 7)
    clock.now = AFTER_S
    layer.step()
    assert layer.journal.is_saving
    layer.paint((slice(4000, 4096), slice(0, 99)), 8)
    monkeypatch.setattr(journal_module, "wait", None)
    layer.journal.leave(layer.data, layer.facts)
    layer.journal.end()
    monkeypatch.undo()
    journal.wait()

    assert list_entries(journal.home)[0].has_ended
    np.testing.assert_array_equal(layer.kept(), layer.data)


def test_a_layer_without_edits_is_taken_out_without_a_trace(layer, journal):
    layer.journal.leave(layer.data, layer.facts)
    layer.journal.end()
    journal.wait()

    assert list_entries(journal.home) == []


def test_an_edit_after_the_end_takes_the_end_back(layer, journal, clock):
    layer.paint(BOX, 7)
    layer.journal.flush(layer.data, layer.facts)
    layer.journal.end()
    layer.paint(BOX, 8)
    clock.now = AFTER_S
    layer.save()

    assert not list_entries(journal.home)[0].has_ended


def test_a_journal_that_is_closed_has_no_thread_left_and_may_be_closed_again(journal, layer):
    before = set(threading.enumerate())  # of other tests in this process
    layer.paint(BOX, 7)
    layer.journal.flush(layer.data, layer.facts)
    journal.close()
    deadline = time.monotonic() + 20
    names = ["journal"]
    while names and time.monotonic() < deadline:
        new = set(threading.enumerate()) - before
        names = [thread.name for thread in new if "napari-rwkv-seg journal" in thread.name]

    assert names == []
    journal.close()
    assert list_entries(journal.home)[0].has_ended


END_WITHOUT_CLOSING = """
import os, signal, sys
import numpy as np
from napari_rwkv_seg.controllers.journal import Journal
from napari_rwkv_seg.controllers.journal_snapshot import Facts
journal = Journal()
layer = journal.follow()
labels = np.ones((30, 40), dtype=np.int32)
layer.edited(None)
layer.flush(labels, lambda: Facts("cells", labels.shape, labels.dtype.str))
journal.wait()
if sys.argv[1] != "by itself":
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
"""


@pytest.mark.parametrize("end", ["by itself", "SIGTERM", "SIGKILL"])
def test_a_script_that_ends_by_itself_is_no_crash_and_one_that_is_ended_is(user_data, end):
    subprocess.run([sys.executable, "-c", END_WITHOUT_CLOSING, end], check=False, timeout=60)

    [entry] = list_entries(user_data / "journal")
    assert not entry.is_alive
    assert entry.is_lost == (end != "by itself")
