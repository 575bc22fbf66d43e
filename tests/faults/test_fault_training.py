"""Rows T: what can happen to a run that is not tested beside its code."""

import io
import sys
import zipfile
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from napari_rwkv_seg.errors import RunError, TrainingDataError
from napari_rwkv_seg.training import process
from napari_rwkv_seg.training.budget import Budget
from napari_rwkv_seg.training.checkpoints import load_checkpoint_file
from napari_rwkv_seg.training.control import Control, LeaveError
from napari_rwkv_seg.training.events import EventLog, make_event
from napari_rwkv_seg.training.finetune import run_finetune
from napari_rwkv_seg.training.loop import TrainingLoop
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.work import LoopSettings, Work
from napari_rwkv_seg.zoo.store import find_model, read_network


def test_images_with_channels_that_the_model_cannot_take_are_named(tiny, tmp_path):
    pairs = tiny.bright_pairs(3)
    odd = np.repeat(pairs[1].image[..., None], 5, axis=-1)
    pairs[1] = TrainingPair("the odd one", odd, pairs[1].labels, pairs[1].checked)
    with pytest.raises(TrainingDataError, match=r"'the odd one'.*5 channels"):
        run_finetune(tiny.tiny_run(tmp_path, pairs, steps=3).path)


def test_images_of_several_sizes_dtypes_and_channels_are_learnt_from_together(tiny, tmp_path):
    pairs = tiny.bright_pairs(3)
    grey = (pairs[1].image * 2).astype(np.uint16)[:70]
    colour = np.repeat(pairs[2].image[..., None], 3, axis=-1).astype(np.float64)[:, :50]
    pairs[1] = TrainingPair("small", grey, pairs[1].labels[:70], pairs[1].checked[:70])
    pairs[2] = TrainingPair("rgb", colour, pairs[2].labels[:, :50], pairs[2].checked[:, :50])
    assert run_finetune(tiny.tiny_run(tmp_path, pairs, steps=4).path)["steps"] == 4


def test_images_whose_pixels_differ_much_in_size_are_named(tiny, tmp_path):
    pairs = [
        replace(each, name=name, pixel_size_um=size)
        for each, name, size in zip(tiny.bright_pairs(3), "abc", (0.1, 0.65, None), strict=True)
    ]
    events = []
    run = tiny.tiny_run(tmp_path, pairs, steps=2)
    run_finetune(run.path, events.append)
    prepared = next(each for each in events if each["event"] == "prepared")
    warned = [each for each in prepared["warnings"] if "pixel size" in each]
    assert len(warned) == 1
    assert "'a' measure 0.1 µm and those of 'b' 0.65 µm" in warned[0]
    assert find_model(run.model).card.pixel_size_um is None


def test_the_card_of_a_new_model_tells_how_large_the_pixels_were(tiny, tmp_path):
    pairs = [replace(each, pixel_size_um=0.5) for each in tiny.bright_pairs(2)]
    events = []
    run = tiny.tiny_run(tmp_path, pairs, steps=2)
    run_finetune(run.path, events.append)
    assert not any("pixel size" in text for each in events for text in each.get("warnings", ()))
    assert find_model(run.model).card.pixel_size_um == 0.5


def test_one_image_alone_gives_a_model_of_finite_weights(tiny, tmp_path):
    run = tiny.tiny_run(tmp_path, tiny.bright_pairs(1, size=200), steps=4)
    assert run_finetune(run.path)["steps"] == 4
    weights = read_network(find_model(run.model)).state_dict().values()
    assert all(bool(torch.isfinite(value).all()) for value in weights)


@pytest.mark.parametrize(
    ("old", "new"), [("seed = 42", "seed = 7"), ('labels = "classes"', 'labels = "objects"')]
)
def test_a_run_whose_choices_were_changed_is_not_gone_on_with(tiny, tmp_path, old, new):
    run, control = tiny.tiny_run(tmp_path, steps=100), Control()

    def leave(event):
        if event["event"] == "step":
            control.leave()

    with pytest.raises(LeaveError):
        run_finetune(run.path, leave, control)
    text = run.settings_file.read_text()
    assert old in text
    run.settings_file.write_text(text.replace(old, new))
    with pytest.raises(RunError, match=r"changed in run\.toml"):
        run_finetune(run.path)


def test_a_checkpoint_that_was_saved_on_a_gpu_is_read_without_one(tmp_path):
    torch.save({"weight": torch.arange(5.0)}, tmp_path / "cpu.pt")
    content = io.BytesIO()
    with (
        zipfile.ZipFile(tmp_path / "cpu.pt") as given,
        zipfile.ZipFile(content, "w") as made,
    ):
        for entry in given.infolist():
            data = given.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert b"X\x03\x00\x00\x00cpu" in data
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            made.writestr(entry.filename, data)
    (tmp_path / "cuda.pt").write_bytes(content.getvalue())
    weight = load_checkpoint_file(tmp_path / "cuda.pt")["weight"]
    assert weight.device.type == "cpu"
    assert weight.tolist() == [0, 1, 2, 3, 4]


def test_a_listener_that_is_gone_does_not_end_a_run(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    process._say(make_event("step", step=1))


def one_batch(generator):
    images = torch.from_numpy(generator.standard_normal((2, 1, 5, 7), dtype=np.float32))
    return images, (images[:, 0] > 0).long(), torch.ones(2, 5, 7)


@pytest.mark.long
def test_ten_thousand_steps_with_a_hundred_checks_grow_neither_memory_nor_files(
    tmp_path, record_property
):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    log = EventLog(tmp_path / "events.jsonl", lambda _: None)
    this, sizes = psutil.Process(), []

    def validate(network):
        sizes.append(this.memory_info().rss)
        return {"score": 0.5}

    settings = LoopSettings(Budget(10_000), validate_every=100)
    files = len(this.open_files())
    TrainingLoop(network, settings, tmp_path / "run", Work(one_batch, validate, log)).run()
    growth = max(sizes[20:]) - sizes[20]
    record_property("memory grown over 8 000 steps, MB", growth / 1e6)
    assert growth < 50_000_000
    assert len(this.open_files()) == files
    assert (tmp_path / "events.jsonl").stat().st_size < 1_000_000
