"""Images with labels to learn from, and what is wrong with them.

NumPy only. Labels are integers of one of two meanings: "classes", each number
is that class of the model; or "objects", each number above 0 is an object of
class 1. Only pixels that are checked count, for learning and for scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError, TrainingDataError
from napari_rwkv_seg.images.axes import times
from napari_rwkv_seg.inference.normalize import check_dtype
from napari_rwkv_seg.zoo.card import ClassCard

from .likeness import first_same, much_alike
from .pixel_sizes import size_warnings

LabelKind = Literal["classes", "objects"]


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """One plane with its labels and what of them is to be trusted.

    Parameters
    ----------
    name : str
        For people; need not be unique.
    image : array (Y, X) or (Y, X, C)
        Pixels as they are, of any real dtype.
    labels : array of integers or bool (Y, X)
        0 is background.
    checked : bool array (Y, X)
        Where the labels are right; elsewhere they are ignored.
    group : str
        What it belongs to, such as a volume or a series; "" if it stands alone.
    pixel_size_um : float, optional
        The side of a pixel in micrometres; None where nobody said.
    """

    name: str
    image: NDArray[Any]
    labels: NDArray[Any]
    checked: NDArray[np.bool_]
    group: str = ""
    pixel_size_um: float | None = None


@dataclass(frozen=True)
class PairSummary:
    """What a pair holds, in numbers.

    Parameters
    ----------
    pixels : dict of str to int
        Checked pixels of each class, by the name of the class.
    objects : int or None
        Objects with a checked pixel, if the labels are objects.
    checked : int
        Checked pixels in all.
    problem : str
        Why the pair cannot be used, in a sentence; "" if it can.
    """

    pixels: dict[str, int] = field(default_factory=dict)
    objects: int | None = None
    checked: int = 0
    problem: str = ""

    @property
    def labelled(self) -> int:
        """Checked pixels that are not background."""
        return sum(list(self.pixels.values())[1:])


class LabelMeaning(Protocol):
    """What of a run's settings says how its labels are to be read."""

    @property
    def labels(self) -> LabelKind:
        """Whether numbers stand for classes or for objects."""

    @property
    def classes(self) -> Sequence[ClassCard]:
        """The classes of the new model; empty for those of its base."""


def summary(pair: TrainingPair, labels: LabelKind, classes: Sequence[ClassCard]) -> PairSummary:
    """Return what a pair holds; never raises, a fault becomes its problem.

    Parameters
    ----------
    pair : TrainingPair
        Perhaps a faulty one.
    labels : "classes" or "objects"
        What its numbers stand for.
    classes : sequence of ClassCard
        Of the model, the background first.
    """
    if problem := _fault(pair):
        return PairSummary(problem=problem)
    numbers, counts = np.unique(np.asarray(pair.labels)[pair.checked], return_counts=True)
    pixels = {each.name: 0 for each in classes}
    names = list(pixels)
    unknown = [int(number) for number in numbers if labels == "classes" and number >= len(names)]
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        place = min(int(number), 1) if labels == "objects" else int(number)
        if place < len(names):
            pixels[names[place]] += count
    return PairSummary(
        pixels,
        int((numbers > 0).sum()) if labels == "objects" else None,
        int(counts.sum()),
        _unknown_classes(pair, unknown, names) if unknown else "",
    )


def class_map(pair: TrainingPair, labels: LabelKind) -> NDArray[np.uint8]:
    """Return the true class of each pixel (Y, X); objects become class 1.

    Pixels that are not checked are 0: their labels may be anything.
    """
    numbers = np.asarray(pair.labels)
    true = numbers > 0 if labels == "objects" else numbers
    return np.where(pair.checked, true, 0).astype(np.uint8)


def check_pairs(
    pairs: Sequence[TrainingPair],
    settings: LabelMeaning,
    classes: Sequence[ClassCard] | None = None,
) -> tuple[str, ...]:
    """Refuse pairs that nothing can be learnt from; return warnings in sentences.

    Parameters
    ----------
    pairs : sequence of TrainingPair
        All that is to be used.
    settings : LabelMeaning
        Settings of the run.
    classes : sequence of ClassCard, optional
        Used instead of an empty `settings.classes`: those of the model started from.

    Raises
    ------
    TrainingDataError
        If there is no pair, one is faulty, or nothing is labelled; the text names the pair.
    """
    known = list(settings.classes or classes or ())
    if not pairs:
        raise TrainingDataError(
            "There is nothing to learn from: add at least one image with labels."
        )
    facts = [summary(pair, settings.labels, known) for pair in pairs]
    for each in facts:
        if each.problem:
            raise TrainingDataError(each.problem)
    if not any(each.checked for each in facts):
        raise TrainingDataError(
            "No pixel is checked: say which part of the images is labelled completely."
        )
    if not any(each.labelled for each in facts):
        raise TrainingDataError(
            "Nothing is labelled: all checked pixels are background. Paint some objects first."
        )
    sizes = [(pair.name, pair.pixel_size_um) for pair in pairs]
    return (*_warnings(facts, known), *_twins(pairs), *size_warnings(sizes))


