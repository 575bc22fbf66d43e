"""Models without a window: the list, what is done at once, and jobs in a process of their own."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from napari_rwkv_seg.controllers.models import ModelsController, made_folder
from napari_rwkv_seg.controllers.models_jobs import (
    Arrived,
    JobEnd,
    ModelJob,
    Wish,
    empty_trash_wish,
    export_wish,
    import_wish,
)
from napari_rwkv_seg.controllers.models_rows import (
    COLUMNS,
    card_of,
    key_of,
    list_offers,
    list_rows,
    offer_text,
    row_of,
)
from napari_rwkv_seg.controllers.models_sentences import end_line, job_line, refusal
from napari_rwkv_seg.errors import OutputError, SettingsError
from napari_rwkv_seg.zoo import pretrained
from napari_rwkv_seg.zoo.encoders import find_encoder
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, read_entry

from .model_folders import SHIPPED, hostile_zip, put_broken, put_encoder, put_model

FAKE = Path(__file__).parents[1] / "fake_models_worker.py"


def fake(mode: str) -> list[str]:
    return [sys.executable, str(FAKE), mode]


def driven(job: ModelJob) -> tuple[list[Arrived], JobEnd]:
    """Drive a job as a worker thread does; return its progress and how it ended."""
    steps, heard = job.steps(), []
    while True:
        try:
            heard.append(next(steps))
        except StopIteration as stop:
            return heard, stop.value


@pytest.fixture
def controller() -> ModelsController:
    controller = ModelsController()
    controller.refresh()
    return controller


def test_the_list_has_shipped_models_own_ones_and_encoders(user_data):
    put_model(user_data, "cells", parent="nuclei", test_scores={"Dice": 0.9, "IoU": 0.8})
    put_encoder(user_data, "vr")
    rows = {row.entry.name: row for row in list_rows()}
    assert {name: row.kind for name, row in rows.items()} == {
        **dict.fromkeys(SHIPPED, "shipped"),
        "cells": "yours",
        "vr": "encoder",
    }
    cells = dict(zip(COLUMNS, rows["cells"].cells, strict=True))
    assert cells["Classes"] == "cell"
    assert cells["Parent"] == "nuclei"
    assert cells["Test scores"] == "Dice 0.9, IoU 0.8"
    assert rows["cells"].nbytes == sum(
        each.stat().st_size for each in (user_data / "models" / "cells").iterdir()
    )


def test_sizes_and_scores_are_sorted_as_numbers(user_data):
    row = row_of(read_entry(put_model(user_data, "a", test_scores={"Dice": 0.5})))
    keys = dict(zip(COLUMNS, replace(row, nbytes=9_000_000).sort_keys, strict=True))
    assert keys["Size"] == 9e6
    assert keys["Test scores"] == 0.5


def test_a_broken_folder_is_listed_with_its_reason_and_can_only_be_looked_at_or_deleted(user_data):
    row = row_of(read_entry(put_broken(user_data, "torn")))
    assert row.cells[COLUMNS.index("Purpose")].startswith("Cannot be used: The card ")
    allowed = {
        action
        for action in ("use", "export", "reveal", "rename", "note", "delete")
        if not refusal(action, row)
    }
    assert allowed == {"reveal", "delete"}
    assert dict(card_of(row)[0])["Problem"].startswith("The card")


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("shipped", {"use", "export", "reveal"}),
        ("encoder", {"export", "reveal", "rename", "delete"}),
    ],
)
def test_what_can_be_done_depends_on_where_it_is_from(kind, allowed, user_data):
    put_encoder(user_data, "vr")
    row = next(row for row in list_rows() if row.kind == kind)
    actions = ("use", "export", "reveal", "rename", "note", "delete")
    assert {action for action in actions if not refusal(action, row)} == allowed


def test_the_card_has_all_facts_and_the_page_without_what_disturbs(user_data):
    put_model(user_data, "cells", page="# Cells\n\x1b[31m\u202ered", note="mine")
    row = next(row for row in list_rows() if row.entry.name == "cells")
    facts, page = card_of(row)
    assert dict(facts)["Note"] == "mine"
    assert page == "# Cells\n[31mred"


def test_another_dock_knows_a_model_by_its_folder_if_its_name_is_taken(user_data):
    put_model(user_data, DEFAULT_MODEL)
    rows = [row for row in list_rows() if row.entry.name == DEFAULT_MODEL]
    assert [key_of(row, rows) for row in rows] == [DEFAULT_MODEL, rows[1].key]


def test_the_list_is_told_of_once_for_each_change(controller, user_data):
    told = []
    controller.listed.connect(lambda: told.append(len(controller.rows)))
    controller.refresh()
    folder = put_model(user_data, "cells")
    controller.refresh()
    controller.refresh()
    (folder / "README.md").unlink()
    assert told == [1 + len(SHIPPED)]


def test_a_model_is_renamed_deleted_and_taken_back(controller, user_data):
    put_model(user_data, "cells")
    controller.refresh()
    key = controller.rename(str(user_data / "models" / "cells"), "mine")
    controller.set_note(key, "good")
    assert controller.row(key).entry.card.note == "good"
    controller.delete(key)
    assert controller.row(key) is None
    assert controller.restore(controller.undoable) == key
    assert controller.undoable is None
    with pytest.raises(OutputError, match="already"):
        controller.rename(key, DEFAULT_MODEL)


def test_a_folder_that_vanished_leaves_the_list(controller, user_data):
    folder = put_model(user_data, "cells")
    controller.refresh()
    folder.rename(folder.with_name(".gone"))
    controller.refresh()
    assert controller.row(str(folder)) is None


# Jobs


def test_a_job_tells_progress_and_its_result_whatever_else_is_on_the_line():
    heard, end = driven(ModelJob(empty_trash_wish(), fake("babble")))
    assert heard == [Arrived(5, 10)]
    assert end.result == {"count": 7, "left": 1}
    assert end_line(end) == "Deleted for good: 7. 1 could not be deleted."


def test_a_process_that_dies_is_told_as_a_sentence():
    _, end = driven(ModelJob(empty_trash_wish(), fake("die")))
    assert "ended unexpectedly (exit code 3)" in end.sentence


@pytest.mark.parametrize("mode", ["wait", "deaf"])
def test_a_cancelled_job_leaves_no_process_and_is_no_failure(mode, monkeypatch):
    monkeypatch.setattr("napari_rwkv_seg.controllers.models_jobs.LEAVE_S", 0.3)
    job = ModelJob(Wish("Fetching 'x'", {"do": "get", "name": "x"}), fake(mode))
    steps = job.steps()
    assert next(steps) == Arrived(1_500_000, 3_000_000)
    job.leave()
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert job._process.poll() is not None
    assert (stop.value.value.result, stop.value.value.sentence) == ({}, "")
    assert "the next download goes on from there" in end_line(stop.value.value)


def test_a_job_that_nobody_drives_is_ended_with_its_controller(monkeypatch):
    monkeypatch.setattr("napari_rwkv_seg.controllers.models_jobs.LEAVE_S", 0.3)
    controller = ModelsController(fake("deaf"))
    job = controller.begin(empty_trash_wish())
    ends = []
    controller.ended.connect(ends.append)
    with pytest.raises(SettingsError, match="still under way"):
        controller.begin(empty_trash_wish())
    controller.cancel()
    controller.finish(None)
    assert job._process.poll() is not None
    assert [each.result for each in ends] == [{}]
    assert not controller.is_busy


def test_a_worker_that_is_not_there_is_told():
    with pytest.raises(SettingsError, match="cannot be started"):
        ModelsController(["no such program"]).begin(empty_trash_wish())


def test_a_model_goes_out_and_comes_in_through_the_real_worker(user_data, tmp_path, controller):
    folder = put_model(user_data, "cells")
    for wish in (export_wish(folder, tmp_path, "zip"), import_wish(tmp_path / "cells.zip")):
        _, end = driven(controller.begin(wish))
        controller.finish(end)
        assert end.sentence == ""
    assert made_folder(end) == user_data / "models" / "cells_2"
    assert controller.row(str(made_folder(end))) is not None


def test_a_zip_that_would_leave_its_folder_is_refused_by_the_real_worker(tmp_path, user_data):
    job = ModelJob(import_wish(hostile_zip(tmp_path / "bad.zip")))
    _, end = driven(job)
    assert "bad.zip" in end.sentence
    assert list(tmp_path.rglob("escaped.txt")) == []
    assert list((user_data / "models").glob("*")) == []


# What can be fetched


def test_an_offer_tells_size_licence_citation_address_and_hash(user_data, monkeypatch):
    offers = {each.pretrained.name: each for each in list_offers()}
    text = offer_text(offers["vrwkv_s_in1k"], "https://mirror.example.org/")
    for part in ("95.4 MB", "Apache-2.0", "Duan et al.", "https://mirror.example.org/OpenGVLab"):
        assert part in text
    assert "SHA-256: 956cd268" in text
    assert "not stated by its authors" in offer_text(offers["vrwkv_t_in1k"], "")


def test_an_unfinished_download_is_seen(user_data):
    part = user_data / "encoders" / ".downloads" / "vrwkv_t_in1k.pth.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1_200_000))
    put_encoder(user_data, "vrwkv_s_in1k")
    states = {each.pretrained.name: each.state for each in list_offers()}
    assert states["vrwkv_t_in1k"] == "1.2 MB here"
    assert states["vrwkv_s_in1k"] == "here"
    assert states["vrwkv_b_in1k"] == "not fetched"
    assert set(states) == {each.name for each in pretrained.PRETRAINED}
    assert find_encoder("vrwkv_s_in1k").card.variant == "S"


@pytest.mark.parametrize(
    ("arrived", "line"),
    [
        (None, "X …"),
        (Arrived(2_500_000, 0), "X: 2.5 MB"),
        (Arrived(2_500_000, 5_000_000), "X: 2.5 of 5.0 MB"),
        (Arrived(5_000_000, 5_000_000), "X: all is here; checking it …"),
    ],
)
def test_progress_is_told_in_megabytes(arrived, line):
    assert job_line(Wish("X", {"do": "get"}), arrived) == line
