"""Where labels differ from the truth, as labels of their own: agreed, missed, added."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .comparison import Meaning

AGREED, MISSED, ADDED, CONFUSED = 1, 2, 3, 4
MEANINGS = ("background in both", "agreed", "missed", "added", "another class")
# Of Okabe and Ito (jfly.uni-koeln.de/color, 2008): the four that lie farthest apart for
# people with any colour vision; the tests say how far.
COLORS = {AGREED: "#f0e442", MISSED: "#d55e00", ADDED: "#0072b2", CONFUSED: "#56b4e9"}


def difference_map(
    found: NDArray[Any], true: NDArray[Any], labels: Meaning = "classes"
) -> NDArray[np.uint8]:
    """Return what of the truth was found, missed, or added to.

    Parameters
    ----------
    found, true : integer arrays of one shape
        Labels and the truth, 0 for background.
    labels : "classes" or "objects"
        With objects, any number above 0 agrees with any other.

    Returns
    -------
    uint8 array of that shape
        0 for background in both, 1 agreed, 2 missed (in the truth alone), 3 added (in the labels
        alone), 4 another class.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if found.shape != true.shape:
        raise ValueError(f"Labels have shape {found.shape}, but the truth has {true.shape}.")
    is_found, is_true = found > 0, true > 0
    differences = np.zeros(found.shape, np.uint8)
    differences[is_found & is_true] = AGREED
    differences[is_true & ~is_found] = MISSED
    differences[is_found & ~is_true] = ADDED
    if labels == "classes":
        differences[is_found & is_true & (found != true)] = CONFUSED
    return differences
