"""How the seconds of a run are shared out: steps, checks on the way, and what comes afterwards.

What a score costs is known from the base, which is scored first (`held_out.HeldOut`).
"""

import numpy as np

from .budget import Budget
from .held_out import FULL_SHARE, HeldOut

_CHECK_SHARE = 0.12  # of the time, for the checks on the way
_CHECKS = 8  # at most
_WRITING_S = 2.0  # for the model and the differences, at the end
_LEAST_SHARE = 0.25  # of the time, for the steps, however long scores take
_MOST_CORRECTED = 6  # pairs; they tell what the base knows


def timetable(seconds: float, held_out: HeldOut, to_compare: float) -> tuple[Budget, float, float]:
    """Return until when to train, the seconds between two checks, and those after the steps.

    Parameters
    ----------
    seconds : float
        Of the whole run.
    held_out : HeldOut
        The base was scored on it.
    to_compare : float
        Seconds that it takes to choose between the base and what was learnt.
    """
    after = held_out.seconds_quick + 1.1 * held_out.seconds_full + _WRITING_S + to_compare
    budget = Budget(seconds=seconds - after, least=_LEAST_SHARE * seconds)
    checks = int(_CHECK_SHARE * seconds / max(held_out.seconds_quick, 1e-3))
    return budget, budget.end() / max(1, min(_CHECKS, checks)), after


def corrected_in_time(
    seconds: float | None, held_out: HeldOut, corrected: HeldOut
) -> tuple[list[int], float]:
    """Return which corrected pairs there is time to score, at least one, and how long that takes.

    Parameters
    ----------
    seconds : float, optional
        Of the whole run; as many as are of use if not given.
    held_out, corrected : HeldOut
        What is held out, which the base was scored on, and all that was corrected.
    """
    some = corrected.order[:_MOST_CORRECTED]
    a_pixel = held_out.seconds_full / held_out.pixels(held_out.full)
    spent = a_pixel * np.cumsum([corrected.pixels([index]) for index in some])
    if seconds is not None:
        some = some[: max(1, int(np.count_nonzero(spent <= FULL_SHARE * seconds)))]
    return some, float(spent[len(some) - 1])
