"""What bench_finetune and bench_pretraining share: images of ../shared/data, scores, results."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_rwkv_seg.evaluation import dice
from napari_rwkv_seg.evaluation.regions import predict_classes
from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.images import planes, read_image
from napari_rwkv_seg.inference import Model, load_model
from napari_rwkv_seg.training.finetune import run_finetune
from napari_rwkv_seg.training.pairs import TrainingPair, class_map
from napari_rwkv_seg.training.run_folder import prepare_run
from napari_rwkv_seg.training.run_settings import RunSettings
from napari_rwkv_seg.training.samples import read_split

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
KINDS = {
    "dsb2018_nuclei": "objects",
    "kvasir_seg": "classes",
    "glas": "objects",
    "phc_u373_timeseries": "objects",
}
FRAMES = {"train": "000-027", "val": "040-045", "test": "070-085"}  # of phc_u373_timeseries
TEST_IMAGES = 40


def read_results(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"cells": {}, "base": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def keep(path: Path, results: dict[str, Any]) -> None:
    text = json.dumps(results, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def training_pairs(name: str, k: int, seed: int) -> list[TrainingPair]:
    """Return k training images, drawn by the seed; those of k = 2 are the first of k = 5."""
    pairs = read_pairs(name, "train")
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:k]
    return [pairs[index] for index in sorted(chosen.tolist())]


def read_pairs(name: str, split: str) -> list[TrainingPair]:
    """Return the images of a split by name; a series frame by frame, in one group."""
    if name == "phc_u373_timeseries":
        return read_series(DATA / name, FRAMES[split])
    pairs = []
    for sample in sorted(read_split(DATA / name, split), key=lambda sample: sample.name):
        labels = sample.objects if KINDS[name] == "objects" else sample.objects > 0
        pairs.append(TrainingPair(sample.name, sample.image, labels, np.ones(labels.shape, bool)))
    return pairs


def read_series(folder: Path, frames: str) -> list[TrainingPair]:
    image, masks = (
        read_image(folder / part / f"u373_seq02_t{frames}.tif") for part in ("images", "masks")
    )
    found = zip(planes(image.data, image.axes), masks.data, strict=True)
    first = int(frames.partition("-")[0])
    return [
        TrainingPair(
            f"frame {first + place:03d}", plane[..., 0], mask, np.ones(mask.shape, bool), "u373"
        )
        for ((place,), plane), mask in found
    ]


def test_scores(model: Model, name: str, split: str) -> dict[str, float]:
    """Return mean and pooled Dice of the foreground of labels as users get them."""
    pairs = read_pairs(name, split)[:TEST_IMAGES]
    found = [predict_classes(model, pair.image) > 0 for pair in pairs]
    truths = [class_map(pair, "objects") for pair in pairs]
    means = [dice(*each) for each in zip(found, truths, strict=True)]
    pooled = pooled_dice(found, truths, 2)
    return {"mean": float(np.mean(means)), "pooled": pooled, "images": len(pairs)}


def pooled_dice(found: Sequence[np.ndarray], truths: Sequence[np.ndarray], classes: int) -> float:
    """Return the mean over classes of Dice over the pixels of all images, background left out.

    Classes that are in no truth are left out too; 0 if none is in any.
    """
    scores = []
    for number in range(1, classes):
        pairs = [(one == number, other == number) for one, other in zip(found, truths, strict=True)]
        overlap = sum(int(np.count_nonzero(one & other)) for one, other in pairs)
        true = sum(int(np.count_nonzero(other)) for _, other in pairs)
        if true:
            scores.append(
                2 * overlap / (sum(int(np.count_nonzero(one)) for one, _ in pairs) + true)
            )
    return sum(scores) / max(1, len(scores))


def train_and_test(
    folder: Path, settings: RunSettings, name: str, k: int, on: str
) -> dict[str, Any]:
    """Do a run on k images of a set, and return all that is known of it.

    Parameters
    ----------
    folder : Path
        Of the run; to be made.
    settings : RunSettings
        Its seed draws the images as well.
    name : str
        The set.
    k : int
        Training images.
    on : str
        The split to score the new model on, "test" or "val".
    """
    pairs = training_pairs(name, k, settings.seed)
    load, start = os.getloadavg(), time.monotonic()
    events: list[dict[str, Any]] = []
    run = prepare_run(folder, settings, pairs)
    shown = run_finetune(run.path, events.append)
    spent = time.monotonic() - start
    after = test_scores(load_model(run.model, settings.device), name, on)
    return {
        "test_after": after,
        "shown": {key: shown[key] for key in ("before", "after", "recommended", "regions")},
        "sentence": shown["sentence"],
        "split": next(event["sentence"] for event in events if event["event"] == "prepared"),
        "checks": [
            (event["step"], round(event["seconds"], 1), round(event["score"], 4))
            for event in events
            if event["event"] == "validated"
        ],
        "run": started(events),
        "steps": shown["steps"],
        "best_step": shown["best_step"],
        "share": shown["share"],
        "seconds": shown["seconds"],
        "wall_seconds": round(spent, 1),
        "load_before": [round(value, 2) for value in load],
        "load_after": [round(value, 2) for value in os.getloadavg()],
        "scored_on": on,
        "machine": machine(),
    }


def started(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how the run was set up."""
    event = next(event for event in events if event["event"] == "started")
    return {key: event[key] for key in ("depth", "precision", "minutes", "device", "backend")}


def machine() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "commit": commit,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "platform": platform.machine(),
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