def _twins(pairs: Sequence[TrainingPair]) -> list[str]:
    """Return warnings about images that are there more than once, or may show the same."""
    images = [np.asarray(pair.image) for pair in pairs]
    firsts = first_same(images)
    same = [(first, index) for index, first in enumerate(firsts) if first != index]
    alike = [  # of one group it is known
        (i, j)
        for i, j in much_alike(images)
        if firsts[i] != firsts[j] and (not pairs[i].group or pairs[i].group != pairs[j].group)
    ]
    warnings = []
    if same:
        warnings.append(
            f"The same image is there twice: {_both(pairs, same)}. Both are learnt from or "
            "both held out, so that the check stays honest."
        )
    if alike:
        warnings.append(
            f"These images look alike: {_both(pairs, alike)}. If they show the same, leave one "
            "out, or the check may look better than it is."
        )
    return warnings


def _both(pairs: Sequence[TrainingPair], found: list[tuple[int, int]]) -> str:
    """Return the names of the first of these in words."""
    named = [f"{pairs[i].name!r} and {pairs[j].name!r}" for i, j in found[:3]]
    return ", ".join(named) + (f" (and {len(found) - 3} more)" if found[3:] else "")


def _warnings(facts: Sequence[PairSummary], classes: Sequence[ClassCard]) -> tuple[str, ...]:
    """Return what is unwise but can be done."""
    total = {each.name: sum(fact.pixels[each.name] for fact in facts) for each in classes}
    warnings = []
    if classes and not total[classes[0].name]:
        warnings.append(
            "No background is confirmed: without a checked pixel of background "
            "the model learns to find objects everywhere."
        )
    missing = [repr(name) for name in list(total)[1:] if not total[name]]
    if missing:
        warnings.append(
            f"Nothing is labelled as {', '.join(missing)}: the model may forget what that is."
        )
    return tuple(warnings)


def _fault(pair: TrainingPair) -> str:
    """Return what is wrong with the arrays of a pair, or ""."""
    image, labels, checked = pair.image, np.asarray(pair.labels), np.asarray(pair.checked)
    if image.ndim not in (2, 3) or 0 in image.shape:
        return (
            f"Image {pair.name!r} has shape {image.shape}; one plane (Y, X) or (Y, X, C) is used."
        )
    try:
        check_dtype(image.dtype)
    except ImageError as error:
        return f"Image {pair.name!r} cannot be used: {error}"
    if labels.shape != image.shape[:2]:
        return (
            f"The labels of {pair.name!r} are {times(labels.shape)} pixels and the image is "
            f"{times(image.shape[:2])}; choose labels that belong to this image."
        )
    if checked.shape != labels.shape or checked.dtype != bool:
        return f"What is checked of {pair.name!r} must be true or false for each of its pixels."
    return _label_fault(pair.name, labels)


def _label_fault(name: str, labels: NDArray[Any]) -> str:
    """Return what is wrong with the numbers of a pair's labels, or ""."""
    if labels.dtype.kind not in "biu":
        return (
            f"The labels of {name!r} are of dtype {labels.dtype}, not whole numbers; "
            "convert them to an integer labels layer."
        )
    if labels.size and int(labels.min()) < 0:
        return (
            f"The labels of {name!r} hold {int(labels.min())}; numbers below 0 mean nothing here."
        )
    return ""


def _unknown_classes(pair: TrainingPair, unknown: Sequence[int], names: Sequence[str]) -> str:
    """Return a sentence about numbers that are no class."""
    numbers = ", ".join(str(number) for number in unknown[:5]) + (", …" if unknown[5:] else "")
    return (
        f"The labels of {pair.name!r} hold {numbers}, but the classes are 0 to {len(names) - 1} "
        f"({', '.join(names)}); choose the model that made them, add a class, or say that the "
        "numbers are objects."
    )
