"""Whose copies lie where: live ones are left alone, lost ones found, old ones put away."""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from napari_rwkv_seg.controllers import journal_folders, journal_process
from napari_rwkv_seg.controllers.journal_folders import (
    KEEP_DAYS,
    KEEP_LOST_DAYS,
    Entry,
    discard,
    find_entry,
    list_entries,
    make_layer_folder,
    mark_ended,
    read_entry,
    snapshots,
    tidy,
)
from napari_rwkv_seg.controllers.journal_process import PROCESS_FILE, is_alive, sign
from napari_rwkv_seg.controllers.journal_recovery import (
    Recovery,
    discard_question,
    offer_line,
    restored_name,
)
from napari_rwkv_seg.controllers.journal_snapshot import Facts, pack, write_snapshot
from napari_rwkv_seg.errors import UnreadableFileError

DAY = 86_400.0
LABELS = np.arange(12, dtype=np.int32).reshape(3, 4)


def write(folder: Path, number: int = 1, name: str = "cells", age_days: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    facts = Facts(name, (3, 4), "<i4", saved_at=time.time() - age_days * DAY, edits=183)
    path = folder / f"{number:08}.labels"
    write_snapshot(path, facts, {(0, 0): pack(LABELS + number)})
    return path


def lost(home: Path, process: str = "4711-1", layer: str = "1", **facts: object) -> Path:
    """Write the copy of a process that ended long ago."""
    folder = home / process / layer
    write(folder, **facts)
    about = {"pid": 2**22 + 1, "start": "never", "host": journal_process.platform.node()}
    (folder.parent / PROCESS_FILE).write_text(json.dumps(about))
    return folder


def ids(home: Path) -> list[str]:
    return [entry.id for entry in list_entries(home)]


def test_a_home_that_is_not_there_holds_nothing(tmp_path):
    assert list_entries(tmp_path / "nothing") == []
    tidy(tmp_path / "nothing")


def test_every_layer_of_a_process_has_a_folder_of_its_own_for_its_owner_alone(tmp_path):
    first, second = make_layer_folder(tmp_path), make_layer_folder(tmp_path)

    assert first != second
    assert first.parent == second.parent
    if os.name == "posix":
        assert first.parent.stat().st_mode & 0o077 == 0


def test_n11_what_this_process_writes_is_alive_and_what_a_dead_one_wrote_is_lost(tmp_path):
    write(make_layer_folder(tmp_path))
    lost(tmp_path)

    states = {entry.id: entry.is_lost for entry in list_entries(tmp_path)}

    assert states.pop("4711-1-1") is True
    assert list(states.values()) == [False]


MAKE_AND_WAIT = """
import sys
from pathlib import Path
from napari_rwkv_seg.controllers.journal_folders import make_layer_folder
print(make_layer_folder(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_another_process_is_alive_until_it_is_killed_even_before_it_is_buried(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE_AND_WAIT, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        folder = Path(process.stdout.readline().strip())
        assert is_alive(folder.parent)
        process.kill()
        deadline = time.monotonic() + 20
        while is_alive(folder.parent) and time.monotonic() < deadline:
            time.sleep(0.01)  # not waited for yet: a zombie
        assert not is_alive(folder.parent)
    assert not is_alive(folder.parent)


def test_a_recycled_process_number_is_not_taken_for_alive(tmp_path):
    sign(tmp_path)
    about = json.loads((tmp_path / PROCESS_FILE).read_text())
    assert is_alive(tmp_path)

    (tmp_path / PROCESS_FILE).write_text(json.dumps({**about, "start": "some other time"}))

    assert about["pid"] == os.getpid()
    assert not is_alive(tmp_path)


@pytest.mark.parametrize("has_proc", [True, False])
def test_a_clock_that_was_set_does_not_make_a_living_process_dead(tmp_path, monkeypatch, has_proc):
    import psutil

    if not has_proc:  # as on macOS, where `create_time` follows the clock, too
        monkeypatch.setattr(Path, "read_bytes", Mock(side_effect=FileNotFoundError))
    sign(tmp_path)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 12.0)

    assert is_alive(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}', "\0" * 20_000])
def test_a_damaged_process_file_means_that_the_process_is_gone(tmp_path, text):
    (tmp_path / PROCESS_FILE).write_text(text)

    assert not is_alive(tmp_path)


def test_d07_what_another_machine_writes_is_left_alone_for_a_day(tmp_path):
    folder = lost(tmp_path)
    about = {"pid": 1, "start": "x", "host": "another machine"}
    (folder.parent / PROCESS_FILE).write_text(json.dumps(about))
    assert is_alive(folder.parent)

    yesterday = time.time() - 1.1 * DAY
    os.utime(folder / "00000001.labels", (yesterday, yesterday))

    assert not is_alive(folder.parent)


def test_entries_are_listed_with_the_newest_first_and_found_by_id(tmp_path):
    lost(tmp_path, "1-1", "1", name="old", age_days=2)
    lost(tmp_path, "2-1", "1", name="new")
    lost(tmp_path, "2-1", "2", name="middle", age_days=1)

    assert [entry.facts.name for entry in list_entries(tmp_path)] == ["new", "middle", "old"]
    assert find_entry(tmp_path, "2-1-2").facts.name == "middle"
    with pytest.raises(UnreadableFileError, match="journal list"):
        find_entry(tmp_path, "9-9-9")


def test_n02_when_the_newest_copy_is_damaged_the_one_before_is_given(tmp_path):
    folder = lost(tmp_path)
    newest = write(folder, 2)
    content = newest.read_bytes()
    rng = random.Random(42)
    for place in [0, 9, 20, len(content) - 1, *rng.sample(range(len(content)), 30)]:
        newest.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
        facts, labels, note = read_entry(list_entries(tmp_path)[0])
        np.testing.assert_array_equal(labels, LABELS + 1)
        assert "damaged" in note

    newest.write_bytes(content)
    facts, labels, note = read_entry(list_entries(tmp_path)[0])
    np.testing.assert_array_equal(labels, LABELS + 2)
    assert (facts.name, note) == ("cells", "")


def test_n02_when_no_copy_is_whole_that_is_said(tmp_path):
    folder = lost(tmp_path)
    content = (folder / "00000001.labels").read_bytes()
    (folder / "00000001.labels").write_bytes(content[:-40])

    with pytest.raises(UnreadableFileError, match="damaged"):
        read_entry(list_entries(tmp_path)[0])


def test_foreign_files_and_folders_are_neither_listed_nor_deleted(tmp_path):
    folder = lost(tmp_path)
    foreign = [tmp_path / "notes" / "1" / "00000001.labels", folder / "mine.txt", tmp_path / "a"]
    foreign += [folder / "more" / "ended", folder.parent / "2" / "00000001.labels"]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    assert ids(tmp_path) == ["4711-1-1"]

    discard(list_entries(tmp_path)[0])
    tidy(tmp_path)

    assert [path for path in foreign if not path.exists()] == []
    assert ids(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_to_elsewhere_is_not_followed(tmp_path):
    folder = lost(tmp_path / "elsewhere")
    home = tmp_path / "home"
    home.mkdir()
    (home / "4711-1").symlink_to(folder.parent)

    assert list_entries(home) == []
    tidy(home)
    assert snapshots(folder) != []


def test_discarding_the_last_layer_leaves_nothing(tmp_path):
    lost(tmp_path, layer="1")
    lost(tmp_path, layer="2")
    first, second = list_entries(tmp_path)

    discard(first)
    assert ids(tmp_path) == [second.id]
    discard(second)

    assert list(tmp_path.iterdir()) == []


def test_n04_what_was_closed_is_kept_for_two_weeks_and_then_deleted(tmp_path):
    mark_ended(lost(tmp_path, "1-1", age_days=KEEP_DAYS - 0.1))
    mark_ended(lost(tmp_path, "2-1", age_days=KEEP_DAYS + 0.1))

    tidy(tmp_path)

    assert ids(tmp_path) == ["1-1-1"]
    assert KEEP_DAYS >= 14


def test_n04_what_was_lost_is_kept_for_longer(tmp_path):
    lost(tmp_path, "1-1")
    lost(tmp_path, "2-1", age_days=KEEP_LOST_DAYS - 0.1)
    lost(tmp_path, "3-1", age_days=KEEP_LOST_DAYS + 0.1)

    tidy(tmp_path)

    assert ids(tmp_path) == ["1-1-1", "2-1-1"]


def test_n04_the_newest_of_what_was_lost_is_kept_however_old(tmp_path):
    lost(tmp_path, "1-1", age_days=900)
    lost(tmp_path, "2-1", age_days=400)
    mark_ended(lost(tmp_path, "3-1", age_days=300))

    tidy(tmp_path)

    assert ids(tmp_path) == ["2-1-1"]


def test_more_than_the_limit_is_deleted_closed_before_lost_and_old_before_new(
    tmp_path, monkeypatch
):
    for number in range(1, 4):
        lost(tmp_path, f"{number}-1", age_days=number)
        mark_ended(lost(tmp_path, f"{number}-2", age_days=number))
    size = list_entries(tmp_path)[0].size

    # half a copy to spare: the time in it takes a digit more or less
    monkeypatch.setattr(journal_folders, "KEEP_BYTES", int(5.5 * size))
    tidy(tmp_path)
    assert set(ids(tmp_path)) == {"1-1-1", "2-1-1", "3-1-1", "1-2-1", "2-2-1"}

    monkeypatch.setattr(journal_folders, "KEEP_BYTES", 0)
    tidy(tmp_path)
    assert ids(tmp_path) == ["1-1-1"]


def test_what_a_running_napari_writes_is_never_put_away(tmp_path, monkeypatch):
    folder = make_layer_folder(tmp_path)
    write(folder, age_days=900)
    mark_ended(folder)
    empty = make_layer_folder(tmp_path)
    monkeypatch.setattr(journal_folders, "KEEP_BYTES", 0)

    tidy(tmp_path)

    assert snapshots(folder) != []
    assert empty.is_dir()


def test_d06_strays_of_a_dead_process_are_swept_and_those_of_a_newborn_are_not(tmp_path):
    for name, age in (("1-1", 7_200.0), ("2-1", 60.0)):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / ".00000001.labels.00ff.tmp").write_bytes(b"torn")
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))

    tidy(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["2-1"]


ENTRY = Entry(
    Path("4711-1") / "1", Facts("cells · Nuclei", (3, 4), "<i4", 1e9, 183), 10, False, False
)


def test_an_offer_says_what_when_and_how_much():
    line = offer_line(ENTRY, now=1e9 + 60)

    assert line.startswith("Labels 'cells · Nuclei' of ")
    assert line.endswith("(183 edits)")
    assert "2001-09" not in line
    assert "2001-09" in offer_line(ENTRY, now=1e9 + 3 * DAY)
    assert "labels 'cells · Nuclei'" in discard_question(ENTRY)


@pytest.mark.parametrize("saved_at", [-1e20, 1e20, float("nan"), float("inf")])
def test_an_offer_survives_a_clock_that_was_never_right(saved_at):
    entry = replace(ENTRY, facts=replace(ENTRY.facts, saved_at=saved_at))

    assert "an unknown time" in offer_line(entry)


def test_a_very_long_name_of_several_lines_becomes_one_short_line():
    entry = replace(ENTRY, facts=replace(ENTRY.facts, name="a\nb " * 500))

    assert "\n" not in offer_line(entry)
    assert len(offer_line(entry)) < 120


def test_a_layer_that_was_restored_twice_has_the_word_once():
    entry = replace(ENTRY, facts=replace(ENTRY.facts, name="cells (restored)"))

    assert restored_name(ENTRY) == "cells · Nuclei (restored)"
    assert restored_name(entry) == "cells (restored)"


def test_an_offer_that_was_settled_is_gone_and_told_once(tmp_path):
    folder = lost(tmp_path)
    recovery, told = Recovery(), []
    recovery.changed.connect(lambda: told.append(recovery.entries))
    recovery.offer(list_entries(tmp_path))
    [entry] = recovery.entries

    recovery.settle(entry)
    recovery.settle(entry)

    assert told == [(entry,), ()]
    assert folder.is_dir()
    recovery.offer([entry])
    recovery.discard(entry)
    assert not folder.exists()
