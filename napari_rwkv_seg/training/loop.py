"""The training loop: steps, moving average, checkpoints and validations.

One loop serves runs counted in steps and runs counted in seconds. `latest.pt`
has all that is needed to go on after a stop, `best.pt` the averaged weights with
the best validation score. Every random choice of a step follows from the seed
and the number of the step, so a resumed run draws what an uninterrupted one
would have drawn. Several processes (Lightning Fabric) train one network: the
first decides and writes, the others follow.
"""

import copy
import gc
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from napari_rwkv_seg.errors import ModelError, RunError
from napari_rwkv_seg.inference.running import is_out_of_memory

from .budget import Stopwatch, rate_scale
from .checkpoints import BEST, load_latest, save_checkpoint, save_latest
from .depth import set_training
from .work import LoopSettings, Rhythm, State, Work

_BAD_STEPS = 5  # in a row, before the run goes back to its last checkpoint
_ROLLBACKS = 3


class TrainingLoop:
    """Trains a network on batches made on demand, and keeps the best moving average.

    Parameters
    ----------
    network : nn.Module
        Trained in place; (B, C, Y, X) to logits (B, K, Y, X). Frozen parts stay as they are.
    settings : LoopSettings
        Length, rates and seed.
    folder : Path
        Of the checkpoints; made if missing, resumed from if it holds a `latest.pt`.
    work : Work
        Batches, validation, and whom to tell.
    fabric : Fabric, optional
        Device, precision and company; the CPU alone in float32 if not given.
    watch : Stopwatch, optional
        Counts the seconds of the run.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: LoopSettings,
        folder: Path,
        work: Work,
        fabric: Fabric | None = None,
        watch: Stopwatch | None = None,
    ) -> None:
        self._settings, self._folder, self._work = settings, folder, work
        self._fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self._watch = watch or Stopwatch()
        self._network = network
        groups = work.groups or _all_parameters(network, settings.weight_decay)
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.average.to(self._fabric.device)
        set_training(network)
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self._runner, self._optimizer = self._fabric.setup(network, optimizer)
        self._trained = [p for group in groups for p in group["params"]]
        self._now, self._rhythm = State(), Rhythm()
        folder.mkdir(parents=True, exist_ok=True)
        state = load_latest(folder)
        self.is_resumed = state is not None
        if state is not None:
            self._restore(state)
            self._watch.go_on_from(self._now.seconds)

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self._now.step

    @property
    def best_step(self) -> int:
        """The step of `best.pt`; 0 if there is none yet."""
        return self._now.best_step

    def run(self) -> Path:
        """Train until the budget is used, or to the wish to stop; return the path of the best.

        Raises
        ------
        RunError
            If memory does not suffice for the smallest step, or the numbers explode.
        OutputError
            If a checkpoint cannot be written.
        """
        if not self._now.step:
            self._now.begun = self._now.validated = self._watch.seconds
            self.save()
        elif self._agreed(self._is_validation_due()):  # the run was left in the middle of a check
            self._check()
        while (done := self._agreed(self._done())) < 1:
            self._advance(done)
            self._tell_step()
            if self._agreed(self._is_validation_due()):
                self._check()
            elif self._agreed(self._rhythm.is_save_due() and not self._rhythm.bad):
                self.save()
        if self._now.validated_step < self._now.step:
            self._check()
        return self._folder / BEST

    def save(self) -> None:
        """Write a checkpoint; only the first process does.

        Raises
        ------
        OutputError
            If it cannot be written; the last one is still there.
        """
        if self._fabric.is_global_zero:
            self._now.seconds = self._watch.seconds
            insist = self._work.insist
            self._rhythm.save_cost = insist(lambda: save_latest(self._folder, self._state()))
            self._rhythm.saved = time.monotonic()
            self._work.tell("saved", step=self._now.step)

    def _done(self) -> float:
        """Return the used part of the budget; 1 if the run is to stop."""
        if self._work.should_stop():
            return 1.0
        return self._settings.budget.done(self._now.step, self._watch.seconds, self._now.begun)

    def _agreed(self, value: Any) -> Any:
        """Return what the first process says."""
        return value if self._fabric.world_size == 1 else self._fabric.broadcast(value, src=0)

    def _is_validation_due(self) -> bool:
        every, now = self._settings.validate_every, self._now
        if self._settings.budget.steps:
            return now.step // every > now.validated_step // every
        return now.step > now.validated_step and self._watch.seconds - now.validated >= every

    def _advance(self, done: float) -> None:
        """Do one step; if memory runs out, with less, and if numbers explode, from earlier on."""
        try:
            is_finite = self._step(done)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            is_finite = None
        # Here the error is gone, and with its traceback the tensors that it kept alive.
        if is_finite is None:
            self._lighten()
        elif is_finite:
            self._rhythm.bad = 0
        else:
            self._rhythm.bad += 1
            if self._rhythm.bad >= _BAD_STEPS:
                self._go_back()

    def _step(self, done: float) -> bool:
        """Do one step of the optimiser and of the average; return whether all was finite."""
        settings, rank = self._settings, self._fabric.global_rank
        generator = np.random.default_rng([settings.seed, self._now.step, rank])
        torch.manual_seed(int(generator.integers(2**31)))
        batch = self._work.make_batch(generator)
        images, targets, weights = (part.to(self._fabric.device) for part in batch)
        loss = self._work.loss(self._runner(images), targets, weights)
        self._optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        norm = nn.utils.clip_grad_norm_(self._trained, settings.clip)
        self._now.step += 1
        if not bool(torch.isfinite(norm)):
            self._mend_statistics()
            return False
        scale = self._now.rate * rate_scale(done, settings.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * group.get("lr_scale", 1.0) * scale
        self._optimizer.step()
        self._update_average()
        self._rhythm.losses.append(float(loss.detach()))
        return True

    @torch.no_grad()
    def _mend_statistics(self) -> None:
        """Take those of the average where a batch has made statistics of a batch norm infinite."""
        averages = dict(self.average.named_buffers())
        for name, value in self._network.named_buffers():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                value.copy_(averages[name])

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights; quickly at first, while they change most."""
        decay = min(self._settings.averaging, (1 + self._now.step) / (10 + self._now.step))
        averages = self.average.state_dict()
        for name, value in self._network.state_dict().items():
            if value.is_floating_point():
                averages[name].lerp_(value, 1 - decay)
            else:
                averages[name].copy_(value)

    def _tell_step(self) -> None:
        """Tell how far the run is, about once a second."""
        now = time.monotonic()
        if now - self._rhythm.told < 1 or not self._rhythm.losses:
            return
        loss = sum(self._rhythm.losses) / len(self._rhythm.losses)
        self._rhythm.told, self._rhythm.losses = now, []
        seconds = self._watch.seconds
        left = self._settings.budget.left(seconds, self._now.begun)
        self._work.tell("step", step=self._now.step, seconds=seconds, left=left, loss=loss)

    def _check(self) -> None:
        """Validate the average, keep it if it is the best so far, and write a checkpoint."""
        if self._fabric.is_global_zero:
            self._validate()
        self._now.validated_step = self._now.step
        self._fabric.barrier()
        self.save()

    def _validate(self) -> None:
        try:
            facts = dict(self._work.validate(self.average))
        except ModelError:  # its answer is not finite
            facts = {"score": -math.inf}
        score = float(facts["score"])
        is_best = math.isfinite(score) and score > self._now.best
        if is_best:
            best = self.average.state_dict()
            self._work.insist(lambda: save_checkpoint(self._folder / BEST, best))
            self._now.best, self._now.best_step = score, self._now.step
        self._now.validated = self._watch.seconds
        shown = {"step": self._now.step, "seconds": self._now.validated, "best": is_best}
        self._work.tell("validated", **shown, **facts)

    def _lighten(self) -> None:
        """Let the next step need less memory."""
        self._optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self._fabric.device.type == "cuda":
            torch.cuda.empty_cache()
        sentence = self._work.lighten() if self._fabric.world_size == 1 else ""
        if not sentence:
            raise RunError(
                "Not enough memory even for the smallest training step. Close other programs, "
                "train less of the network (depth 'head'), or choose a smaller model."
            )
        self._work.tell("lighter", what=sentence)

    def _go_back(self) -> None:
        """Go on from the last checkpoint at half the rate, as often as that may help."""
        rate, rollbacks, step = self._now.rate, self._now.rollbacks + 1, self._now.step
        state = load_latest(self._folder)
        if state is None or rollbacks > _ROLLBACKS:
            raise RunError(
                "Training failed: the numbers became infinite again and again. Check the images "
                "for extreme values, or train less of the network (depth 'head')."
            )
        self._restore(state)
        # The step goes on counting: the same crops would lead to the same place.
        self._now.rate, self._now.rollbacks, self._now.step = rate / 2, rollbacks, step
        self._rhythm.bad = 0
        what = "The numbers became infinite; going on from the last checkpoint at half the rate."
        self._work.tell("lighter", what=what)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "now": vars(self._now).copy(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self._network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._now = State(**state["now"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                "The run cannot go on: its checkpoint belongs to another model. Start a new run."
            ) from error


def _all_parameters(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return all parameters in two groups; no decay on vectors and scalars."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.squeeze().ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.squeeze().ndim <= 1], "weight_decay": 0.0},
    ]
