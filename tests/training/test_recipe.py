"""The recipe of the starter model, from a folder of images to a model that the zoo accepts."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from napari_rwkv_seg.training.budget import Budget
from napari_rwkv_seg.zoo.store import find_model, read_network

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def recipe(monkeypatch):
    """The recipe as a module, with small crops."""
    module = script("train_starter")
    monkeypatch.setattr(module, "BATCHES", ((64, 96, 2),))
    return module


@pytest.fixture
def data(tmp_path):
    """A grey image with two squares for each split, and a colour one to train on."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["file,mask,split"]
    for name, split in [("a", "train"), ("b", "train"), ("c", "val"), ("d", "test")]:
        mask = np.zeros((50, 61), np.uint8)
        mask[5:20, 5:20], mask[25:45, 30:50] = 1, 2
        grey = (50 + 150 * (mask > 0)).astype(np.uint8)
        image = np.stack([grey] * 3, -1) if name == "b" else grey
        Image.fromarray(image).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
        rows.append(f"{name}.png,{name}_mask.png,{split}")
    (folder / "split.csv").write_text("\n".join(rows))
    return folder


def test_the_recipe_trains_tests_and_writes_a_model_that_can_be_loaded(
    recipe, data, tmp_path, capsys
):
    run, out = tmp_path / "run", tmp_path / "med_urwkv_t_nuclei"
    recipe.train(data, run, steps=2, bfloat16=False)
    recipe.export(data, run, out, machine="a test machine")

    entry = find_model(out)
    assert read_network(entry).training is False
    assert set(entry.card.test_scores) == {"Dice", "object F1 at IoU 0.5"}
    assert "2 steps" in entry.card.trained_by
    assert "a test machine" in (out / "README.md").read_text()
    assert "$" not in (out / "README.md").read_text()
    events = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert [each for each in kinds if each not in ("step", "saved")] == ["started", "validated"]
    assert "test Dice" in capsys.readouterr().out


def test_the_recipe_of_general_objects_makes_a_model_of_nuclei_and_made_images(
    data, tmp_path, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    pretrain, export = script("pretrain"), script("export_objects")
    monkeypatch.setattr(pretrain, "HELD", 2)
    monkeypatch.setattr(pretrain, "Budget", lambda seconds: Budget(steps=1))  # whatever the clock
    monkeypatch.setattr(export, "TRIED", ("dsb2018_nuclei",))
    pool = tmp_path / "pool"
    pool.mkdir()
    data.rename(pool / "dsb2018_nuclei")
    run, out = tmp_path / "run", tmp_path / "med_urwkv_t_objects"

    pretrain.objects(pool, run, made=3)
    export.main(run, pool, out, machine="a test machine")

    entry = find_model(out)
    assert [each.name for each in entry.card.classes] == ["background", "object"]
    assert entry.card.parent == "med_urwkv_t_nuclei"
    assert "a test machine" in entry.card.trained_by
    text = (out / "README.md").read_text()
    assert "3 made images" in text
    assert "| dsb2018_nuclei | 1 |" in text
    assert "$" not in text
    events = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} == {"validated"}
    assert "dsb2018_nuclei" in capsys.readouterr().out
