"""The planes or bodies that are measured one by one, and which objects they hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.inference.segment import Segmentation

from .comparison import connected_parts

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Block:
    """A part of an image that is measured at once.

    Parameters
    ----------
    axes : str
        "YX", or "ZYX" where objects go on along Z.
    place : dict of str to int
        Where it is along the other axes, "T" and "Z".
    labels : integer array, in `axes`
        Class or object numbers.
    pixels : array, in `axes` and C
        The image.
    classes : integer array, in `axes`, or None
        The likeliest foreground class; None where labels are classes, or there is but one.
    is_by_class : bool
        Whether labels are classes.
    """

    axes: str
    place: dict[str, int]
    labels: Labels
    pixels: NDArray[Any]
    classes: Labels | None
    is_by_class: bool

    def objects_by_class(self, count: int) -> Iterator[tuple[int, Labels]]:
        """Yield every foreground class of `count` classes in all, with its objects numbered."""
        owner = self._owners(count)
        for number in range(1, count):
            if self.is_by_class:
                yield number, connected_parts(self.labels == number)
            elif owner is None:
                yield number, self.labels
            else:
                yield number, np.where(owner[self.labels] == number, self.labels, 0)

    def _owners(self, count: int) -> NDArray[np.intp] | None:
        """Return the class that most pixels of each object have, 0 for the background."""
        if self.is_by_class or self.classes is None:
            return None
        highest = int(self.labels.max(initial=0))
        pairs = self.labels.ravel().astype(np.int64) * count + self.classes.ravel()
        votes = np.bincount(pairs, minlength=(highest + 1) * count).reshape(-1, count)
        owner: NDArray[np.intp] = votes[: highest + 1].argmax(axis=1)
        owner[0] = 0
        return owner


def blocks(segmentation: Segmentation, image: Any) -> Iterator[Block]:
    """Yield what is measured at once: planes, or bodies if objects go on along Z.

    Parameters
    ----------
    segmentation : Segmentation
        Of `image`.
    image : array
        In the axes of `segmentation`; one block of it is read at a time.
    """
    axes = segmentation.axes.replace("C", "")
    by_class = segmentation.settings.output == "classes"
    inner = "ZYX" if not by_class and _goes_on(segmentation.labels, axes) else "YX"
    outer = [axis for axis in axes if axis not in inner]
    lengths = [segmentation.labels.shape[axes.index(axis)] for axis in outer]
    several = len(segmentation.card.classes) > 2 and not by_class
    for index in np.ndindex(*lengths):
        place = dict(zip(outer, index, strict=True))
        classes = None
        if several:
            foreground = segmentation.probabilities[1:][_key("C" + axes, place)]
            classes = _in_order(foreground.argmax(axis=0) + 1, axes, inner)
        yield Block(
            axes=inner,
            place=place,
            labels=_in_order(segmentation.labels[_key(axes, place)], axes, inner),
            pixels=_pixels(image, segmentation.axes, place, inner),
            classes=classes,
            is_by_class=by_class,
        )


def _goes_on(labels: Labels, axes: str) -> bool:
    """Return whether an object's number occurs in two planes along Z that follow each other."""
    if "Z" not in axes:
        return False
    along = np.moveaxis(labels, axes.index("Z"), 0)
    return any(bool(((lower == upper) & (lower > 0)).any()) for lower, upper in pairwise(along))


def _key(axes: str, place: dict[str, int]) -> tuple[Any, ...]:
    """Return the index of a place."""
    return tuple(place.get(axis, slice(None)) for axis in axes)


def _in_order(part: NDArray[Any], axes: str, inner: str) -> NDArray[Any]:
    """Return a part of an array in `axes` with its axes as in `inner`."""
    left = [axis for axis in axes if axis in inner]
    return np.moveaxis(part, [left.index(axis) for axis in inner], range(len(inner)))


def _pixels(image: Any, axes: str, place: dict[str, int], inner: str) -> NDArray[Any]:
    """Return the pixels of a place, their channels last; what is masked is not a number."""
    part = image[_key(axes, place)]
    if np.ma.isMaskedArray(part):
        part = np.ma.filled(part.astype(np.float64), np.nan)
    part = np.asarray(part, dtype=np.uint8 if part.dtype == bool else None)
    if "C" not in axes:
        return _in_order(part, axes, inner)[..., None]
    return _in_order(part, axes, inner + "C")
