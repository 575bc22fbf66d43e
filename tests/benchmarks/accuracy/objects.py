"""Ways to make separate objects of probabilities, each a function of them and of settings.

What `inference.labels` has is called through it; the others are tried here first. All get the
same mask, drop the same small objects, and cut by a watershed within the mask.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology, segmentation

from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.inference.splitting import SMOOTHING, split_regions

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.int32]
Way = Callable[[Floats, LabelSettings], Labels]  # probabilities (K, Y, X) to objects (Y, X)

SHIPPED = "watershed of the distance, as shipped"
CORNERS = np.ones((3, 3), bool)


def package(probabilities: Floats, settings: LabelSettings, **changes: Any) -> Labels:
    """What users get, with other settings."""
    labels: Labels = label_probabilities(probabilities, replace(settings, **changes))
    return labels


def sure_seeds(probabilities: Floats, settings: LabelSettings, *, sure: float) -> Labels:
    """One object for every connected part that is surer than `sure`, grown down the probability."""
    mask, foreground = _mask(probabilities, settings)
    seeds = ndimage.label(foreground > sure, CORNERS)[0]
    return _grown(-foreground, seeds, mask, settings)


def joined(probabilities: Floats, settings: LabelSettings, *, rise: float) -> Labels:
    """What users get, with basins joined whose tops rise less than `rise` pixels (0: none)."""
    mask, _ = _mask(probabilities, settings)
    regions = ndimage.label(mask, CORNERS)[0]
    return _large_only(split_regions(mask, regions, settings.split_distance, rise)[0], settings)


def high_tops(
    probabilities: Floats, settings: LabelSettings, *, height: float, weighted: bool = False
) -> Labels:
    """One object for every top of the distance map that rises by `height` pixels above its saddle.

    With `weighted` the distance counts less where the network is less sure, as it is between
    touching objects, since the lines between them are what it was trained to leave out.
    """
    mask, foreground = _mask(probabilities, settings)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), SMOOTHING) * mask
    if weighted:
        depth = depth * ndimage.gaussian_filter(foreground, 1.0)
    tops = morphology.h_maxima(depth, height) if mask.any() else mask
    seeds = ndimage.label(tops & mask, CORNERS)[0]
    return _grown(-depth, seeds, mask, settings)


def _mask(probabilities: Floats, settings: LabelSettings) -> tuple[NDArray[np.bool_], Floats]:
    foreground = 1 - probabilities[0].astype(np.float64)
    classes = replace(settings, output="classes")
    return label_probabilities(probabilities, classes) > 0, foreground


def _grown(
    landscape: Floats, seeds: Labels, mask: NDArray[np.bool_], settings: LabelSettings
) -> Labels:
    """Grow seeds over the mask; a part of it without a seed is an object of its own."""
    regions = ndimage.label(mask, CORNERS)[0]
    bare = np.setdiff1d(np.arange(1, regions.max() + 1), regions[seeds > 0])
    seeds = np.where(np.isin(regions, bare), regions + seeds.max(initial=0), seeds)
    objects = segmentation.watershed(landscape, seeds, connectivity=2, mask=mask)
    return _large_only(objects, settings)


def _large_only(objects: Labels, settings: LabelSettings) -> Labels:
    sizes = np.bincount(objects.ravel())
    small = np.flatnonzero(sizes < settings.smallest_object)
    return np.where(np.isin(objects, small), 0, objects).astype(np.int32)


WAYS: dict[str, Way] = {
    "connected components": partial(package, split=False),
    SHIPPED: package,
    **{
        f"watershed of the distance, {distance} px": partial(package, split_distance=distance)
        for distance in (3, 5, 9)
    },
    "watershed of the distance, nothing joined": partial(joined, rise=0.0),
    **{
        f"watershed of the distance, joined below {rise} px": partial(joined, rise=rise)
        for rise in (0.25, 0.5, 1.0)
    },
    **{
        f"seeds surer than {sure}": partial(sure_seeds, sure=sure) for sure in (0.7, 0.8, 0.9, 0.95)
    },
    **{
        f"tops of the distance by {height} px": partial(high_tops, height=height)
        for height in (0.25, 0.5, 0.75, 1.0)
    },
    **{
        f"tops of distance × probability by {height} px": partial(
            high_tops, height=height, weighted=True
        )
        for height in (0.25, 0.5, 0.75, 1.0)
    },
}
