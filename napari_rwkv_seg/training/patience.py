"""What a run does while its checkpoints cannot be written: it waits, and goes on.

A disk may be full for a while, a share away, a folder renamed or locked. What was
learnt is in memory meanwhile; the time that is waited does not count as the run's.
"""

import time
from collections.abc import Callable
from pathlib import Path

from napari_rwkv_seg.errors import OutputError

from .budget import Stopwatch
from .events import Tell

LONGEST_S = 25 * 60.0
"""After half an hour, processes that train together no longer wait for each other."""

_EVERY_S = 5.0  # between two attempts
_LOOK_S = 0.2  # between two looks at what is asked for


class Patience:
    """Writes, again and again if need be, until it works or the run is to end.

    Parameters
    ----------
    folder : Path
        Where to, for the sentence.
    tell : callable
        Is told `waiting` when the first attempt fails.
    is_over : callable
        Asked while waiting whether to give up; may raise to end otherwise.
    watch : Stopwatch
        Of the run; what is waited is taken off.
    """

    def __init__(
        self, folder: Path, tell: Tell, is_over: Callable[[], bool], watch: Stopwatch
    ) -> None:
        self._folder, self._tell, self._is_over, self._watch = folder, tell, is_over, watch

    def __call__(self, write: Callable[[], object]) -> float:
        """Write, and return the seconds that the attempt took which succeeded.

        Raises
        ------
        OutputError
            If it cannot be written, and the run is to end or has waited for `LONGEST_S`.
        """
        begun, is_told = time.monotonic(), False
        while True:
            start = time.monotonic()
            try:
                write()
            except OutputError as error:
                if not is_told:
                    self._tell("waiting", what=self._sentence(error))
                    is_told = True
                if self._gives_up(begun):
                    raise OutputError(
                        f"{error} The run stopped; its last checkpoint is whole, so it can be "
                        "resumed."
                    ) from error
                continue
            self._watch.add(begun - start)
            return time.monotonic() - start

    def _gives_up(self, begun: float) -> bool:
        """Wait for the next attempt; return whether there is to be none."""
        until = time.monotonic() + _EVERY_S
        while time.monotonic() < until:
            if self._is_over() or time.monotonic() - begun > LONGEST_S:
                return True
            time.sleep(_LOOK_S)
        return False

    def _sentence(self, error: OutputError) -> str:
        cause = error.__cause__
        reason = (cause.strerror if isinstance(cause, OSError) else None) or str(error)
        return (
            f"The checkpoint cannot be written to {str(self._folder)!r} ({reason}): the training "
            f"waits for up to {LONGEST_S / 60:.0f} minutes. Make room there, or bring the folder "
            "back; what was learnt is in memory."
        )
