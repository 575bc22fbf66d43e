"""A run from the button to the new model, with a trainer that only pretends to train."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_pairs import PairRow
from napari_rwkv_seg.controllers.finetune_process import TrainerProcess
from napari_rwkv_seg.controllers.finetune_story import Ended
from napari_rwkv_seg.controllers.finetune_work import attempt, plan, prepare
from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.training.run_folder import RunFolder, read_snapshot

from .finetuning import ArrayPair, fake_command, make_controller, make_entry, poll_until, start


@pytest.fixture
def ends():
    return []


def watched(controller: FinetuneController, ends: list[Ended]) -> FinetuneController:
    controller.ended.connect(ends.append)
    return controller


def test_a_run_that_is_stopped_keeps_its_best_and_tells_its_scores(tmp_path, ends, children):
    controller = watched(make_controller(tmp_path), ends)

    start(controller)
    poll_until(controller, lambda: controller.story.step > 5)
    controller.stop()
    poll_until(controller, lambda: bool(ends))

    assert ends[0].how == "finished"
    assert ends[0].result["after"]["mean"] == 0.8
    assert controller.state == "ended"
    assert controller.story.base == 0.7
    assert children() == []


@pytest.mark.skipif(os.name == "nt", reason="Windows renames no folder with an open file in it")
def test_a_run_whose_folder_is_renamed_says_so_until_it_is_back(tmp_path, ends):
    controller = watched(make_controller(tmp_path), ends)
    start(controller)
    poll_until(controller, lambda: controller.story.step > 0)
    assert controller.story.away == ""
    folder, moved = controller.folder, tmp_path / "moved"

    folder.rename(moved)
    poll_until(controller, lambda: controller.story.away)
    assert str(folder) in controller.story.away
    assert "Bring it back" in controller.story.away

    moved.rename(folder)
    poll_until(controller, lambda: not controller.story.away)
    controller.stop()
    poll_until(controller, lambda: bool(ends))
    assert ends[0].how == "finished"


def test_a_second_and_a_third_run_need_no_new_controller(tmp_path, ends):
    controller = watched(make_controller(tmp_path), ends)

    for number in range(1, 4):
        start(controller)
        poll_until(controller, lambda: controller.story.step > 0)
        controller.stop()
        poll_until(controller, lambda wanted=number: len(ends) == wanted)
        controller.dismiss()

    assert [one.how for one in ends] == 3 * ["finished"]
    assert len({one.folder for one in ends}) == 3


def test_the_run_works_on_the_labels_as_they_were_when_it_began(tmp_path):
    source = ArrayPair()
    controller = make_controller(tmp_path, "good", source)

    job = controller.begin()
    before = source.labels.copy()
    source.labels[:] = 7  # the user goes on painting
    folder = prepare(job)

    kept = read_snapshot(RunFolder(folder))
    np.testing.assert_array_equal(kept[0].labels, before)
    assert job.origins == ["cells"]


def test_the_pixels_of_a_run_are_let_go_when_its_folder_has_them(tmp_path, ends):
    controller = watched(make_controller(tmp_path), ends)

    start(controller)

    assert controller.job.planes == ()
    assert controller.job.origins == ["cells"]
    controller.cancel()
    poll_until(controller, lambda: bool(ends))


def test_a_cancelled_run_ends_at_once_and_says_so(tmp_path, ends, children):
    controller = watched(make_controller(tmp_path), ends)
    start(controller)
    poll_until(controller, lambda: controller.story.step > 0)

    controller.cancel()
    poll_until(controller, lambda: bool(ends))

    assert ends[0].how == "cancelled"
    assert controller.state == "idle"
    assert children() == []


def test_a_run_that_is_cancelled_while_it_is_prepared_leaves_no_folder(tmp_path):
    controller = make_controller(tmp_path / "runs")
    job = controller.begin()

    controller.cancel()
    outcome = attempt(lambda: prepare(job))
    controller.prepared(job, outcome)

    assert outcome.value is None
    assert outcome.sentence == ""
    assert controller.state == "idle"
    assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("dies", "ImportError: no torch here"),
        ("killed", "can be resumed"),
        ("fails", "eaten by the dog"),
    ],
)
def test_a_trainer_that_fails_is_told_in_a_sentence(tmp_path, ends, mode, words):
    controller = watched(make_controller(tmp_path, mode), ends)

    start(controller)
    poll_until(controller, lambda: bool(ends))

    assert ends[0].how == "failed"
    assert words in ends[0].sentence
    assert controller.state == "idle"


def test_a_trainer_that_cannot_be_started_is_told_in_a_sentence(tmp_path, ends):
    controller = FinetuneController(lambda run: [str(tmp_path / "no such program")], tmp_path)
    controller.rows.add([PairRow(ArrayPair())])
    controller.choose_model("bright", [make_entry()])
    watched(controller, ends)

    start(controller)

    assert "cannot be started" in ends[0].sentence
    assert not controller.is_busy


def test_garbage_among_the_events_is_passed_over(tmp_path, ends):
    controller = watched(make_controller(tmp_path, "garbage"), ends)

    start(controller)
    poll_until(controller, lambda: controller.story.step > 5)
    controller.stop()
    poll_until(controller, lambda: bool(ends))

    assert ends[0].how == "finished"
    assert controller.story.loss.y


def test_a_flood_of_events_is_read_in_bounded_parts(tmp_path, ends):
    controller = watched(make_controller(tmp_path, "flood"), ends)
    heard = []
    controller.heard.connect(lambda story: heard.append(story.heard))

    start(controller)
    poll_until(controller, lambda: bool(ends))

    assert ends[0].how == "finished"
    assert controller.story.step == 9_999
    assert len(controller.story.loss.x) <= 1001
    assert max(np.diff(heard[:-1]), default=0) < 1000  # but for the rest at its end


def test_a_trainer_that_hears_nothing_is_killed_when_it_is_cancelled(
    tmp_path, ends, monkeypatch, children
):
    monkeypatch.setattr("napari_rwkv_seg.controllers.finetune_process.LEAVE_S", 0.2)
    controller = watched(make_controller(tmp_path, "deaf"), ends)
    start(controller)
    poll_until(controller, lambda: controller.story.step > 0)

    controller.cancel()
    poll_until(controller, lambda: bool(ends))

    assert ends[0].how == "cancelled"
    assert children() == []


def test_a_trainer_that_hangs_when_it_is_stopped_is_ended_and_can_be_resumed(
    tmp_path, ends, monkeypatch, children
):
    for name in ("STOP_S", "TERMINATE_S"):
        monkeypatch.setattr(f"napari_rwkv_seg.controllers.finetune_process.{name}", 0.3)
    monkeypatch.setattr(TrainerProcess, "heard", lambda self: None)
    controller = watched(make_controller(tmp_path, "deaf"), ends)
    start(controller)
    poll_until(controller, lambda: controller.story.step > 0)

    controller.stop()
    poll_until(controller, lambda: bool(ends))

    assert "can be resumed" in ends[0].sentence
    assert children() == []


@pytest.mark.parametrize("mode", ["good", "slow", "deaf"])
def test_closing_leaves_no_process(tmp_path, mode, monkeypatch, children):
    for name in ("LEAVE_S", "TERMINATE_S"):
        monkeypatch.setattr(f"napari_rwkv_seg.controllers.finetune_process.{name}", 0.3)
    controller = make_controller(tmp_path, mode)
    start(controller)

    controller.close()

    assert children() == []
    assert not controller.is_busy


def test_no_second_run_begins_while_one_is_under_way(tmp_path):
    controller = make_controller(tmp_path)
    start(controller)

    with pytest.raises(SettingsError, match="under way"):
        controller.begin()

    controller.close()


def test_a_run_is_resumed_from_its_folder(tmp_path, ends):
    controller = watched(make_controller(tmp_path, "killed"), ends)
    start(controller)
    poll_until(controller, lambda: bool(ends))
    again = watched(FinetuneController(fake_command("good"), tmp_path), ends)

    again.resume(ends[0].folder)
    poll_until(again, lambda: again.story.step > 0)
    again.stop()
    poll_until(again, lambda: len(ends) == 2)

    assert ends[1].how == "finished"
    assert ends[1].folder == ends[0].folder


def test_without_pairs_nothing_can_be_begun_and_the_reason_is_said(tmp_path):
    controller = FinetuneController(fake_command("good"), tmp_path)
    controller.choose_model("bright", [make_entry()])

    assert "Open an image and its labels" in controller.problem()
    with pytest.raises(SettingsError, match="Open an image"):
        controller.begin()


def test_pairs_of_which_none_is_used_are_not_enough(tmp_path):
    controller = make_controller(tmp_path)
    controller.rows.use("cells", False)

    assert "No pair is ticked" in controller.problem()


def test_labels_that_are_all_background_are_refused_before_anything_is_written(tmp_path):
    source = ArrayPair(labels=np.zeros((64, 200), dtype=np.int32))
    controller = make_controller(tmp_path / "runs", "good", source)
    told = []
    controller.failed.connect(told.append)

    start(controller)

    assert "Nothing is labelled" in told[0]
    assert controller.state == "idle"
    assert not (tmp_path / "runs").exists()


def test_the_plan_says_what_will_be_held_out(tmp_path):
    controller = make_controller(tmp_path)
    job = controller.begin()

    assert "held out" in plan(job.settings, job.planes, job.stopped).sentence


def test_the_classes_of_the_base_are_taken_until_the_user_makes_some(tmp_path):
    controller = FinetuneController(fake_command("good"), tmp_path)
    models = [make_entry("two"), make_entry("three", 3)]
    controller.choose_model("two", models)
    controller.choose_model("three", models)
    assert [one.name for one in controller.choices.classes] == ["background", "cell", "vessel"]

    controller.choose(classes=controller.choices.classes[:2])
    controller.choose_model("three", models)
    assert [one.name for one in controller.choices.classes] == ["background", "cell"]

    controller.base_classes()
    assert len(controller.choices.classes) == 3


def test_the_name_of_a_new_model_is_free(tmp_path):
    controller = make_controller(tmp_path)
    controller.choose_model("bright", [make_entry(), make_entry("bright-tuned")])

    assert controller.begin().settings.name == "bright-tuned-2"


def test_each_run_starts_from_the_chosen_base(tmp_path, ends):
    controller = watched(make_controller(tmp_path), ends)
    start(controller)
    poll_until(controller, lambda: controller.story.step > 0)
    controller.stop()
    poll_until(controller, lambda: bool(ends))
    controller.dismiss()

    assert controller.begin().settings.model == "bright"


def test_the_environment_of_the_trainer_does_not_import_from_the_folder_it_starts_in(tmp_path):
    script = "import sys; sys.exit(0 if sys.flags.safe_path else 1)"
    (tmp_path / "run").mkdir()
    process = TrainerProcess(tmp_path / "run", lambda run: [sys.executable, "-c", script])
    process.end_now()

    assert process._process.returncode == 0


def test_trainer_and_window_speak_utf_8_whatever_the_system_prefers(tmp_path, monkeypatch):
    """On Windows a pipe would have the code page, in which some paths cannot be written."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    script = "import sys; sys.exit(ascii(sys.stdin.readline().strip()) + ' Müller')"
    path = Path("Ángel") / "王.npy"
    process = TrainerProcess(tmp_path, lambda run: [sys.executable, "-c", script])
    assert process.preview(path)
    process.end_now()

    assert process.complaint() == ascii(f"preview {path}") + " Müller"


def test_what_the_trainer_complains_of_last_is_kept(tmp_path: Path):
    process = TrainerProcess(tmp_path, fake_command("dies"))
    while process.is_alive:
        pass
    process.end_now()

    assert process.complaint() == "ImportError: no torch here"
