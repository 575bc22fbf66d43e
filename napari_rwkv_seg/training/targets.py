"""What the network is asked to answer at each pixel, and how much each pixel counts."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def separated_target(
    objects: NDArray[np.int32], gap_weight: float = 5.0
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return a foreground target in which touching objects are parted by a thin line.

    A pixel whose 3 × 3 neighbourhood holds two different objects becomes
    background and counts more in the loss, so that the objects can be told
    apart afterwards (Ronneberger et al., U-Net, MICCAI 2015, section 3, weighs
    the pixels between touching cells to the same end).

    Parameters
    ----------
    objects : ndarray of int32, shape (Y, X)
        One number an object, 0 for background.
    gap_weight : float
        Weight of a pixel of such a line; all others weigh 1.

    Returns
    -------
    target : ndarray of uint8, shape (Y, X)
        1 for foreground, 0 for background.
    weight : ndarray of float32, shape (Y, X)
    """
    nearest_low = ndimage.minimum_filter(np.where(objects > 0, objects, np.iinfo(np.int32).max), 3)
    nearest_high = ndimage.maximum_filter(objects, 3)
    gap = (objects > 0) & (nearest_low < nearest_high)
    target = ((objects > 0) & ~gap).astype(np.uint8)
    return target, np.where(gap, np.float32(gap_weight), np.float32(1))
