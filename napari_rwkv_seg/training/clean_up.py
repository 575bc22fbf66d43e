"""The clean-up of a new model: its base's, but for what the labels of the run speak against.

A base that drops small parts or fills holes would hide spots, rings and nets that a run
learnt, from its own checks and from who uses the new model.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from napari_rwkv_seg.zoo.card import ObjectDefaults

from .pairs import LabelKind, TrainingPair, class_map
from .split import Split

_SLIPS = 0.05  # of the regions of a class, but at least one, may be slips of the brush
_HOLES = 0.01  # of the pixels of a class; fewer pixels of holes are slips as well
# A region of which so much is found is still kept. Half would not do: of touching objects of
# 5 x 5 pixels, which are parted, the network is asked to find 9 of 25 pixels.
_KEPT_PART = 0.25


def suited(
    base: ObjectDefaults, pairs: Sequence[TrainingPair], split: Split, labels: LabelKind
) -> ObjectDefaults:
    """Return the clean-up of a base, made gentler where it would spoil what is learnt from.

    Nothing is dropped that has a quarter of the area of the small regions of a class, or
    more; holes are filled only if that changes next to nothing of any class.

    Parameters
    ----------
    base : ObjectDefaults
        Of the model that the run starts from.
    pairs, split, labels
        Of the run; what is held out is not looked at.
    """
    if not base.fill_holes and base.smallest_object <= 1:
        return base
    areas: defaultdict[int, list[int]] = defaultdict(list)
    pixels: Counter[int] = Counter()
    holes: Counter[int] = Counter()
    for pair, train in zip(pairs, split.train, strict=True):
        classes = np.where(train, class_map(pair, labels), 0)
        inner = _inner(train)
        for number, part in enumerate(ndimage.find_objects(classes), start=1):
            if part is None:  # the class is not there
                continue
            mask = classes[part] == number
            pixels[number] += int(np.count_nonzero(mask))
            holes[number] += _holes(mask, (classes[part] == 0) & train[part])
            regions = np.where(mask, pair.labels[part], 0)
            areas[number] += _whole_areas(regions, inner[part])
    smallest = [int(_KEPT_PART * _small_one(each)) for each in areas.values() if each]
    return base.model_copy(
        update={
            "smallest_object": min([base.smallest_object, *smallest]),
            "fill_holes": base.fill_holes and all(holes[n] < _HOLES * pixels[n] for n in pixels),
        }
    )


def what_differs(base: ObjectDefaults, new: ObjectDefaults) -> str:
    """Return a sentence on where the clean-up of a new model differs from its base's, or ""."""
    what = []
    if new.fill_holes != base.fill_holes:
        what.append("holes are not filled")
    if new.smallest_object != base.smallest_object:
        least = new.smallest_object
        size = f"from {least} pixels on" if least > 1 else "of any size"
        what.append(f"parts {size} are kept")
    if not what:
        return ""
    return f"Unlike with the old model, {' and '.join(what)}, since your labels have such."


def _inner(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels whose neighbours are all known; those beyond the image are not."""
    padded = np.pad(known, 1)
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]


def _holes(mask: NDArray[np.bool_], background: NDArray[np.bool_]) -> int:
    """Return how many pixels of the background a class encloses."""
    gaps, count = ndimage.label(~mask)
    is_hole = np.arange(count + 1) > 0
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        is_hole[edge] = False
    return int(np.count_nonzero(is_hole[gaps] & background))


def _whole_areas(numbers: NDArray[Any], inner: NDArray[np.bool_]) -> list[int]:
    """Return the areas of connected regions of one number that lie within `inner`."""
    regions = measure.label(numbers, connectivity=2)  # type: ignore[no-untyped-call]
    areas = np.bincount(regions.ravel())
    areas[0] = 0
    areas[regions[~inner]] = 0  # cut off, so nobody knows how large it is
    return [int(area) for area in areas[areas > 0]]


def _small_one(areas: Sequence[int]) -> int:
    """Return the area of a small region of a class: the smallest one that is no slip."""
    ordered = sorted(areas)
    return ordered[min(len(ordered) - 1, max(1, int(_SLIPS * len(ordered))))]
