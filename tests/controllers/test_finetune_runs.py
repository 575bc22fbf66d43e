"""Run folders: which were interrupted, and what becomes of them and of their models."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import platformdirs
import pytest
import tifffile

from napari_rwkv_seg.controllers import finetune_runs
from napari_rwkv_seg.controllers.finetune_differences import Difference, read_differences
from napari_rwkv_seg.controllers.finetune_pairs import Checked
from napari_rwkv_seg.controllers.finetune_runs import (
    SnapshotSource,
    adopt_model,
    command_line,
    decline_model,
    discard_run,
    find_runs,
    suggested_title,
)
from napari_rwkv_seg.controllers.finetune_sentences import interrupted_line
from napari_rwkv_seg.controllers.finetune_work import prepare
from napari_rwkv_seg.errors import OutputError, RunError
from napari_rwkv_seg.training.run_folder import RunFolder, locked
from napari_rwkv_seg.zoo.store import find_model, user_folder

from .finetuning import ArrayPair, make_controller, make_entry


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """Keep the user's own models out of the tests."""
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path / "data")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def run(home):
    """Return a run that was prepared and not begun."""
    return prepare(make_controller(home).begin())


def finish(run, **facts):
    (run / "result.json").write_text(json.dumps(facts))
    entry = make_entry("bright-tuned")
    from napari_rwkv_seg.zoo.card import write_card

    (run / "model").mkdir()
    write_card(run / "model", entry.card)
    (run / "model" / "weights.safetensors").write_bytes(b"none")


def test_a_run_without_a_result_was_interrupted(run, home):
    (run / "events.jsonl").write_text('{"event": "step", "step": 140, "loss": 1}\n')

    interrupted, finished = find_runs(home)

    assert [(one.name, one.steps, one.pairs) for one in interrupted] == [("bright-tuned", 140, 1)]
    assert finished == []


def test_a_run_on_which_a_process_works_is_not_offered(run, home):
    with locked(RunFolder(run)):
        assert find_runs(home) == ([], [])


def test_a_finished_run_waits_until_its_model_is_used_or_declined(run, home):
    finish(run)

    ((waiting,), (finished,)) = find_runs(home)
    assert waiting == finished
    assert waiting.is_undecided
    assert "neither in use nor declined" in interrupted_line(waiting)

    decline_model(run)
    assert find_runs(home) == ([], [replace(finished, is_undecided=False)])


def test_a_run_whose_model_is_in_use_waits_for_nothing(run, home):
    finish(run)
    adopt_model(run, "Mine")

    waiting, (finished,) = find_runs(home)
    assert (waiting, finished.accepted) == ([], True)
    assert json.loads((run / "decision.json").read_text()) == {"model": "Mine"}


def test_a_finished_run_on_which_its_process_still_works_does_not_wait(run, home):
    finish(run)

    with locked(RunFolder(run)):
        assert find_runs(home)[0] == []


def test_a_decision_that_cannot_be_noted_is_asked_for_again(run, home):
    finish(run)
    (run / "decision.json").mkdir()

    decline_model(run)

    ((waiting,), _) = find_runs(home)
    assert waiting.is_undecided


def test_a_folder_that_is_no_run_is_passed_over(home):
    (home / "something").mkdir(parents=True)
    (home / "torn").mkdir()
    (home / "torn" / "run.toml").write_text("[")

    assert find_runs(home) == ([], [])
    assert find_runs(home / "missing") == ([], [])


def test_a_discarded_run_is_gone(run, home):
    discard_run(run)
    discard_run(run)  # twice does no harm

    assert list(home.iterdir()) == []


def test_a_run_on_which_a_process_works_is_not_discarded(run):
    files = sorted(run.rglob("*"))

    with (
        locked(RunFolder(run)),
        pytest.raises(RunError, match=r"under way in another process; stop it there"),
    ):
        discard_run(run)

    assert sorted(run.rglob("*")) == files


def test_a_run_that_another_window_just_lists_is_discarded(run):
    with ThreadPoolExecutor(1) as pool:
        with locked(RunFolder(run)):
            discarded = pool.submit(discard_run, run)
            time.sleep(0.2)
        discarded.result()

    assert not run.exists()


def test_what_is_left_of_a_run_that_cannot_be_removed_is_no_run(run, home, monkeypatch):
    monkeypatch.setattr(finetune_runs.shutil, "rmtree", lambda *_, **__: None)

    discard_run(run)

    assert find_runs(home) == ([], [])


