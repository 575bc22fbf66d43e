"""Whole runs of a tiny network, in this process."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
import torch

from napari_rwkv_seg.errors import CancelledError, RunError, TrainingDataError
from napari_rwkv_seg.training import held_out, preparation, publish, timetable
from napari_rwkv_seg.training.control import Control, LeaveError
from napari_rwkv_seg.training.events import Event, read_events
from napari_rwkv_seg.training.finetune import run_finetune
from napari_rwkv_seg.training.install import install_model
from napari_rwkv_seg.training.run_folder import RunFolder, locked
from napari_rwkv_seg.training.run_settings import write_settings
from napari_rwkv_seg.zoo.card import ClassCard
from napari_rwkv_seg.zoo.new_models import FROM_NOTHING
from napari_rwkv_seg.zoo.store import find_model, read_network, user_folder, write_model


def kinds(events: list[Event]) -> list[str]:
    return [event["event"] for event in events]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_network(find_model(folder)).state_dict()


def test_a_run_ends_with_a_better_model_and_says_so(tiny: ModuleType, tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path, steps=40)
    heard: list[Event] = []
    finished = run_finetune(run.path, heard.append)
    assert finished["after"]["mean"] > finished["before"]["mean"] + 0.2
    assert finished["recommended"]
    assert kinds(heard)[:3] == ["prepared", "started", "validated"]
    assert heard[2]["base"]
    assert heard[2]["score"] == pytest.approx(finished["before"]["mean"], abs=1e-3)
    assert kinds(heard)[-1] == "finished"
    assert read_events(run.events)[0] == heard
    result = json.loads(run.result.read_text())
    assert result == {k: v for k, v in finished.items() if k not in ("event", "time")}
    assert set(result) >= {"before", "after", "regions", "images", "recommended", "sentence",
                           "steps", "seconds", "share", "model", "stopped_early"}  # fmt: skip


def test_the_new_model_is_a_zoo_folder_that_names_its_parent_data_and_scores(
    tiny: ModuleType, tmp_path: Path
) -> None:
    run = tiny.tiny_run(tmp_path, steps=4)
    run_finetune(run.path)
    card = find_model(run.model).card
    assert card is not None
    assert (card.name, card.parent) == ("new", "base")
    assert "3 images" in card.training_data
    assert "labelled pixels" in card.training_data
    assert "seed 42" in card.trained_by
    assert "Dice, held out" in card.test_scores
    assert "held out" in (run.model / "README.md").read_text()
    assert card.orientation == "any"


def test_the_new_model_knows_whether_sides_matter(tiny: ModuleType, tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path, steps=2, orientation="fixed")
    run_finetune(run.path)
    card = find_model(run.model).card
    assert card is not None
    assert card.orientation == "fixed"

    (again := tmp_path / "again").mkdir()
    (run.model).rename(again / "base")  # the next round, with nothing said
    next_run = tiny.tiny_run(again, steps=2)
    run_finetune(next_run.path)
    assert find_model(next_run.model).card.orientation == "fixed"


def test_the_weights_are_between_the_base_and_what_was_learnt(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for share in (0.5, 1.0):
        monkeypatch.setattr(publish, "choose_share", lambda _, corrected, counts, share=share: (
            corrected(), counts(1.0), share)[-1])  # fmt: skip
        (folder := tmp_path / str(share)).mkdir()
        run = tiny.tiny_run(folder, steps=40)
        finished = run_finetune(run.path)
        assert finished["share"] == share
        assert ("with more corrected images" in finished["sentence"]) is (share < 1)
        found[share] = weights(run.model)
    base = weights(tmp_path / "1.0" / "base")
    for name, value in found[1.0].items():
        if value.is_floating_point():
            middle = (base[name].float() + value.float()) / 2
            torch.testing.assert_close(found[0.5][name].float(), middle, rtol=2e-3, atol=2e-3)
    assert not torch.equal(found[0.5]["head.weight"], found[1.0]["head.weight"])
    card = find_model(tmp_path / "0.5" / "run" / "model").card
    assert "50% of the way" in card.trained_by
    assert (
        "It goes 50% of the way" in (tmp_path / "0.5" / "run" / "model" / "README.md").read_text()
    )


def test_what_the_base_knows_is_asked_of_all_that_was_corrected(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def choose(base, corrected, counts):
        seen.update(held_out=base, corrected=corrected())
        return 1.0

    monkeypatch.setattr(publish, "choose_share", choose)
    pairs = tiny.bright_pairs(4)
    run_finetune(tiny.tiny_run(tmp_path, pairs, steps=4).path)
    true = [each[2].item() for each in seen["corrected"]]
    assert sorted(true) == sorted(int((pair.labels > 0).sum()) for pair in pairs)
    assert len(seen["held_out"]) == 1


def test_from_an_untrained_base_all_of_what_was_learnt_is_taken(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.write_base(tmp_path / "base")
    card = find_model(base).card.model_copy(update={"untrained": True})
    write_model(base, tiny.MedURWKV(), card, "For tests.", overwrite=True)
    monkeypatch.setattr(publish, "choose_share", None)  # not to be called
    assert run_finetune(tiny.tiny_run(tmp_path, steps=4).path)["share"] == 1


@pytest.mark.parametrize(
    ("changes", "rate", "decay"),
    [
        ({"untrained": True, "parent": FROM_NOTHING}, "RANDOM_RATE", 1.0),
        ({"untrained": True, "parent": "encoder of others"}, "LEARNING_RATE", 0.75),
        ({"untrained": False, "parent": FROM_NOTHING}, "LEARNING_RATE", 0.75),
    ],
)
def test_only_a_network_that_knows_nothing_learns_at_one_rate(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object], rate: str, decay: float,
) -> None:  # fmt: skip
    base = tiny.write_base(tmp_path / "base")
    card = find_model(base).card.model_copy(update=changes)
    write_model(base, tiny.MedURWKV(), card, "For tests.", overwrite=True)
    real, heard = preparation.parameter_groups, []

    def hear(network: torch.nn.Module, depth: str, *rates: float) -> list[dict[str, object]]:
        heard.append((rates[0], rates[2]))
        return real(network, depth, *rates)

    monkeypatch.setattr(preparation, "parameter_groups", hear)
    run_finetune(tiny.tiny_run(tmp_path, steps=2).path)
    assert heard == [(getattr(preparation, rate), decay)]


def test_weights_that_half_precision_cannot_hold_are_scored_as_they_are_written(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.write_base(tmp_path / "base")
    network = read_network(find_model(base))
    network.encoder[1].running_var.fill_(1e6)
    write_model(base, network, find_model(base).card, "For tests.", overwrite=True)
    scored = []
    real = publish._predicted

    def predicted(job: object, network: torch.nn.Module) -> object:
        scored.append({name: value.clone() for name, value in network.state_dict().items()})
        return real(job, network)

    monkeypatch.setattr(publish, "_predicted", predicted)
    run = tiny.tiny_run(tmp_path, steps=4)
    run_finetune(run.path)
    written = weights(run.model)
    assert 65504 < written["encoder.1.running_var"].max() < 1e6
    assert all(torch.equal(value, written[name]) for name, value in scored[0].items())


def test_the_differences_say_where_the_new_model_is_right_and_where_wrong(
    tiny: ModuleType, tmp_path: Path
) -> None:
    run = tiny.tiny_run(tmp_path, steps=40)
    run_finetune(run.path)
    [file] = run.held_out.glob("*_difference.tif")
    changed = tifffile.imread(file)
    assert changed.shape == (96, 96)
    assert set(np.unique(changed)) <= {0, 1, 2}
    assert (changed == 1).sum() > (changed == 2).sum()


def test_the_same_seed_gives_the_same_weights(tiny: ModuleType, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run = tiny.tiny_run(tmp_path / name, steps=6)
        run_finetune(run.path)
        found.append(weights(run.model))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_run_that_was_left_goes_on_and_equals_one_that_was_not(
    tiny: ModuleType, tmp_path: Path
) -> None:
    found = []
    for name in ("whole", "left"):
        (tmp_path / name).mkdir()
        run = tiny.tiny_run(tmp_path / name, steps=8)
        if name == "left":
            control = Control()

            def leave(event: Event, control: Control = control) -> None:
                if event["event"] == "validated" and event["step"] == 4:
                    control.leave()

            with pytest.raises(LeaveError):
                run_finetune(run.path, leave, control)
        run_finetune(run.path)
        found.append(weights(run.model))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    started = [e for e in read_events(run.events)[0] if e["event"] == "started"]
    assert [(e["resumed"], e["step"]) for e in started] == [(False, 0), (True, 4)]


def test_stop_keeps_the_best_and_its_score(tiny: ModuleType, tmp_path: Path) -> None:
    run, control, heard = tiny.tiny_run(tmp_path, steps=100_000), Control(), []

    def stop(event: Event) -> None:
        heard.append(event)
        if event["event"] == "step":
            control.stop()

    finished = run_finetune(run.path, stop, control)
    assert finished["stopped_early"]
    assert finished["steps"] < 100_000
    assert kinds(heard).count("stopping") == 1
    assert find_model(run.model).problem == ""


def test_stop_before_the_first_step_is_a_sentence_and_makes_no_model(
    tiny: ModuleType, tmp_path: Path
) -> None:
    run, control = tiny.tiny_run(tmp_path, steps=10), Control()
    control.stop()
    with pytest.raises(RunError, match="before it learnt anything"):
        run_finetune(run.path, control=control)
    assert not run.model.exists()


def test_cancel_leaves_no_model(tiny: ModuleType, tmp_path: Path) -> None:
    run, control, heard = tiny.tiny_run(tmp_path, steps=100_000), Control(), []

    def cancel(event: Event) -> None:
        heard.append(event)
        if event["event"] == "step":
            control.cancel()

    with pytest.raises(CancelledError):
        run_finetune(run.path, cancel, control)
    assert kinds(heard)[-1] == "cancelled"
    assert not run.model.exists()
    assert not run.result.exists()


def test_a_preview_is_made_with_the_weights_as_they_are_and_a_bad_one_does_no_harm(
    tiny: ModuleType, tmp_path: Path
) -> None:
    run, control, heard = tiny.tiny_run(tmp_path, steps=12), Control(), []
    np.save(tmp_path / "view.npy", tiny.bright_pairs(1)[0].image)
    control.preview(tmp_path / "none.npy")
    control.preview(tmp_path / "view.npy")
    run_finetune(run.path, heard.append, control)
    labels = np.load(tmp_path / "view.npy.labels.npy")
    assert labels.shape == (96, 96)
    assert labels.dtype.kind in "iu"
    previews = [event for event in heard if event["event"] == "previewed"]
    assert [event["path"] for event in previews] == [
        str(tmp_path / "none.npy"),
        str(tmp_path / "view.npy"),
    ]
    assert "problem" in previews[0]
    assert kinds(heard)[-1] == "finished"


def test_a_class_may_be_added_and_the_old_score_leaves_it_out(
    tiny: ModuleType, tmp_path: Path
) -> None:
    classes = [ClassCard(name=n, color="#102030") for n in ("background", "cell", "nucleus")]
    run = tiny.tiny_run(tmp_path, tiny.bright_pairs(4, 2), steps=60, classes=classes)
    finished = run_finetune(run.path)
    assert set(finished["before"]["classes"]) == {"cell"}
    assert set(finished["after"]["classes"]) == {"cell", "nucleus"}
    assert "'nucleus'" in finished["sentence"]
    card = find_model(run.model).card
    assert card is not None
    assert [each.name for each in card.classes] == ["background", "cell", "nucleus"]


def test_a_run_by_time_ends_in_time_with_what_it_learnt(tiny: ModuleType, tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path, minutes=0.08)
    heard: list[Event] = []
    finished = run_finetune(run.path, heard.append)
    steps = [event for event in heard if event["event"] == "step"]
    assert [event["left"] for event in steps] == sorted((e["left"] for e in steps), reverse=True)
    assert finished["steps"] > 0
    assert not finished["stopped_early"]


def slow_to_score(tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a tile take a tenth of a second outside of training."""
    forward = tiny.MedURWKV.forward

    def slowly(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        time.sleep(0 if network.training else 0.1)
        return forward(network, images)

    monkeypatch.setattr(tiny.MedURWKV, "forward", slowly)


def test_a_run_whose_base_takes_all_of_its_time_learns_and_says_that_it_takes_longer(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_to_score(tiny, monkeypatch)
    run, control, heard = tiny.tiny_run(tmp_path, minutes=0.006), Control(), []

    def leave(event: Event) -> None:
        heard.append(event)
        if event["event"] == "saved":
            control.leave()

    with pytest.raises(LeaveError):
        run_finetune(run.path, leave, control)
    assert next(e for e in heard if e["event"] == "validated")["seconds"] > 60 * 0.006
    assert "takes long here" in next(e for e in heard if e["event"] == "lighter")["what"]
    assert run_finetune(run.path)["steps"] > 0  # the seconds that are used do not count against it


def test_a_run_without_any_time_left_says_so_and_not_that_it_was_stopped(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_to_score(tiny, monkeypatch)
    monkeypatch.setattr(timetable, "_LEAST_SHARE", 0)
    with pytest.raises(RunError, match="No time was left"):
        run_finetune(tiny.tiny_run(tmp_path, minutes=0.001).path)


def test_a_small_box_in_a_large_image_is_scored_without_the_rest_of_it(
    tiny: ModuleType, tmp_path: Path
) -> None:
    [pair] = tiny.bright_pairs(1, size=640)
    pair.checked[:] = False
    pair.checked[:120, :120] = True
    pair.labels[:120:4, :120:4] = 1
    forward, shown = tiny.MedURWKV.forward, []

    def hear(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        shown.append(0 if network.training else images.shape[-1] * images.shape[-2])
        return forward(network, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny.MedURWKV, "forward", hear)
        run_finetune(tiny.tiny_run(tmp_path, [pair], steps=1).path)
    assert sum(shown) < 640 * 640


def test_weights_are_compared_on_more_images_than_the_checks_on_the_way_have_time_for(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "QUICK_SHARE", 0)
    monkeypatch.setattr(held_out, "FULL_SHARE", 1e6)  # however slow this machine is
    seen = []
    monkeypatch.setattr(publish, "choose_share", lambda base, *_: seen.append(len(base)) or 1.0)
    run = tiny.tiny_run(tmp_path, tiny.bright_pairs(20), minutes=0.05)
    run_finetune(run.path)
    assert seen == [4]


def test_a_finished_run_says_its_result_again_and_does_nothing(
    tiny: ModuleType, tmp_path: Path
) -> None:
    run = tiny.tiny_run(tmp_path, steps=2)
    first = run_finetune(run.path)
    heard: list[Event] = []
    again = run_finetune(run.path, heard.append)
    assert kinds(heard) == ["finished"]
    assert again["after"] == first["after"]


@pytest.mark.parametrize(("size", "least_side"), [(40, 64), (96, 64), (30, 32)])
def test_a_new_model_sees_small_images_within_as_much_as_crops_showed(
    tiny: ModuleType, tmp_path: Path, size: int, least_side: int
) -> None:
    run = tiny.tiny_run(tmp_path, tiny.bright_pairs(size=size), steps=2)
    run_finetune(run.path)
    entry = find_model(run.model)
    assert entry.card is not None
    assert entry.card.config["least_side"] == least_side  # no more than a tile of 64
    assert read_network(entry).view.least_side == least_side


def test_a_run_is_held_before_torch_is_imported(tiny: ModuleType, tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path, steps=2)
    begin = (
        "import sys\n"
        "from napari_rwkv_seg.errors import RunError\n"
        "from napari_rwkv_seg.training.finetune import run_finetune\n"
        "try:\n    run_finetune(sys.argv[1])\n"
        "except RunError as error:\n    print('torch' in sys.modules, error)"
    )
    with locked(run):
        command = [sys.executable, "-c", begin, str(run.path)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("False ")
    assert "under way in another process" in said


def test_a_run_whose_base_has_changed_is_refused(tiny: ModuleType, tmp_path: Path) -> None:
    run, control = tiny.tiny_run(tmp_path, steps=100), Control()

    def leave(event: Event) -> None:
        if event["event"] == "step":
            control.leave()

    with pytest.raises(LeaveError):
        run_finetune(run.path, leave, control)
    other = tmp_path / "other"
    other.mkdir()
    tiny.write_base(other / "base", "cell")
    torch.manual_seed(1)
    card = find_model(tmp_path / "base").card
    assert card is not None
    write_model(tmp_path / "base", tiny.MedURWKV(), card, "Another.", overwrite=True)
    with pytest.raises(RunError, match="not the one that it began with"):
        run_finetune(run.path)
    assert kinds(read_events(run.events)[0])[-1] == "failed"


def left_run(tiny: ModuleType, folder: Path) -> RunFolder:
    """Return a run that was left after its first step or so."""
    run, control = tiny.tiny_run(folder, steps=100), Control()
    with pytest.raises(LeaveError):
        run_finetune(run.path, lambda e: e["event"] == "step" and control.leave(), control)
    return run


def test_a_run_goes_on_from_a_base_that_was_renamed_but_not_without_it(
    tiny: ModuleType, tmp_path: Path
) -> None:
    run, control = left_run(tiny, tmp_path), Control()
    control.stop()
    (user_folder() / "renamed").parent.mkdir(parents=True)
    base = Path(run.settings().model).rename(user_folder() / "renamed")
    assert run_finetune(run.path, control=control)["stopped_early"]

    shutil.rmtree(base)
    shutil.rmtree(run.model)
    run.result.unlink()
    with pytest.raises(RunError, match=r"cannot go on without the model .* that it began with"):
        run_finetune(run.path)


@pytest.mark.parametrize("change", [{"orientation": "fixed"}, {"precision": "float32"}])
def test_a_run_whose_choices_were_changed_is_refused_but_older_runs_are_not(
    tiny: ModuleType, tmp_path: Path, change: dict[str, str]
) -> None:
    run = left_run(tiny, tmp_path)
    write_settings(run.settings_file, run.settings().model_copy(update=change))
    with pytest.raises(RunError, match=f"{next(iter(change))}.*changed in run.toml"):
        run_finetune(run.path)
    plan = run.path / "plan.json"
    kept = json.loads(plan.read_text())
    del kept["choices"][next(iter(change))]  # as older versions wrote it
    plan.write_text(json.dumps(kept))
    control = Control()
    control.stop()
    assert run_finetune(run.path, control=control)["stopped_early"]


def test_a_changed_snapshot_is_told_as_a_failure(tiny: ModuleType, tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path, steps=2)
    (run.snapshot / "001_image.tif").write_bytes(b"II*\0")
    with pytest.raises(RunError, match=r"001_image\.tif.*was changed"):
        run_finetune(run.path)
    last = read_events(run.events)[0][-1]
    assert last["event"] == "failed"
    assert "001_image.tif" in last["sentence"]


def test_pairs_with_nothing_to_learn_are_a_sentence(tiny: ModuleType, tmp_path: Path) -> None:
    pairs = tiny.bright_pairs(2)
    for pair in pairs:
        pair.labels[:] = 0
    run = tiny.tiny_run(tmp_path, pairs, steps=2)
    with pytest.raises(TrainingDataError):
        run_finetune(run.path)


def test_a_damaged_file_of_the_run_is_a_sentence(tiny: ModuleType, tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path, steps=2)
    run.split.write_text("{")
    with pytest.raises(RunError, match=r"split\.json"):
        run_finetune(run.path)
    run.split.unlink()
    (run.checkpoints / "base.npz").write_bytes(b"half")
    with pytest.raises(RunError, match=r"base\.npz"):
        run_finetune(run.path)


def test_the_model_of_a_run_is_put_where_it_was_to_go(tiny: ModuleType, tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path, steps=2)
    with pytest.raises(RunError, match="not finished"):
        install_model(RunFolder(run.path), tmp_path / "models" / "mine")
    run_finetune(run.path)
    target = install_model(run, tmp_path / "models" / "mine")
    entry = find_model(target)
    assert entry.card is not None
    assert entry.card.name == "mine"
    assert [each.name for each in target.parent.iterdir()] == ["mine"]
