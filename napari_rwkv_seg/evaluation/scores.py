"""Scores of one label image against the truth.

Labels are integer arrays with 0 for background. Both scores lie between 0 and
1; two empty images agree fully (1).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer] | NDArray[np.bool_]


def dice(labels: Labels, truth: Labels) -> float:
    """Return the Dice coefficient of the two foregrounds: twice the overlap over the sum of areas.

    Parameters
    ----------
    labels, truth : ndarray of integers or bool, any equal shape
        Everything above 0 is foreground.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Dice, "Measures of the amount of ecologic association between species", Ecology 26 (1945).
    """
    _check_shapes(labels, truth)
    found, wanted = labels > 0, truth > 0
    total = int(found.sum()) + int(wanted.sum())
    return 2.0 * int((found & wanted).sum()) / total if total else 1.0


def object_f1(labels: Labels, truth: Labels, iou: float = 0.5) -> float:
    """Return the F1 score of objects: an object is found if one of the truth overlaps it well.

    Parameters
    ----------
    labels, truth : ndarray of integers, any equal shape
        One number an object, 0 for background.
    iou : float
        An object counts as found when the intersection over union with a true
        object exceeds this; at 0.5 or more no object can match twice.

    Returns
    -------
    float
        2 TP / (objects in `labels` + objects in `truth`).

    Raises
    ------
    ValueError
        If the shapes differ, or if `iou` lies outside 0.5 … 1.

    References
    ----------
    Caicedo et al., Nat. Methods 16, 1247 (2019), equation for F1 at an IoU threshold.
    """
    if not 0.5 <= iou < 1:
        raise ValueError(
            f"object_f1 matches an object once at most for iou in [0.5, 1), not {iou}."
        )
    return match_objects(labels, truth).f1(iou)


@dataclass(frozen=True)
class ObjectMatches:
    """How well objects overlap those of the truth.

    Parameters
    ----------
    ious : float array (pairs,)
        Intersection over union of every pair of objects that meet.
    found, true : int
        How many objects there are in the labels and in the truth.
    """

    ious: NDArray[np.float64]
    found: int
    true: int

    def f1(self, iou: float) -> float:
        """Return 2 TP / (found + true) at an IoU of 0.5 or more; 1 without any object."""
        total = self.found + self.true
        return 2.0 * int((self.ious > iou).sum()) / total if total else 1.0


def match_objects(labels: Labels, truth: Labels) -> ObjectMatches:
    """Return the overlaps of all objects, from which `object_f1` at any threshold follows.

    Parameters
    ----------
    labels, truth : ndarray of integers, any equal shape
        One number an object, 0 for background.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    _check_shapes(labels, truth)
    found, found_ids = _numbered(labels)
    wanted, wanted_ids = _numbered(truth)
    # Only pairs that meet: a table of all pairs would fill the memory for many objects.
    pairs, overlap = np.unique(found * (wanted_ids + 1) + wanted, return_counts=True)
    first, second = np.divmod(pairs, wanted_ids + 1)
    union = np.bincount(found)[first] + np.bincount(wanted)[second] - overlap
    are_objects = (first > 0) & (second > 0)
    return ObjectMatches((overlap / union)[are_objects], found_ids, wanted_ids)


def _numbered(labels: Labels) -> tuple[NDArray[np.int64], int]:
    """Return the labels flattened and renumbered 1 … n with 0 kept, and n."""
    values, numbers = np.unique(labels, return_inverse=True)
    flat = numbers.reshape(-1).astype(np.int64)
    if values.size and values[0] == 0:
        return flat, values.size - 1
    return flat + 1, values.size


def _check_shapes(labels: Labels, truth: Labels) -> None:
    if labels.shape != truth.shape:
        raise ValueError(f"Labels have shape {labels.shape}, but the truth has {truth.shape}.")
