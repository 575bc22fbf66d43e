"""How long a run may take, in optimiser steps or in seconds, and what follows from it.

Seconds are those that the user's clock counts, validations and all, summed over
the processes that worked on the run: a run that goes on after a stop has the rest.
"""

import math
import time
from dataclasses import dataclass

MIN_RATE = 0.01
"""Part of the learning rate that is left at the end."""


class Stopwatch:
    """Counts the seconds of a run, over all of its processes."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """Seconds used so far."""
        return self._before + time.monotonic() - self._start

    def add(self, seconds: float) -> None:
        """Count these seconds as well; below 0 they do not count."""
        self._before += seconds

    def go_on_from(self, seconds: float) -> None:
        """Count on from a checkpoint: what it took to start again is not the run's time."""
        self._start, self._before = time.monotonic(), seconds


@dataclass(frozen=True)
class Budget:
    """Either optimiser steps, or the second of the run at which training ends.

    Parameters
    ----------
    steps : int
        Optimiser steps in all; 0 if time counts.
    seconds : float
        When training ends, on the run's `Stopwatch`; not used with `steps`.
    least : float
        Seconds of training, if it begins so late that `seconds` would leave fewer.
    """

    steps: int = 0
    seconds: float = math.inf
    least: float = 0.0

    def end(self, begun: float = 0.0) -> float:
        """Return the second at which training ends if its first step was at `begun`."""
        return max(self.seconds, begun + self.least)

    def done(self, step: int, seconds: float, begun: float = 0.0) -> float:
        """Return the part that is used, 0 to 1, of a run whose first step was at `begun`."""
        if self.steps:
            return min(1.0, step / self.steps)
        end = self.end(begun)
        return 1.0 if seconds >= end else max(0.0, (seconds - begun) / (end - begun))

    def left(self, seconds: float, begun: float = 0.0) -> float | None:
        """Return the seconds that are left for training; None if steps count."""
        return None if self.steps else max(0.0, self.end(begun) - seconds)


def rate_scale(done: float, warmup: float) -> float:
    """Return the part of the learning rate to use: a linear rise, then half a cosine.

    Parameters
    ----------
    done : float
        Used part of the budget, 0 to 1.
    warmup : float
        Part of the budget in which the rate rises.

    References
    ----------
    Loshchilov & Hutter, SGDR, ICLR 2017, equation 5, without restarts.
    """
    if done < warmup:
        return MIN_RATE + (1 - MIN_RATE) * done / warmup
    place = (done - warmup) / (1 - warmup) if warmup < 1 else 1.0
    return MIN_RATE + (1 - MIN_RATE) * 0.5 * (1 + math.cos(math.pi * place))
