"""Whether a new model is better than the one it was made from, and how surely.

NumPy only. Dice coefficients are pooled: over all held-out pixels together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW_IMAGES = 4
"""From here on their spread can be measured."""

_MARGIN = 0.01  # of Dice; less is noise, whatever the spread says
_MARGIN_OF_FEW = 0.03  # one image is a bad witness; divided by the root of their number
_CLASS_MARGINS = 2  # of many classes, one falls by a standard error by chance
_DRAWS = 400
_LOSS_SHARE = 0.2  # of the gain, for weights nearer to the base
_USEFUL = 0.5  # Dice, beneath which more than two pixels are wrong for each that is found
_WELL_KNOWN = 2 / 3  # Dice of the base, from where on images are of a kind that it knows

Counts = NDArray[np.int64]
"""Twice the overlap, the sum of the areas, the true area (images, 3, foreground classes)."""


def verdict(
    before: Counts,
    after: Counts,
    classes: Sequence[str],
    known: Sequence[bool],
    luck: float = 0.0,
) -> dict[str, Any]:
    """Return the scores before and after, whether the new model is recommended, and why.

    A class that the old model does not know counts as 0 before when the two are
    compared. Shown are the means of the classes that both know, and the Dice of
    each new one beside them. The new model is
    recommended if it gains more than the margin (see `margin`), its luck taken
    off, loses nothing beyond it on the mean of the classes that the old model knows, nor
    beyond two margins on one of them, and has a Dice of one half or more: what is mostly
    wrong takes longer to correct than to paint.

    Parameters
    ----------
    before, after : Counts
        Of the same images.
    classes : sequence of str
        Names of the foreground classes.
    known : sequence of bool
        Whether the old model knows them.
    luck : float
        What the new model may owe to being the best of several; see `luck_of_best`.
    """
    is_known = np.asarray(known)
    occurs = after.sum(0)[2] > 0
    all_of_it, of_known = np.flatnonzero(occurs), np.flatnonzero(occurs & is_known)
    old = np.where(is_known, before, after * [[0], [1], [1]])
    gain = _mean(after, all_of_it) - _mean(old, all_of_it)
    kept = _mean(after, of_known) - _mean(old, of_known)
    needed = margin(old, after, all_of_it)
    fallen = _most_fallen(old, after, of_known)
    is_better = gain - luck > needed and kept > -needed and fallen is None
    is_useful = _mean(after, all_of_it) >= _USEFUL
    facts = {
        "before": _scores(before, of_known, classes),
        "after": _scores(after, all_of_it, classes)
        | {"mean_of_known": _scores(after, of_known, classes)["mean"]},
        "recommended": bool(is_better and is_useful),
    }
    doubt = ""
    if gain - luck > needed and fallen is not None:
        was, is_now = (_mean(each, np.array([fallen])) for each in (old, after))
        doubt = (
            f"the new model is better on average, but {classes[fallen]!r} fell from {was:.2f} "
            f"to {is_now:.2f}"
        )
    elif is_better and not is_useful:
        doubt = (
            "the new model is better, but still gets two pixels wrong for each that it finds; "
            "correct more images before you use it"
        )
    elif needed >= gain > 0:
        doubt = f"the gain is within chance (less than {needed:.2f})"
    elif gain > needed >= gain - luck:
        doubt = "the gain came at one check and was gone at the next, so it may be chance"
    return facts | {"sentence": _sentence(facts, doubt, len(after), ~is_known, classes)}


def are_few(counts: Counts) -> bool:
    """Return whether these are too few images to tell anything about others."""
    return len(counts) < FEW_IMAGES


def is_known_well(base: Counts) -> bool:
    """Return whether the base does these images well, so that they are of a kind that it knows."""
    return _mean(base, np.flatnonzero(base.sum(0)[2] > 0)) >= _WELL_KNOWN


def is_as_good(base: Counts, learnt: Counts, other: Counts) -> bool:
    """Return whether other weights may stand for those learnt: nearly all of the gain is kept.

    What is lost is at most what may be chance (`margin`), and at most a fifth of the gain
    over the base. Where nothing was gained there is nothing to keep, and the answer is no.

    Parameters
    ----------
    base, learnt, other : Counts
        Of the same images.
    """
    numbers = np.flatnonzero(learnt.sum(0)[2] > 0)
    gain = _mean(learnt, numbers) - _mean(base, numbers)
    lost = _mean(learnt, numbers) - _mean(other, numbers)
    return gain > 0 and lost <= min(margin(learnt, other, numbers), _LOSS_SHARE * gain)


def luck_of_best(scores: Sequence[float]) -> float:
    """Return how far the best of successive checks stands above the mean of it and its neighbours.

    The best of several noisy scores is too good on average ("winner's curse"). Weights that
    are really better are nearly as good a check earlier and a check later; a peak is not.
    Zero for a single check: there was nothing to choose from.

    Parameters
    ----------
    scores : sequence of float
        Of the checks on the way, in order; may be empty.
    """
    if not scores:
        return 0.0
    best = int(np.argmax(scores))
    near = scores[max(0, best - 1) : best + 2]
    return float(scores[best] - np.mean(near))


def margin(before: Counts, after: Counts, numbers: NDArray[np.intp]) -> float:
    """Return how much Dice must be gained to be more than chance.

    With four images or more, one standard error of the gain, by drawing images
    with replacement (bootstrap; Efron, Ann. Statist. 7, 1979), but at least
    0.01. With fewer the spread cannot be measured, and 0.03 / √n is asked for.
    """
    count, every = len(after), np.arange(numbers.size)
    if are_few(after):
        return _MARGIN_OF_FEW / float(np.sqrt(count))
    generator = np.random.default_rng(42)
    draws = generator.integers(count, size=(_DRAWS, count))
    before, after = before[:, :, numbers], after[:, :, numbers]
    gains = [_mean(after[draw], every) - _mean(before[draw], every) for draw in draws]
    return max(_MARGIN, float(np.std(gains)))


def _most_fallen(before: Counts, after: Counts, numbers: NDArray[np.intp]) -> int | None:
    """Return which of some classes lost most Dice, if any lost more than twice the margin."""
    losses = {}
    for number in numbers[:, np.newaxis]:
        loss = _mean(before, number) - _mean(after, number)
        if loss > _CLASS_MARGINS * margin(before, after, number):
            losses[int(number[0])] = loss
    return max(losses, key=lambda number: losses[number]) if losses else None


def _mean(counts: Counts, numbers: NDArray[np.intp]) -> float:
    """Return the mean Dice of some classes, pooled over the images."""
    overlap, areas, _ = counts.sum(0)[:, numbers]
    dice: NDArray[np.float64] = overlap / np.maximum(areas, 1)
    return float(dice.mean()) if numbers.size else 0.0


def _scores(counts: Counts, numbers: NDArray[np.intp], classes: Sequence[str]) -> dict[str, Any]:
    """Return the mean Dice, None if there is no class, and the Dice of each class."""
    overlap, areas, _ = counts.sum(0)
    each = {classes[n]: round(float(overlap[n] / max(areas[n], 1)), 4) for n in numbers}
    return {"mean": round(_mean(counts, numbers), 4) if numbers.size else None, "classes": each}


def _sentence(
    facts: dict[str, Any],
    doubt: str,
    images: int,
    is_new: NDArray[np.bool_],
    classes: Sequence[str],
) -> str:
    """Return the outcome in words."""
    old, new = facts["before"]["mean"], facts["after"]["mean_of_known"]
    where = f"held-out regions of {images} image{'s' * (images != 1)}"
    shown = f"{facts['after']['mean'] or 0:.2f} Dice on {where}"
    if old is not None:
        shown = f"{old:.2f} → {new:.2f} Dice on {where}"
    found = facts["after"]["classes"]
    added = [
        f"{name!r} {found[name]:.2f}" if name in found else f"{name!r} (none is held out)"
        for name, new_one in zip(classes, is_new, strict=True)
        if new_one
    ]
    notes = f" New to the model: {', '.join(added)}." if added else ""
    if facts["recommended"]:
        like = " on images like these; others were not checked" if images < FEW_IMAGES else ""
        return f"{shown}: the new model is better{like}.{notes}"
    return f"{shown}: {doubt or 'the new model is not better'}.{notes}"
