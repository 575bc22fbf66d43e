"""Cut regions of touching objects into their parts: a watershed of the distance to the background.

Every top of the smoothed distance floods a basin (Vincent & Soille, IEEE TPAMI 1991). A
basin whose top hardly rises above the saddle to a higher neighbour is no object of its own
but a bulge, and is joined with it: its dynamics (Grimaud 1992) are too small. Pure NumPy,
SciPy and scikit-image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Objects = NDArray[np.int32]
Floats = NDArray[np.floating[Any]]

SMOOTHING = 1.5  # σ in pixels of the distance map: a rough outline shall make no extra centres
RISE = 0.75  # pixels that a top must rise above its saddle (docs/evidence.md)
_NEXT = ((0, 1), (1, 0), (1, 1), (1, -1))  # each pair of neighbours once


def split_regions(
    mask: Mask, regions: Objects, distance: int, rise: float = RISE
) -> tuple[Objects, NDArray[np.int64]]:
    """Cut connected regions between centres that lie at least `distance` pixels apart.

    Centres are the tops of the smoothed distance to the background; the cut is where
    their catchments meet. A region without a top keeps its best pixel.

    Parameters
    ----------
    mask : bool array (Y, X)
        What is to be cut.
    regions : int32 array (Y, X)
        Its connected regions, counted from 1.
    distance : int
        The smallest distance of two centres, in pixels.
    rise : float
        How far in pixels a centre must rise above the saddle to a higher one beside it.

    Returns
    -------
    objects : int32 array (Y, X)
        Counted from 1.
    centres : int64 array (N,)
        The centre of each in flat order; -1 for a region that is the whole plane.
    """
    from scipy import ndimage
    from skimage import feature, segmentation

    if mask.all() or not mask.any():
        return regions, np.full(int(regions.max(initial=0)), -1, dtype=np.int64)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), SMOOTHING) * mask
    tops = feature.peak_local_max(  # type: ignore[no-untyped-call]
        depth, min_distance=distance, threshold_abs=0, exclude_border=False
    )
    seeds = np.zeros(mask.shape, dtype=np.int32)
    seeds[tuple(tops.T)] = 1
    bare = np.setdiff1d(np.arange(1, regions.max() + 1), regions[tuple(tops.T)])
    for place in ndimage.maximum_position(depth, regions, bare) if len(bare) else ():
        seeds[place] = 1
    centres = np.flatnonzero(seeds)
    seeds.ravel()[centres] = np.arange(1, len(centres) + 1)
    basins: Objects = segmentation.watershed(  # type: ignore[no-untyped-call]
        -depth, seeds, connectivity=2, mask=mask
    )
    heights = np.concatenate([[0.0], depth.ravel()[centres]])
    return _joined(basins, centres, *_saddles(basins, depth), heights, rise)


def _saddles(basins: Objects, depth: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return which basins touch, (N, 2), and the highest pass between the two of each pair."""
    height, width = basins.shape
    pairs, passes = [], []
    for down, right in _NEXT:
        one = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        other = (slice(down, height), slice(max(0, right), width - max(0, -right)))
        first, second = basins[one], basins[other]
        touch = (first != second) & (first > 0) & (second > 0)
        pairs.append(np.sort(np.stack([first[touch], second[touch]], axis=1), axis=1))
        passes.append(np.minimum(depth[one][touch], depth[other][touch]))
    every, of_pair = np.unique(np.concatenate(pairs), axis=0, return_inverse=True)
    saddles = np.zeros(len(every))
    np.maximum.at(saddles, of_pair.ravel(), np.concatenate(passes))
    return every.astype(np.int64), saddles


def _joined(
    basins: Objects,
    centres: NDArray[np.int64],
    pairs: NDArray[np.int64],
    saddles: Floats,
    heights: Floats,
    rise: float,
) -> tuple[Objects, NDArray[np.int64]]:
    """Join basins over the highest saddles first; the higher centre is that of both."""
    leader = np.arange(len(heights))

    def follow(basin: int) -> int:
        while leader[basin] != basin:
            leader[basin] = leader[leader[basin]]
            basin = int(leader[basin])
        return basin

    for index in np.argsort(-saddles, kind="stable"):
        low, high = sorted((follow(b) for b in pairs[index]), key=lambda b: (heights[b], -b))
        if low != high and heights[low] - saddles[index] < rise:
            leader[low] = high
    leaders = np.array([follow(basin) for basin in range(len(leader))])
    kept = np.unique(leaders[1:])
    numbers = np.zeros(len(leader), dtype=np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[leaders][basins], centres[kept - 1]
