"""Turn kept probabilities into labels; fast enough to follow a slider.

Pure NumPy and SciPy: knows no network and no viewer. Probabilities are
(K, ..., Y, X), class 0 is the background; every (Y, X) plane is labelled on its
own. Class labels are uint8, the number of the class; object labels are int32,
counted from 1 through the whole stack in reading order, none left out. Pixels
touch by their sides and corners; holes are closed by sides alone.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .settings import LabelSettings
from .splitting import split_regions

Probabilities = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Objects = NDArray[np.int32]

_TOUCHING = np.ones((3, 3), dtype=bool)


def label_probabilities(
    probabilities: Probabilities, settings: LabelSettings
) -> NDArray[np.integer[Any]]:
    """Return the labels that `settings` make of `probabilities`.

    Parameters
    ----------
    probabilities : float array (K, ..., Y, X)
        Probability of each of K classes; any float dtype, not changed.
    settings : LabelSettings
        Class or object output, threshold and clean-up.

    Returns
    -------
    array (..., Y, X)
        Class numbers as uint8, or object numbers as int32.
    """
    labels = empty_labels(probabilities, settings)
    for _ in label_planes(probabilities, settings, labels):
        pass
    return labels


def empty_labels(probabilities: Probabilities, settings: LabelSettings) -> NDArray[np.integer[Any]]:
    """Return background labels (..., Y, X) of the right dtype for `label_planes` to fill."""
    dtype = np.uint8 if settings.output == "classes" else np.int32
    return np.zeros(probabilities.shape[1:], dtype=dtype)


def label_planes(
    probabilities: Probabilities, settings: LabelSettings, labels: NDArray[np.integer[Any]]
) -> Iterator[int]:
    """Fill `labels` (..., Y, X) plane by plane, and yield after each how many are done."""
    found = 0
    for done, index in enumerate(np.ndindex(*labels.shape[:-2]), start=1):
        classes = classes_of(probabilities[(slice(None), *index)], settings.threshold)
        if settings.fill_holes:
            _fill_holes(classes)
        if settings.output == "classes":
            labels[index] = _without_small(classes, settings.smallest_object)
        else:
            objects = _objects(classes, settings)
            labels[index] = np.where(objects > 0, objects + found, 0)
            found += int(objects.max(initial=0))
        yield done


def classes_of(plane: Probabilities, threshold: float) -> NDArray[np.uint8]:
    """Return the likeliest foreground class where all of them reach `threshold`, else 0."""
    foreground: Mask = 1 - plane[0].astype(np.float32) >= threshold
    if len(plane) == 2:
        return foreground.astype(np.uint8)
    likeliest = plane[1:].argmax(axis=0).astype(np.uint8)
    return np.where(foreground, likeliest + 1, 0).astype(np.uint8)


def present_classes(classes: NDArray[np.uint8]) -> list[int]:
    """Return the foreground classes that occur."""
    return [int(number) for number in np.flatnonzero(np.bincount(classes.ravel())) if number > 0]


def _fill_holes(classes: NDArray[np.uint8]) -> None:
    """Give background that one class encloses to that class, in place; other classes stay."""
    from scipy import ndimage

    for number in present_classes(classes):
        outside, found = ndimage.label(classes != number)
        is_hole = np.ones(found + 1, dtype=bool)
        is_hole[0] = False
        for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]):
            is_hole[edge] = False
        classes[is_hole[outside] & (classes == 0)] = number


def _without_small(classes: NDArray[np.uint8], smallest: int) -> NDArray[np.uint8]:
    """Return `classes` without connected regions of fewer than `smallest` pixels."""
    if smallest > 1:
        for number in present_classes(classes):
            regions = regions_of(classes == number)
            classes[(classes == number) & (_large_only(regions, smallest) == 0)] = 0
    return classes


def _objects(classes: NDArray[np.uint8], settings: LabelSettings) -> Objects:
    """Return the separate objects (Y, X) of all classes, counted from 1."""
    return _large_only(all_objects(classes, settings)[0], settings.smallest_object)


def all_objects(
    classes: NDArray[np.uint8], settings: LabelSettings
) -> tuple[Objects, NDArray[np.uint8], NDArray[np.int64]]:
    """Return the objects of all classes, however small, class by class.

    Returns
    -------
    objects : int32 array (Y, X)
        Counted from 1.
    kinds : uint8 array (N,)
        The class of each object.
    seeds : int64 array (N,)
        The pixel that it was flooded from, in flat order; -1 where nothing was split.
    """
    objects = np.zeros(classes.shape, dtype=np.int32)
    kinds: list[int] = []
    seeds: list[NDArray[np.int64]] = []
    for number in present_classes(classes):
        mask = classes == number
        regions = regions_of(mask)
        found = np.full(int(regions.max()), -1, dtype=np.int64)
        if settings.split:
            regions, found = split_regions(mask, regions, settings.split_distance)
        objects = np.where(mask, regions + np.int32(len(kinds)), objects)
        kinds += [number] * len(found)
        seeds.append(found)
    every = np.concatenate([*seeds, np.zeros(0, dtype=np.int64)])
    return objects, np.array(kinds, dtype=np.uint8), every


def regions_of(mask: Mask) -> Objects:
    """Return the connected regions of `mask`, counted from 1."""
    from scipy import ndimage

    regions: Objects = ndimage.label(mask, structure=_TOUCHING)[0]
    return regions


def _large_only(objects: Objects, smallest: int) -> Objects:
    """Return `objects` of at least `smallest` pixels, counted anew in reading order."""
    flat = objects.ravel()
    sizes = np.bincount(flat)
    first = np.zeros(len(sizes), dtype=np.intp)
    first[flat[::-1]] = np.arange(flat.size)[::-1]  # of equal places the last one stays
    kept = np.argsort(first)
    kept = kept[(kept > 0) & (sizes[kept] >= max(1, smallest))]
    table = np.zeros(len(sizes), dtype=np.int32)
    table[kept] = np.arange(1, len(kept) + 1)
    return table[objects]
