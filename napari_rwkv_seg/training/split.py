"""What is learnt from and what is held out to check the result.

By image where there are three or more (images of one group, such as the planes of
a volume, stay together); otherwise a side of each image is held out, and a band
between the two parts counts for neither: of two images neither can be spared.
NumPy only; lengths are in pixels.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import TrainingDataError

from .likeness import first_same
from .pairs import LabelKind, TrainingPair, class_map

Mask = NDArray[np.bool_]

BAND = 256
"""How wide the band around what is held out is: as wide as the largest training crop."""
_HELD_OUT = 0.2  # part of the images that is held out, at least one
_FEWEST_IMAGES = 3  # to hold out whole images
_MOST_HELD_OUT = 8  # images; more would cost time and tell little
_SIDES = ("left", "right", "upper", "lower")
_FRACTIONS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5)  # of an image's side, where it may be cut
_SMALLEST_BAND = 8
_FEWEST = 16  # labelled pixels in a part, so that it can teach or check anything
_TRIES = 64  # random choices of images that are compared


@dataclass(frozen=True, eq=False)
class Split:
    """Which checked pixels are learnt from, and which are held out.

    Parameters
    ----------
    train, validation : tuple of bool arrays (Y, X), one a pair
        No pixel is in both. A pair may be empty in one of them.
    sentence : str
        The same in words.
    """

    train: tuple[Mask, ...]
    validation: tuple[Mask, ...]
    sentence: str

    def to_plain(self) -> dict[str, Any]:
        """Return the split as plain values for JSON; masks as run lengths."""
        return {
            "sentence": self.sentence,
            "train": [_runs(mask) for mask in self.train],
            "validation": [_runs(mask) for mask in self.validation],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Return the split that `to_plain` described."""
        train, validation = (
            tuple(_mask(runs) for runs in plain[part]) for part in ("train", "validation")
        )
        return cls(train, validation, str(plain["sentence"]))


