"""How far to go from the weights of the base towards those that were learnt.

What is held out of a few corrected images is like what was learnt from them; that
other kinds of images are forgotten is seen nowhere. Weights on the straight line
between the two networks forget less (Wortsman et al., Robust fine-tuning of
zero-shot models, CVPR 2022, equation 1), and most of what was gained is there
well before the end of the line.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from .verdict import Counts, are_few, is_as_good, is_known_well

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Parts of the way that are looked at; 1 is what was learnt."""

SCORES = 3
"""Networks that are scored to choose among them: what was learnt, and two on the way."""

_CAUTIOUS = 0.5

Weights = Mapping[str, Tensor]


def between(base: Weights, learnt: Weights, share: float) -> dict[str, Tensor]:
    """Return the weights part of the way from `base` to `learnt`.

    Parameters
    ----------
    base, learnt : dict of str to Tensor
        Of two networks of one architecture; integers, such as the count of a
        batch norm, are taken from `learnt`.
    share : float
        0 is `base`, 1 is `learnt`, to the bit.
    """
    if share == 1:
        return dict(learnt)
    return {
        name: base[name].to(value).lerp(value, share) if value.is_floating_point() else value
        for name, value in learnt.items()
    }


def choose_share(
    base: Counts, corrected: Callable[[], Counts], counts: Callable[[float], Counts]
) -> float:
    """Return how far to go.

    All of the way where the base does not know such images (`verdict.is_known_well`): what
    it could do is another task. Where it does, half of the way if few images are checked,
    since there is more to forget than they show; if many are, to the nearest of `SHARES`
    that is as good as what was learnt (`verdict.is_as_good`), by bisection: scores fall
    towards a base that is worse; where they do not, a farther one may be returned, which is
    as good too.

    Parameters
    ----------
    base : Counts
        Of the base on what is held out (`held_out.HeldOut.counts`).
    corrected : callable
        Returns the counts of the base on what was learnt from as well. Asked for where few
        images are checked, since one is a bad witness of what the base knows.
    counts : callable
        Gets a share and returns the counts of those weights on what is held out.
    """
    if are_few(base):
        return _CAUTIOUS if is_known_well(corrected()) else 1.0
    if not is_known_well(base):
        return 1.0
    learnt = counts(1.0)
    low, high = 0, len(SHARES) - 1
    while low < high:
        middle = (low + high) // 2
        if is_as_good(base, learnt, counts(SHARES[middle])):
            high = middle
        else:
            low = middle + 1
    return SHARES[low]


def in_words(share: float, base: Counts, held_out: int) -> str:
    """Return a sentence on how far it goes, for who chooses a model; "" if all the way.

    Parameters
    ----------
    share : float
        From `choose_share`.
    base : Counts
        What it was chosen by.
    held_out : int
        Images of which a part is held out; there may have been no time for all of them.
    """
    if share == 1:
        return ""
    if are_few(base):
        more = "time to compare" if len(base) < held_out else "corrected images"
        return (
            f"It goes {share:.0%} of the way from the old model, so that less is forgotten; with "
            f"more {more} it will go farther."
        )
    return (
        f"It goes {share:.0%} of the way from the old model: as good on these images, and less is "
        "forgotten."
    )
