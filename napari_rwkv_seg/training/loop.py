"""The training loop: steps, moving average, checkpoints, and a log of events.

A run lives in a folder of its own: `events.jsonl` has a line for each report,
`latest.pt` all that is needed to go on after a stop, `best.pt` the averaged
weights with the best validation score. Every random choice of a step follows
from the seed and the number of the step, so a resumed run draws what an
uninterrupted one would have drawn.
"""

import copy
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_rwkv_seg.files import read_bytes, write_atomically

from .losses import weighted_dice_ce_loss

CHECKPOINT_LIMIT = 2**31
Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train.

    Attributes
    ----------
    steps : int
        Optimiser steps in all.
    learning_rate, weight_decay : float
        Of AdamW (Loshchilov & Hutter, ICLR 2019); no decay on vectors and scalars.
    warmup : float
        Part of the steps in which the rate rises; afterwards it falls as a half cosine.
    averaging : float
        Decay of the moving average of the weights, which is what is validated and kept.
    clip : float
        Largest norm of the gradient.
    validate_every : int
        Steps between validations; a checkpoint is written at each.
    seed : int
        Of everything random.
    is_bfloat16 : bool
        Run the layers in bfloat16 where autocast allows it; loss and weights stay float32.
    """

    steps: int = 5000
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    averaging: float = 0.998
    clip: float = 1.0
    validate_every: int = 250
    seed: int = 42
    is_bfloat16: bool = False


class TrainingLoop:
    """Trains a network on batches made on demand, and keeps the best moving average.

    Parameters
    ----------
    network : nn.Module
        Trained in place; (B, C, Y, X) to logits (B, K, Y, X).
    settings : LoopSettings
        Length, rates and seed.
    folder : Path
        Of the run; made if missing, resumed from if it holds `latest.pt`.
    make_batch : callable
        From a generator to images (B, C, Y, X), targets (B, Y, X) and weights (B, Y, X).
    validate : callable
        From a network in eval mode to scores by name; `score` is the one to maximise.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: LoopSettings,
        folder: Path,
        make_batch: Callable[[np.random.Generator], Batch],
        validate: Callable[[nn.Module], dict[str, float]],
    ) -> None:
        self._network, self._settings, self._folder = network, settings, folder
        self._make_batch, self._validate = make_batch, validate
        self._average = copy.deepcopy(network).eval().requires_grad_(False)
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(network, settings.weight_decay), fused=True
        )
        self._step, self._best, self._seconds = 0, -math.inf, 0.0
        self._is_validated = True
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "latest.pt").exists():
            self._resume()

    def run(self, report: Callable[[str], None]) -> Path:
        """Train to the last step and return the path of the best weights (a state dict)."""
        self._event(report, event="started", step=self._step, **asdict(self._settings))
        if not self._is_validated:  # the run was stopped in the middle of a validation
            self._check(report)
        losses: list[float] = []
        start = time.monotonic()
        while self._step < self._settings.steps:
            losses.append(self._train_step())
            if self._step % 25 == 0:
                rate = len(losses) / (time.monotonic() - start)
                loss = _mean(losses[-25:])
                self._event(report, event="step", step=self._step, loss=loss, per_s=rate)
            if self._is_validation_due():
                self._seconds += time.monotonic() - start
                self._check(report)
                losses, start = [], time.monotonic()
        return self._folder / "best.pt"

    def _is_validation_due(self) -> bool:
        every, last = self._settings.validate_every, self._settings.steps
        return self._step % every == 0 or self._step == last

    def _train_step(self) -> float:
        """Do one step of the optimiser and of the average; return the loss."""
        generator = np.random.default_rng([self._settings.seed, self._step])
        torch.manual_seed(int(generator.integers(2**31)))
        images, targets, weights = self._make_batch(generator)
        self._network.train()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._settings.is_bfloat16):
            logits = self._network(images)
        loss = weighted_dice_ce_loss(logits, targets, weights)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.clip)
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * _schedule(self._step, self._settings)
        self._optimizer.step()
        self._step += 1
        self._update_average()
        return float(loss.detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights; quickly at first, while they change most."""
        decay = min(self._settings.averaging, (1 + self._step) / (10 + self._step))
        averages = self._average.state_dict()
        for name, value in self._network.state_dict().items():
            if value.is_floating_point():
                averages[name].lerp_(value, 1 - decay)
            else:
                averages[name].copy_(value)

    def _check(self, report: Callable[[str], None]) -> None:
        """Write a checkpoint, validate the average, and keep it if it is the best so far."""
        self._is_validated = False
        _save(self._folder / "latest.pt", self._state())
        scores = self._validate(self._average)
        self._is_validated = True
        is_best = scores["score"] > self._best
        if is_best:
            self._best = scores["score"]
            _save(self._folder / "best.pt", self._average.state_dict())
        _save(self._folder / "latest.pt", self._state())
        facts = {"step": self._step, "best": is_best, "seconds": round(self._seconds)}
        self._event(report, event="validated", **facts, **scores)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "best": self._best,
            "seconds": self._seconds,
            "is_validated": self._is_validated,
        }

    def _resume(self) -> None:
        state = load_checkpoint_file(self._folder / "latest.pt")
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._best, self._seconds = state["step"], state["best"], state["seconds"]
        self._is_validated = state["is_validated"]

    def _event(self, report: Callable[[str], None], **facts: object) -> None:
        line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in facts.items()})
        with (self._folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        report(line)


def load_checkpoint_file(path: Path) -> dict[str, Any]:
    """Return what a run saved at `path`: tensors and plain values only, nothing that runs code."""
    state: dict[str, Any] = torch.load(
        io.BytesIO(read_bytes(path, CHECKPOINT_LIMIT)), weights_only=True, map_location="cpu"
    )
    return state


def _save(path: Path, state: dict[str, Any]) -> None:
    write_atomically(path, lambda file: torch.save(state, file))


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.squeeze().ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.squeeze().ndim <= 1], "weight_decay": 0.0},
    ]


def _schedule(step: int, settings: LoopSettings) -> float:
    """Return the part of the learning rate to use: a linear rise, then half a cosine to 1 %."""
    warmup = max(1, round(settings.warmup * settings.steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, settings.steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
