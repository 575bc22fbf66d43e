"""`make accuracy`: two tiny networks on synthetic images, and what it keeps and writes."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
COMMAND = BENCHMARKS / "accuracy.py"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the command as a module that runs nothing."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("accuracy_command", COMMAND)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "settle_process", lambda: None)
    yield module
    ours = {"accuracy", "bench_pretraining", "finetune_data"}
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]


@pytest.fixture
def run(command: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return what runs the command in a folder of its own, with measurements of no cost."""
    done: list[str] = []

    def measure(plan: Any) -> dict[str, Any]:
        done.append(plan.key)
        if plan.network == "nnunet":
            raise MemoryError("too large")
        return cell(plan.data, plan.network, seed=plan.seed)

    def call(*arguments: str) -> tuple[int, list[str], str]:
        done.clear()
        paths = ["--results", str(tmp_path / "r.json"), "--evidence", str(tmp_path / "e.md")]
        monkeypatch.setattr(sys, "argv", ["accuracy.py", "--device", "cpu", *arguments, *paths])
        code = command.main()
        return code, [*done], (tmp_path / "e.md").read_text(encoding="utf-8")

    monkeypatch.setattr(command, "measure", measure)
    return call


def cell(data: str, network: str, dice: float = 0.5, seed: int = 0) -> dict[str, Any]:
    """Return what a finished cell keeps."""
    plan = {"data": data, "network": network, "seed": seed, "seconds": 180.0, "device": "cpu",
            "most_test": 0}  # fmt: skip
    return {
        "plan": plan, "scores": {"dice": dice, "iou": 0.4}, "unit": "", "not_defined": {"hd95": 0},
        "parameters": 1_500_000, "steps": 100, "train_seconds": 181.0, "train_planes": 75,
        "validation_planes": 10, "validation_made_here": False, "test_images": 80,
        "test_planes": 80, "seconds_per_image": 0.25, "peak_megabytes": 120.0,
        "machine": {"text": "A processor"},
    }  # fmt: skip