@dataclass(frozen=True)
class _Cut:
    """A way to hold out one side of what is checked, with a band that counts for neither."""

    side: str
    fraction: float
    crop: int

    @property
    def axis(self) -> int:
        """The axis along which the parts follow each other."""
        return 1 if self.side in ("left", "right") else 0

    def band(self, extent: tuple[int, int]) -> int:
        """Return how wide the band is: a crop, but at most a quarter of `extent` (start, stop)."""
        return max(_SMALLEST_BAND, min(self.crop, (extent[1] - extent[0]) // 4))

    def parts(self, shape: tuple[int, ...], extent: tuple[int, int]) -> tuple[Mask, Mask]:
        """Return where to learn and what to hold out, in an image checked within `extent`."""
        place = np.arange(shape[self.axis]) - extent[0]
        if self.side in ("right", "lower"):
            place = extent[1] - extent[0] - 1 - place
        end = round(self.fraction * (extent[1] - extent[0]))
        along = (-1, 1) if self.axis == 0 else (1, -1)
        held = (place < end).reshape(along)
        learnt = (place >= end + self.band(extent)).reshape(along)
        return np.broadcast_to(learnt, shape), np.broadcast_to(held, shape)


def split_pairs(
    pairs: Sequence[TrainingPair], labels: LabelKind, classes: int, crop: int, seed: int
) -> Split:
    """Choose what is held out: about a fifth of three images or more, or a side of each.

    Parameters
    ----------
    pairs : sequence of TrainingPair
        Without faults (`check_pairs`).
    labels : "classes" or "objects"
        What the numbers of the labels stand for.
    classes : int
        Classes of the model, background included.
    crop : int
        Side of a training crop, which the band between the two parts is as wide
        as; it is narrower where an image is less than four crops long.
    seed : int
        The same seed gives the same split.

    Raises
    ------
    TrainingDataError
        If nothing can be held out; the text says what is missing.
    """
    counts = np.array([_class_counts(pair, labels, classes) for pair in pairs])
    groups = _groups(pairs, counts)
    held = _held_out_images(groups, counts, seed) if len(groups) > 1 else []
    if held and sum(map(len, groups)) >= _FEWEST_IMAGES:
        return _split_by_image(pairs, held)
    try:
        return _split_by_side(pairs, labels, classes, crop)
    except TrainingDataError:
        if held:  # two images, each labelled in one place
            return _split_by_image(pairs, held)
        raise


def _class_counts(pair: TrainingPair, labels: LabelKind, classes: int) -> NDArray[np.int64]:
    """Return how many checked pixels each class has (classes,)."""
    found = np.bincount(class_map(pair, labels)[pair.checked], minlength=classes)
    return found[:classes].astype(np.int64)


def _groups(pairs: Sequence[TrainingPair], counts: NDArray[np.int64]) -> list[list[int]]:
    """Return the indices of the pairs of each group in which anything is checked.

    One image under two names is one group: it must not be both learnt from and held out.
    """
    keys = [(pair.group, -1 if pair.group else index) for index, pair in enumerate(pairs)]
    for index, first in enumerate(first_same([np.asarray(pair.image) for pair in pairs])):
        keys = [keys[first] if key == keys[index] else key for key in keys]
    groups: dict[tuple[str, int], list[int]] = {}
    for index, key in enumerate(keys):
        if counts[index].any():
            groups.setdefault(key, []).append(index)
    return list(groups.values())


def _held_out_images(groups: list[list[int]], counts: NDArray[np.int64], seed: int) -> list[int]:
    """Return the indices of the pairs to hold out, or none if no choice leaves labels in both."""
    wanted = min(_MOST_HELD_OUT, max(1, round(_HELD_OUT * len(groups))))
    best: tuple[float, list[int]] = (np.inf, [])
    for chosen in _choices(len(groups), wanted, seed):
        held = sorted(index for group in chosen for index in groups[group])
        cost = _imbalance(counts[held].sum(0), np.delete(counts, held, axis=0).sum(0))
        if cost < best[0]:
            best = cost, held
    return best[1]


def _choices(count: int, wanted: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Yield different ways to take `wanted` of `count`, in an order that the seed makes."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(count).tolist()
    if wanted == 1:
        yield from ((number,) for number in order)
        return
    yield from itertools.islice(
        (tuple(generator.permutation(count)[:wanted].tolist()) for _ in itertools.count()), _TRIES
    )


def _imbalance(held: NDArray[np.int64], learnt: NDArray[np.int64]) -> float:
    """Return how bad it is to hold out these pixels of each class; infinite if it cannot be done.

    A class that is not learnt costs most; then, one that is not checked; then, parts that
    differ in how frequent the classes are; and least, holding out another part of the
    labelled pixels than a fifth.
    """
    if held[1:].sum() < _FEWEST or learnt[1:].sum() < _FEWEST:
        return float(np.inf)
    total = held + learnt
    there = total > 0
    missing = 2 * np.count_nonzero(there & (learnt == 0)) + np.count_nonzero(there & (held == 0))
    shares = (np.maximum(part, 1) / part.sum() for part in (held, learnt))
    unlike = np.abs(np.subtract(*(np.log(share) for share in shares)))[there].mean()
    size = abs(held[1:].sum() / total[1:].sum() - _HELD_OUT)
    return float(100 * missing + unlike + size)


def _split_by_image(pairs: Sequence[TrainingPair], held: list[int]) -> Split:
    """Hold out whole pairs."""
    empty = [np.zeros(pair.labels.shape[:2], bool) for pair in pairs]
    both = [(pair.checked, none) for pair, none in zip(pairs, empty, strict=True)]
    train = tuple(each[index in held] for index, each in enumerate(both))
    validation = tuple(each[index not in held] for index, each in enumerate(both))
    names = ", ".join(pairs[index].name for index in held[:3]) + (", …" if held[3:] else "")
    learnt = sum(bool(mask.any()) for mask in train)
    verbs = ("image is" if learnt == 1 else "images are"), ("is" if len(held) == 1 else "are")
    sentence = (
        f"{learnt} {verbs[0]} learnt from, {len(held)} ({names}) {verbs[1]} "
        "held out to check the result."
    )
    return Split(train, validation, sentence)


def _split_by_side(
    pairs: Sequence[TrainingPair], labels: LabelKind, classes: int, crop: int
) -> Split:
    """Hold out the same side of every pair."""
    truths = [class_map(pair, labels) for pair in pairs]
    cuts = [_Cut(*choice, crop) for choice in itertools.product(_SIDES, _FRACTIONS)]
    costs = [_cost(cut, pairs, truths, classes) for cut in cuts]
    cut = cuts[int(np.argmin(costs))]
    if not np.isfinite(min(costs)):
        raise TrainingDataError(_what_is_missing(pairs, labels))
    parts = _parts(cut, pairs)
    bands = {cut.band(extent) for extent in _extents(pairs, cut.axis)}
    whose = "the image" if len(pairs) == 1 else f"each of the {len(pairs)} images"
    width = "–".join(str(band) for band in sorted({min(bands), max(bands)}))
    sentence = (
        f"The {cut.side} part of {whose} ({cut.fraction:.0%}) is held out to check the result; "
        f"a band of {width} pixels between is used by neither."
    )
    return Split(tuple(part[0] for part in parts), tuple(part[1] for part in parts), sentence)


def _parts(cut: _Cut, pairs: Sequence[TrainingPair]) -> list[tuple[Mask, Mask]]:
    """Return the checked pixels of each pair to learn from, and those to hold out."""
    parts = []
    for pair, extent in zip(pairs, _extents(pairs, cut.axis), strict=True):
        learnt, held = cut.parts(pair.checked.shape, extent)
        parts.append((learnt & pair.checked, held & pair.checked))
    return parts


def _extents(pairs: Sequence[TrainingPair], axis: int) -> list[tuple[int, int]]:
    """Return from where to where each pair is checked along an axis.

    Pairs of one shape are cut at one place, because planes of a volume, frames of a
    series and one image under two names show the same things there.
    """
    lines: dict[tuple[int, ...], NDArray[Any]] = {}
    for pair in pairs:
        shape, line = pair.checked.shape, np.any(pair.checked, 1 - axis)
        lines[shape] = line | lines.get(shape, line)
    places = [np.flatnonzero(lines[pair.checked.shape]) for pair in pairs]
    return [(int(each[0]), int(each[-1]) + 1) if each.size else (0, 0) for each in places]


def _cost(
    cut: _Cut, pairs: Sequence[TrainingPair], truths: Sequence[NDArray[np.uint8]], classes: int
) -> float:
    """Return how bad a cut is, infinite if a part would have no labels."""
    counts = np.zeros((2, classes), np.int64)
    for truth, masks in zip(truths, _parts(cut, pairs), strict=True):
        for part, mask in enumerate(masks):
            counts[part] += np.bincount(truth[mask], minlength=classes)[:classes]
    lost = 1 - counts.sum() / sum(int(pair.checked.sum()) for pair in pairs)
    return _imbalance(counts[1], counts[0]) + float(lost)


def _what_is_missing(pairs: Sequence[TrainingPair], labels: LabelKind) -> str:
    """Return why no part of the images can be held out, and what to do."""
    numbers = [np.setdiff1d(np.unique(pair.labels[pair.checked]), [0]) for pair in pairs]
    if labels == "objects" and sum(map(len, numbers)) == 1:
        return (
            "Only one object is labelled, so none can be held out to check the result: "
            "label another one far from it, or add another image."
        )
    return (
        "The labels lie too close together to hold some out to check the result: "
        "label objects in another part of the image, or add another image."
    )


def _runs(mask: Mask) -> dict[str, Any]:
    """Return a mask as its shape and the lengths of its runs, False first."""
    flat = mask.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    ends = np.concatenate([[0] if flat.size and flat[0] else [], changes, [flat.size]])
    return {"shape": list(mask.shape), "runs": np.diff(ends, prepend=0).astype(int).tolist()}


def _mask(plain: dict[str, Any]) -> Mask:
    """Return the mask that `_runs` described; ValueError if it describes none."""
    runs = np.asarray(plain["runs"], dtype=np.int64)
    shape = tuple(int(length) for length in plain["shape"])
    if runs.ndim != 1 or (runs < 0).any() or math.prod(shape) != sum(runs.tolist()):
        raise ValueError(f"{len(runs)} runs do not fill a mask of shape {shape}.")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)
