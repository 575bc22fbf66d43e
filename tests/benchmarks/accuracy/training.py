"""Train one network on one set: the package's own loop, crops, augmentation and loss, from scratch.

Everything is the same for all networks: crops and their sizes, variations, AdamW with one rate,
warm-up and cosine by the clock, the moving average, how often and on what is validated, and the
seconds. The clock stands still while a network is validated, so that a slow one does not pay for
it twice. The weights with the best Dice on validation planes are kept.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_data import pooled_dice
from torch import nn

from napari_rwkv_seg.evaluation.regions import predict_classes
from napari_rwkv_seg.inference import Model
from napari_rwkv_seg.training.budget import Budget, Stopwatch
from napari_rwkv_seg.training.checkpoints import load_checkpoint_file
from napari_rwkv_seg.training.crops import CPU_PIXELS, CUDA_PIXELS, CropSource
from napari_rwkv_seg.training.hardware import Lightener, make_fabric
from napari_rwkv_seg.training.loop import TrainingLoop
from napari_rwkv_seg.training.pairs import class_map
from napari_rwkv_seg.training.run_settings import make_settings
from napari_rwkv_seg.training.split import Split
from napari_rwkv_seg.training.work import LoopSettings, Work
from napari_rwkv_seg.zoo.card import ModelCard, ObjectDefaults, class_cards

from .networks import ALL as NETWORKS
from .networks import CHANNELS, Framed, parameters
from .sets import ALL as SETS
from .sets import DataSet, pairs_of, read_cases, split_rows

RATE = 1e-3
CHECKS = 6
VALIDATION_PLANES = 24  # spread evenly over the split; more would take longer than training


@dataclass(frozen=True)
class Plan:
    """What a cell is: a set, a network, a seed, and what may be spent on it.

    Parameters
    ----------
    data, network : str
        Names.
    seed : int
        Of weights, crops and variations.
    seconds : float
        Of training, without validation and testing.
    device : str
        "cpu", "cuda" or "cuda:N".
    most_test : int
        Test images; 0 for all.
    steps : int
        Optimiser steps, as many as the first seed did in its seconds; 0 if the seconds count.
    """

    data: str
    network: str
    seed: int
    seconds: float
    device: str
    most_test: int = 0
    steps: int = 0

    @property
    def key(self) -> str:
        return (
            f"{self.data}/{self.network}/seed{self.seed}/{self.device.partition(':')[0]}"
            f"/{self.seconds:g}s" + (f"/first{self.most_test}" if self.most_test else "")
        )

    @property
    def facts(self) -> DataSet:
        return SETS[self.data]


def card_of(data: str) -> ModelCard:
    """Return what the predictor must know of a network for a set: as users' models have it."""
    facts = SETS[data]
    return ModelCard(
        name=data, title=data, purpose="", architecture="none", variant="",
        input_channels=CHANNELS, normalization=facts.normalization,
        classes=class_cards(facts.classes),
        objects=ObjectDefaults(fill_holes=False), license="", training_data=data,
    )  # fmt: skip


def build(plan: Plan, side: int, least_side: int) -> nn.Module:
    """Return the network of a cell with the random weights of its seed."""
    torch.manual_seed(plan.seed)
    network = NETWORKS[plan.network](1 + len(plan.facts.classes), side)
    return Framed(network, least_side).to(memory_format=torch.channels_last)


def train(plan: Plan, folder: Path) -> dict[str, Any]:
    """Train, and write the best weights to `folder`/best.pt; return what is to be told."""
    train_pairs = pairs_of(read_cases(plan.data, "train"))
    held_out = pairs_of(read_cases(plan.data, "val"))
    places = np.linspace(0, len(held_out) - 1, min(VALIDATION_PLANES, len(held_out))).round()
    held_out = [held_out[int(place)] for place in places]
    side = int(np.median([min(pair.labels.shape) for pair in train_pairs]))
    fabric = make_fabric(make_settings(model="none", name="cell", device=plan.device))
    crops = CropSource(
        train_pairs,
        _all_of(train_pairs),
        normalization=plan.facts.normalization,
        input_channels=CHANNELS,
        labels=plan.facts.labels,
        pixels=CUDA_PIXELS if fabric.device.type == "cuda" else CPU_PIXELS,
        turns=plan.facts.turns,
    )
    network = build(plan, side, crops.least_side)
    events: list[dict[str, Any]] = []
    watch = Stopwatch()
    work = Work(
        crops,
        _validation(plan, held_out, str(fabric.device), watch),
        lambda kind, **facts: events.append({"event": kind, **facts}),
        lighten=Lightener(network, crops.shrink),
    )
    settings = _settings(plan)
    start = time.monotonic()
    loop = TrainingLoop(network, settings, folder, work, fabric, watch)
    loop.run()
    return {
        "train_seconds": round(watch.seconds, 1),
        "wall_seconds": round(time.monotonic() - start, 1),
        "steps": loop.step,
        "best_step": loop.best_step,
        "checks": [
            [event["step"], round(event["seconds"], 1), round(event["score"], 4)]
            for event in events
            if event["event"] == "validated"
        ],
        "lighter": [event["what"] for event in events if event["event"] == "lighter"],
        "parameters": parameters(network),
        "precision": fabric._precision.precision,
        "train_planes": len(train_pairs),
        "validation_planes": len(held_out),
        "validation_made_here": plan.data in SETS and _is_made(plan.data),
        "side": side,
        "least_side": crops.least_side,
    }  # fmt: skip


def _settings(plan: Plan) -> LoopSettings:
    """Return how long to train: the seconds of the plan, or the steps that it names."""
    budget = Budget(steps=plan.steps) if plan.steps else Budget(seconds=plan.seconds)
    every = max(1, plan.steps // CHECKS) if plan.steps else plan.seconds / CHECKS
    return LoopSettings(budget, RATE, validate_every=every, seed=plan.seed)


def read_best(plan: Plan, trained: Mapping[str, Any], folder: Path) -> nn.Module:
    """Return the network that `train` told of, with its best weights, in evaluation mode."""
    network = build(plan, trained["side"], trained["least_side"])
    network.load_state_dict(load_checkpoint_file(folder / "best.pt"))
    return network.eval().to(plan.device)


def _validation(plan: Plan, pairs: list[Any], device: str, watch: Stopwatch) -> Any:
    """Return what scores the averaged network: Dice pooled over planes, mean over classes.

    The time that it takes is not counted.
    """
    card = card_of(plan.data)
    truths = [class_map(pair, plan.facts.labels) for pair in pairs]

    def validate(network: nn.Module) -> Mapping[str, Any]:
        start = time.monotonic()
        model = Model(card, network, device, Path())
        found = [predict_classes(model, pair.image) for pair in pairs]
        score = pooled_dice(found, truths, len(card.classes))
        watch.add(start - time.monotonic())
        return {"score": score}

    return validate


def _all_of(pairs: list[Any]) -> Split:
    """Return the split in which every pixel of the training images is learnt from."""
    return Split(
        tuple(pair.checked for pair in pairs),
        tuple(np.zeros_like(pair.checked) for pair in pairs),
        "",
    )


def _is_made(name: str) -> bool:
    return name != "synthetic" and split_rows(name, "val")[1]
