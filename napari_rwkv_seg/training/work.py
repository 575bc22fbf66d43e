"""What a training loop is told, and what it remembers. Knows no device and no files."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from .budget import Budget
from .events import Tell
from .losses import weighted_dice_ce_loss

Batch = tuple[Tensor, Tensor, Tensor]
"""Images (B, C, Y, X), targets (B, Y, X) and weights (B, Y, X)."""

SAVE_EVERY_S = 25.0
SAVE_SHARE = 0.04  # most of the time that checkpoints may take


def _once(write: Callable[[], object]) -> float:
    """Call `write`, and return the seconds that it took."""
    start = time.monotonic()
    write()
    return time.monotonic() - start


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train.

    Attributes
    ----------
    budget : Budget
        Steps or seconds.
    learning_rate, weight_decay : float
        Of AdamW (Loshchilov & Hutter, ICLR 2019); no decay on vectors and scalars.
    warmup : float
        Part of the budget in which the rate rises; afterwards it falls as a half cosine.
    averaging : float
        Largest decay of the moving average of the weights, which is what is validated and
        kept; the average never reaches back further than a tenth of the steps.
    clip : float
        Largest norm of the gradient.
    validate_every : float
        Steps between validations, or seconds if the budget is in seconds; there is one at the end.
    seed : int
        Of everything random.
    """

    budget: Budget
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    averaging: float = 0.998
    clip: float = 1.0
    validate_every: float = 250
    seed: int = 42


@dataclass(frozen=True)
class Work:
    """What a loop is to do.

    Parameters
    ----------
    make_batch : callable
        From a generator to images (B, C, Y, X), targets (B, Y, X) and weights (B, Y, X).
    validate : callable
        From the averaged network, in eval mode, to facts by name; `score` is to be maximised.
    tell : callable
        Is told events: a kind, and facts by name.
    groups : list of dict, optional
        Groups of parameters for AdamW, each with `lr_scale`; all parameters if not given.
    should_stop : callable
        Asked between steps whether to end with what there is; may raise to end otherwise.
    lighten : callable
        Makes the next step need less memory; returns a sentence, or "" if it cannot.
    loss : callable
        From the network's answer, targets and weights to a scalar.
    insist : callable
        Calls what writes a checkpoint, perhaps again; returns the seconds that it took.
    """

    make_batch: Callable[[np.random.Generator], Batch]
    validate: Callable[[nn.Module], Mapping[str, Any]]
    tell: Tell
    groups: list[dict[str, Any]] | None = None
    should_stop: Callable[[], bool] = lambda: False
    lighten: Callable[[], str] = lambda: ""
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = weighted_dice_ce_loss
    insist: Callable[[Callable[[], object]], float] = _once


@dataclass
class State:
    """Where a run is; what of a checkpoint is no tensor."""

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    seconds: float = 0.0
    begun: float = 0.0  # second of the first step
    validated: float = 0.0  # second of the end of the last validation
    validated_step: int = 0
    rate: float = 1.0  # halved when a run has to go back
    rollbacks: int = 0


@dataclass
class Rhythm:
    """What happens by the clock of this process."""

    told: float = -math.inf
    saved: float = field(default_factory=time.monotonic)
    save_cost: float = 0.0
    losses: list[float] = field(default_factory=list)
    bad: int = 0

    def is_save_due(self) -> bool:
        """Return whether a checkpoint is due, and does not take too much of the time."""
        waited = time.monotonic() - self.saved
        return waited > max(SAVE_EVERY_S, self.save_cost / SAVE_SHARE)
