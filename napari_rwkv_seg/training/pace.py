"""How long a step takes, and whether that is too long to answer a wish in time."""

import time
from collections import deque
from collections.abc import Callable
from statistics import median

SLOW_S = 1.2
"""Steps that take longer are too rare to learn from in minutes, and too long to wait for."""

_FIRST = 2  # steps in which the libraries choose and compile their code
_KEPT = 5


class Pace:
    """The time between two steps.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=_KEPT)
        self._left_out = _FIRST
        self._last: float | None = None

    def step(self) -> None:
        """Take note that a step begins now."""
        now = self._clock()
        if self._last is not None and self._left_out:
            self._left_out -= 1
        elif self._last is not None:
            self._times.append(now - self._last)
        self._last = now

    def pause(self) -> None:
        """Take note that something else takes time until the next step."""
        self._last = None

    @property
    def is_slow(self) -> bool:
        """Whether the last steps took too long; forgets them if so, to judge anew."""
        if len(self._times) < _KEPT or median(self._times) <= SLOW_S:
            return False
        self._times.clear()
        return True
