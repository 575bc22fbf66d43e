"""How many threads a run computes with: one for each processor that nobody else needs.

A network of small layers has its threads meet thousands of times a step. On idle processors they
are quickest if whoever waits keeps looking for a while (`process.settle_process`); where another
program holds one of the processors, all wait for the thread that stands still there, and one
thread fewer is quicker. So a run looks every two seconds at what others use. Of two runs on one
machine the one that came first keeps the more.
"""

import os
import time
from collections.abc import Callable
from types import TracebackType

import psutil
import torch

_EVERY_S = 2.0
_ROOM = 0.75
"""Part of a processor that must be free for a thread."""

Used = tuple[float, float, float]
"""Seconds on a clock, of all processors at work, and of them in this process."""


class Threads:
    """Fits the threads of torch to what others leave free; gives back what it found in the end.

    Parameters
    ----------
    is_fixed : bool
        Leave them as they are: their number decides how sums are rounded, so a run that is to
        repeat bit for bit keeps it.
    used : callable
        Returns what was used until now.
    clock : callable
        Returns the seconds of its clock.
    processors : int, optional
        All that there are.
    """

    def __init__(
        self,
        *,
        is_fixed: bool = False,
        used: Callable[[], Used | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        processors: int | None = None,
    ) -> None:
        self._used, self._clock = used or used_until_now, clock
        self._processors = processors or os.cpu_count() or 1
        self._most = torch.get_num_threads()
        self._last = None if is_fixed or self._most == 1 else self._used()

    def __enter__(self) -> "Threads":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if torch.get_num_threads() != self._most:
            torch.set_num_threads(self._most)

    def adapt(self) -> None:
        """Use as many threads as there was room for in the last two seconds, at least one."""
        if self._last is None or self._clock() - self._last[0] < _EVERY_S:
            return
        if (now := self._used()) is None:
            return
        seconds, busy, own = (x - y for x, y in zip(now, self._last, strict=True))
        self._last = now
        free = self._processors - max(0.0, busy - own) / seconds
        wanted = min(self._most, max(1, int(free + 1 - _ROOM)))
        if wanted != torch.get_num_threads():
            torch.set_num_threads(wanted)


def used_until_now() -> Used | None:
    """Return what `Used` says, or None where the system does not tell.

    What a virtual machine's host takes away counts as used by others.
    """
    try:
        times = psutil.cpu_times()
    except (psutil.Error, OSError, RuntimeError):
        return None
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")
    busy = sum(getattr(times, kind, 0.0) for kind in kinds)
    return time.monotonic(), busy, time.process_time()