def test_a_model_is_put_among_the_users_models_under_the_name_that_the_user_gives(run):
    finish(run)

    name = adopt_model(run, "My nuclei, round 1")

    assert name == "My-nuclei-round-1"
    entry = find_model(name)
    assert entry.folder == user_folder() / name
    assert entry.card.title == "My nuclei, round 1"
    assert (run / "model" / "model.toml").is_file()  # the run stays whole


def test_a_name_that_is_taken_is_refused_and_nothing_is_overwritten(run):
    finish(run)
    adopt_model(run, "mine")

    with pytest.raises(OutputError, match="already"):
        adopt_model(run, "Mine")

    assert [one.name for one in user_folder().iterdir()] == ["mine"]


def test_the_suggested_name_is_free(run):
    finish(run)
    assert suggested_title(run) == "bright-tuned"

    adopt_model(run, "bright-tuned")

    assert suggested_title(run) == "bright-tuned-2"


def test_a_run_without_a_model_gives_none(run):
    with pytest.raises(RunError, match="no model"):
        adopt_model(run, "mine")
    assert not user_folder().exists()


def test_the_pairs_of_a_run_are_read_as_they_were_kept(run, home):
    ((kept,), _) = find_runs(home)

    (pair,) = SnapshotSource(kept).planes(Checked(), copied=True)()

    assert int(pair.labels.sum()) == 1900
    assert pair.checked.all()


def test_a_snapshot_that_was_changed_is_refused(run, home):
    ((kept,), _) = find_runs(home)
    tifffile.imwrite(run / "snapshot" / "000_labels.tif", np.zeros((64, 200), dtype=np.int32))

    with pytest.raises(RunError, match="changed"):
        list(SnapshotSource(kept).planes(Checked(), copied=True)())


def test_differences_are_read_with_their_image(run):
    (run / "held_out").mkdir()
    changes = np.zeros((64, 200), dtype=np.uint8)
    changes[1, 2] = 2
    tifffile.imwrite(run / "held_out" / "000_difference.tif", changes)

    (found,) = read_differences(run, 8)

    assert found.number == 0
    assert found.image.shape == (64, 200)
    np.testing.assert_array_equal(found.changes, changes)


@pytest.mark.parametrize(
    ("name", "group", "plane"),
    [
        ("cells", "cells 0123abcd", ()),
        ("cells 3", "cells 3 0123abcd", ()),
        ("cells, plane 3", "cells, plane 3 0123abcd", ()),
        ("cells, plane 3", "cells 0123abcd", (3,)),
        ("cells, plane 1/12", "cells 0123abcd", (1, 12)),
        ("cells 3.tif", "", ()),
        ("cells.tif 3", "cells.tif", (3,)),
        ("cells.tif [1, 12]", "cells.tif", (1, 12)),
    ],
)
def test_the_name_and_the_group_of_a_pair_tell_its_plane(name, group, plane):
    assert Difference(0, name, None, np.zeros((2, 2), np.uint8), group).plane == plane


class Series(ArrayPair):
    """A pair of four planes."""

    def planes(self, checked, *, copied):
        (flat,) = super().planes(checked, copied=copied)()
        return lambda: iter([replace(flat, name=f"s {place}", group="s") for place in range(4)])


def test_all_planes_of_an_open_stack_count_as_one_layer_and_bring_no_image(home):
    run = prepare(make_controller(home, "good", Series()).begin())
    (run / "held_out").mkdir()
    for number in range(4):
        changes = np.full((64, 200), number, dtype=np.uint8)
        tifffile.imwrite(run / "held_out" / f"{number:03d}_difference.tif", changes)

    of_open = read_differences(run, 2, {0: "mine", 1: "mine", 3: "mine"})
    of_closed = read_differences(run, 2)

    assert [(one.number, one.image is None) for one in of_open] == [
        *((0, True), (1, True), (2, False), (3, True)),
    ]
    assert [one.number for one in of_closed] == [0, 1]
    by_group = read_differences(run, 1, {"s": "mine"})
    assert [one.number for one in by_group] == [0, 1, 2, 3]


def test_the_command_names_the_run_file_and_is_joined_for_this_system(tmp_path, monkeypatch):
    monkeypatch.setattr(finetune_runs, "joined", list)

    assert command_line(tmp_path / "my run") == [
        *("napari-rwkv-seg", "finetune"),
        str(tmp_path / "my run" / "run.toml"),
    ]