def test_two_tiny_networks_are_trained_tested_and_kept(tmp_path):
    results, evidence = tmp_path / "results.json", tmp_path / "evidence.md"
    done = subprocess.run(
        [sys.executable, COMMAND, "--cell", "synthetic/tin*", "--seconds", "2", "--seeds", "0",
         "--device", "cpu", "--threads", "1", "--results", results, "--evidence", evidence,
         "--objects", tmp_path / "none", "--pretraining", tmp_path / "none"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cells = json.loads(results.read_text())["cells"]
    assert sorted(cells) == ["synthetic/tinier/seed0/cpu/2s", "synthetic/tiny/seed0/cpu/2s"]
    for one in cells.values():
        assert one["steps"] > 0
        assert 0 <= one["scores"]["dice"] <= 1
        assert set(one["scores"]) == {"dice", "iou", "hd95", "f1_50", "f1_75", "f1_mean"}
        assert one["checks"][-1][0] == one["steps"]
        assert one["best_step"] in {step for step, _, _ in one["checks"]}
        assert one["seconds_per_image"] > 0
        assert one["peak_megabytes"] > 0
    assert "not measured" in evidence.read_text()  # trials are no evidence


def test_a_network_is_trained_for_as_many_steps_as_the_plan_names(command, tmp_path):
    from accuracy.training import CHECKS, Plan, train

    done = train(Plan("synthetic", "tinier", 1, 60.0, "cpu", steps=12), tmp_path)
    assert done["steps"] == 12
    assert [step for step, _, _ in done["checks"]] == list(range(2, 13, 12 // CHECKS))


def test_what_is_finished_is_not_done_again_unless_it_is_named(run):
    code, first, _ = run("--seeds", "0")
    assert code == 1  # the network that is too large
    assert len(first) == 35
    code, second, _ = run("--seeds", "0")
    assert {key.split("/")[1] for key in second} == {"nnunet"}
    _, again, _ = run("--seeds", "0", "--cell", "glas/med_urwkv_t")
    assert again == ["glas/med_urwkv_t/seed0/cpu/180s"]


def test_all_sets_come_before_the_next_seed(run):
    _, done, _ = run("--seeds", "4", "7")
    assert ["seed4" in key for key in done] == [True] * 35 + [False] * 35


def test_later_seeds_do_the_steps_of_the_first_and_are_not_timed(command, run, monkeypatch):
    plans: list[Any] = []

    def measure(plan: Any) -> dict[str, Any]:
        plans.append(plan)
        one = cell(plan.data, plan.network, seed=plan.seed)
        one["plan"] |= {"steps": plan.steps}
        return one | ({"train_seconds": 999.0} if plan.steps else {})

    monkeypatch.setattr(command, "measure", measure)
    _, _, text = run("--seeds", "0", "1", "--cell", "glas/med_urwkv_t")
    assert [(plan.seed, plan.steps) for plan in plans] == [(0, 0), (1, 100)]
    assert "| 2 | 100 | 181 | 0.250 | 120 |" in text


def test_a_cell_that_is_asked_for_again_does_the_steps_that_it_did(command, run, monkeypatch):
    plans: list[Any] = []

    def measure(plan: Any) -> dict[str, Any]:
        plans.append(plan)
        return cell(plan.data, plan.network, seed=plan.seed)

    monkeypatch.setattr(command, "measure", measure)
    for _ in range(2):
        run("--seeds", "0", "--cell", "glas/med_urwkv_t")
    assert [plan.steps for plan in plans] == [0, 100]


def test_what_was_not_timed_is_timed_by_itself_and_said_so(command, monkeypatch, tmp_path):
    plan = command.Plan("glas", "med_urwkv_t", 0, 1.0, "cpu", 0, 3)
    cell = {
        "plan": command.asdict(plan), "scores": {"dice": 0.5}, "unit": "", "parameters": 1e6,
        "steps": 3, "peak_megabytes": 7.0, "seconds_per_image": 99.0, "train_seconds": 99.0,
        "machine": {"text": "A busy one"}, "test_images": 1, "test_planes": 1, "train_planes": 1,
        "validation_planes": 1, "validation_made_here": False, "not_defined": {},
    }  # fmt: skip
    command.keep(tmp_path / "kept.json", plan.key, cell)
    monkeypatch.setattr(command, "seconds_per_image", lambda cells, images: [0.25] * len(cells))
    command.time_images(tmp_path / "kept.json", 4)

    kept = command.read_results(tmp_path / "kept.json")
    assert kept[plan.key]["timed_later"]["images"] == 4
    page = command.evidence(kept)
    assert "| 1 | 3 | 99 † | 0.250 * | 7 |" in page
    assert "Machine: * " in page


def test_a_seed_without_a_first_one_has_the_seconds(run):
    _, done, text = run("--seeds", "3", "--cell", "glas/med_urwkv_t")
    assert done == ["glas/med_urwkv_t/seed3/cpu/180s"]
    assert "| 1 | 100 | 181 | 0.250 | 120 |" in text


def test_a_cell_that_there_is_not_is_named_with_those_that_there_are(run):
    with pytest.raises(SystemExit, match="glas/med_urwkv_t"):
        run("--cell", "glas/unet")


def test_the_table_has_means_over_seeds_and_says_who_is_better(command):
    cells = [
        cell("glas", "med_urwkv_t", 0.8), cell("glas", "med_urwkv_t", 0.9, seed=1),
        cell("glas", "monai_unet", 0.87), cell("busi", "rwkv_unet_t", 0.7),
        cell("busi", "nnunet", 0.6),
    ]  # fmt: skip
    text = command.evidence({str(number): one for number, one in enumerate(cells)})
    assert "| glas | Med-URWKV-T | 1.5 M | 0.850 ± 0.071 | 0.400 ± 0.000 | – |" in text
    assert "| 2 | 100 | 181 | 0.250 | 120 |" in text
    assert "glas: the best RWKV network (Med-URWKV-T, Dice 0.800) is NOT as good" in text
    assert "busi: the best RWKV network (RWKV-UNet-T, Dice 0.700) is at least as good" in text
    assert "Machine: A processor." in text
    assert "glas: 75 training planes, 10 validation planes, 80 test images." in text


def test_budgets_and_devices_have_tables_of_their_own(command):
    one, other = cell("glas", "med_urwkv_t"), cell("glas", "med_urwkv_t")
    other["plan"] = other["plan"] | {"device": "cuda:0", "seconds": 600.0}
    text = command.evidence({"a": one, "b": other})
    assert "## 180 seconds of training on a CPU" in text
    assert "## 600 seconds of training on a GPU" in text


def test_ways_to_part_objects_part_two_discs_that_touch_and_connected_parts_do_not(command):
    from accuracy.objects import WAYS

    from napari_rwkv_seg.inference import LabelSettings

    rows, columns = np.mgrid[:40, :60]
    discs = [(rows - 20) ** 2 + (columns - x) ** 2 for x in (20, 38)]
    foreground = np.where(np.minimum(*discs) < 110, 0.97, 0.02)
    foreground[:, 28:31] *= 0.6  # the network is less sure between them
    probabilities = np.stack([1 - foreground, foreground]).astype(np.float32)
    settings = LabelSettings(output="objects", smallest_object=10)
    found = {name: int((np.unique(way(probabilities, settings)) > 0).sum())
             for name, way in WAYS.items()}  # fmt: skip
    assert found.pop("connected components") == 1
    assert found == dict.fromkeys(found, 2)


def test_the_page_tells_how_objects_are_parted_if_that_was_measured(run, tmp_path):
    row = {"dice": 0.9, "f1_50": 0.8, "f1_75": 0.7, "f1_mean": 0.6, "found": 9, "true": 10,
           "gain": 0.01, "gain_error": 0.004}  # fmt: skip
    told = {"model": "m", "split": "val", "images": 3, "ways": {"a way": row}}
    path = tmp_path / "objects.json"
    path.write_text(json.dumps(told))
    _, _, text = run("--table", "--objects", str(path))
    assert "| a way | 0.800 | 0.700 | 0.600 | +0.010 ± 0.004 | 0.900 | 9 |" in text


def test_the_page_tells_what_a_pretrained_encoder_buys_if_that_was_measured(run, tmp_path):
    def cell(k: int, arm: str, dice: float, seed: int = 0) -> dict[str, Any]:
        return {
            "set": "glas", "k": k, "seed": seed, "arm": arm,
            "source": "a script" if arm == "wide" else "",
            "test_after": {"mean": dice}, "run": {"minutes": 3.0}, "machine": {"threads": 1},
        }  # fmt: skip

    cells = [cell(2, "random", 0.5), cell(2, "random", 0.7, 1), cell(2, "wide", 0.75)]
    path = tmp_path / "pretraining.json"
    path.write_text(json.dumps({"cells": dict(enumerate([*cells, cell(0, "wide", 0.8)]))}))
    _, _, text = run("--table", "--pretraining", str(path))
    assert "| set | images | random | wide |" in text
    assert "| glas | 2 | 0.600 (n = 2) | 0.750 (n = 1) |" in text
    assert "| glas | all | – | 0.800 (n = 1) |" in text
    assert "- 3 minutes of training, 1 thread(s) of a CPU; n: seeds." in text
    assert "- wide: a script." in text
    assert "- wide gains +0.250 on average of 1 pairs of cells" in text


@pytest.mark.shared
@pytest.mark.parametrize(
    ("data", "count", "shape", "numbers"),
    [
        ("kvasir_seg", 60, (352,), {0, 1}),
        ("glas", 10, (209, 310), {0, 1}),
        ("acdc_cardiac", 4, (), {0, 1, 2, 3}),
        ("msd_hippocampus", 12, (), {0, 1, 2}),
    ],
)
def test_the_data_sets_are_read_with_their_splits(command, data, count, shape, numbers):
    rows, is_made = command.sets.split_rows(data, "val")
    assert (len(rows), is_made) == (count, False)
    [case] = command.sets.read_cases(data, "val", 1)
    assert {int(n) for truth in case.truths for n in set(truth.ravel().tolist())} <= numbers
    assert all(i.shape[:2] == t.shape for i, t in zip(case.images, case.truths, strict=True))
    assert case.is_volume == (len(case.images) > 1)
    assert set(shape) <= set(case.images[0].shape)
