"""Distances between the surfaces of two masks, in two or three dimensions.

The surface of a mask is its pixels that touch, by a side, a pixel outside the mask
or the border of the image; distances are between the centres of pixels. Same
definitions as `compute_hausdorff_distance` and `compute_surface_dice` of MONAI
(without subvoxels), which the tests hold against it; made here with SciPy alone, so that
a window or a command need not load torch to compare labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import CancelledError

Mask = NDArray[np.bool_]

_CHUNK = 100_000  # pixels between two questions whether to stop
_ROUNDING = 1e-6  # relative: 3 pixels of 0.1 µm are 0.30000000000000004 µm


@dataclass(frozen=True)
class SurfaceDistances:
    """How far the surfaces of two masks are from each other; both have a surface.

    Parameters
    ----------
    from_found, from_true : float array (pixels of the surface,)
        From each pixel of one surface to the nearest of the other.
    """

    from_found: NDArray[np.float64]
    from_true: NDArray[np.float64]

    @property
    def hd95(self) -> float:
        """The 95 % Hausdorff distance: the larger one of the two directions' 95th percentiles.

        References
        ----------
        Huttenlocher et al., IEEE TPAMI 15, 850 (1993), for a percentile in place of the maximum.
        """
        return float(max(np.percentile(each, 95) for each in (self.from_found, self.from_true)))

    def dice(self, tolerance: float) -> float:
        """Return the part of both surfaces that lies within `tolerance` of the other.

        References
        ----------
        Nikolov et al., arXiv 1809.04430 (2018), with pixels of the surface in place of its area.
        """
        most = tolerance * (1 + _ROUNDING)
        near = sum(int((each <= most).sum()) for each in (self.from_found, self.from_true))
        return near / (len(self.from_found) + len(self.from_true))


def surface_distances(
    found: Mask,
    true: Mask,
    spacing: Sequence[float],
    should_stop: Callable[[], bool] = lambda: False,
) -> SurfaceDistances | None:
    """Return the distances between the surfaces of two masks; None if one of them is empty.

    Parameters
    ----------
    found, true : bool arrays, any equal shape
        The masks.
    spacing : sequence of float
        Size of a pixel along each axis.
    should_stop : callable
        Asked now and then.

    Raises
    ------
    CancelledError
        If `should_stop` says so.
    """
    if not found.any() or not true.any():
        return None
    points_found, points_true = (_surface(mask, spacing) for mask in (found, true))
    return SurfaceDistances(
        _nearest(points_found, points_true, should_stop),
        _nearest(points_true, points_found, should_stop),
    )


def _surface(mask: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the places (pixels, axes) of the surface of a mask that is not empty."""
    from scipy import ndimage

    (box,) = ndimage.find_objects(mask.astype(np.uint8))  # what lies outside costs nothing
    part = mask[box]
    surface = part & ~ndimage.binary_erosion(part)
    indices = np.argwhere(surface) + [side.start for side in box]
    return np.asarray(indices * np.asarray(spacing), np.float64)


def _nearest(
    points: NDArray[np.float64], others: NDArray[np.float64], should_stop: Callable[[], bool]
) -> NDArray[np.float64]:
    """Return the distance from each of `points` to the nearest of `others`."""
    from scipy.spatial import KDTree

    tree: Any = KDTree(others)
    parts = []
    for start in range(0, len(points), _CHUNK):
        if should_stop():
            raise CancelledError("The user cancelled.")
        parts.append(tree.query(points[start : start + _CHUNK])[0])
    return np.concatenate(parts)
