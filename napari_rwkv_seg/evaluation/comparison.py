"""All scores of labels against the truth, class by class.

What is not defined is NaN, never 0 and never 1: Dice, IoU and surface Dice of a
class that neither side has, the Hausdorff distance where one side has none, F1
where there is no object at all. The background, 0, has no scores.
"""

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import CancelledError, EvaluationError, SettingsError
from napari_rwkv_seg.images.axes import times
from napari_rwkv_seg.inference.steps import drained

from .lengths import Spacing, in_unit_of
from .scores import ObjectMatches, match_objects
from .surfaces import SurfaceDistances, surface_distances

Meaning = Literal["classes", "objects"]
Labels = NDArray[np.integer[Any]]

F1_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))
"""0.50, 0.55, … 0.90: where F1 is taken for its mean."""
MOST_CLASSES = 256


@dataclass(frozen=True)
class EvaluationSettings:
    """How labels are compared.

    Parameters
    ----------
    labels : "classes" or "objects"
        Whether a number stands for a class, whose objects are then its connected parts
        (by sides and corners), or for one object of the only class.
    tolerance : float, optional
        How far a surface may be off, for the surface Dice; one pixel (its shortest side) if not
        given.
    tolerance_unit : str
        Such as "mm"; "" for the unit of the labels.
    class_names : mapping of int to str
        Names of classes; "class 1" and so on where there is none.
    """

    labels: Meaning = "classes"
    tolerance: float | None = None
    tolerance_unit: str = ""
    class_names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels not in ("classes", "objects"):
            raise SettingsError(f"Labels are 'classes' or 'objects', not {self.labels!r}.")
        if self.tolerance is not None and not 0 <= self.tolerance < math.inf:
            raise SettingsError(f"Tolerance is a length of 0 or more, not {self.tolerance}.")

    def tolerance_in(self, spacing: Spacing) -> float:
        """Return the tolerance in the unit of labels.

        Raises
        ------
        SettingsError
            If the units do not fit each other.
        """
        if self.tolerance is None:
            return min(spacing.sizes)
        return in_unit_of(spacing, self.tolerance, self.tolerance_unit)


@dataclass(frozen=True, eq=False)
class LabelPair:
    """Labels and the truth of one image, or of one frame of a series.

    Parameters
    ----------
    name : str
        For people.
    found, true : integer or bool arrays (Y, X) or (Z, Y, X)
        Of one shape and at one place.
    spacing : Spacing
        Of both.
    """

    name: str
    found: Labels
    true: Labels
    spacing: Spacing


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class of one pair; what is not defined is NaN.

    Parameters
    ----------
    pair : str
        Name of the pair.
    number : int
        Of the class in the labels.
    name : str
        Of the class.
    dice, iou : float
        Of its pixels.
    hd95 : float
        95 % Hausdorff distance, in `unit`.
    surface_dice : float
        At `tolerance`.
    f1_50, f1_75, f1_mean : float
        Object F1 at IoU 0.5 and 0.75, and the mean of it at `F1_IOUS`.
    objects_found, objects_true, pixels_found, pixels_true : int
        Counts in the labels and in the truth.
    tolerance : float
        In `unit`.
    unit : str
        Of lengths.
    """

    pair: str
    number: int
    name: str
    dice: float
    iou: float
    hd95: float
    surface_dice: float
    f1_50: float
    f1_75: float
    f1_mean: float
    objects_found: int
    objects_true: int
    pixels_found: int
    pixels_true: int
    tolerance: float
    unit: str


def compare(
    pair: LabelPair,
    settings: EvaluationSettings,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[ClassScores]:
    """Return the scores of every class that one of both sides has; at least of class 1.

    Raises
    ------
    EvaluationError
        If the labels cannot be compared.
    SettingsError
        If the tolerance is in a unit that does not fit the labels.
    CancelledError
        If `should_stop` says so.
    """
    return drained(compare_steps(pair, settings, should_stop))


def compare_steps(
    pair: LabelPair,
    settings: EvaluationSettings,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[float, None, list[ClassScores]]:
    """Do what `compare` does, and yield before each class the part that is done, 0 to 1."""
    found, true = (as_labels(each, pair.name) for each in (pair.found, pair.true))
    if found.shape != true.shape:
        raise EvaluationError(
            f"The labels of {pair.name!r} are {times(found.shape)} pixels and the truth is "
            f"{times(true.shape)}; compare labels of the same image at the same size."
        )
    if settings.labels == "objects":
        numbers = [1]
    else:
        numbers = _classes(pair.name, found, true)
    scores = []
    for done, number in enumerate(numbers):
        if should_stop():
            raise CancelledError("The user cancelled.")
        yield done / len(numbers)
        scores.append(_class_scores(pair, settings, (found, true), number, should_stop))
    return scores


def as_labels(array: NDArray[Any], name: str) -> Labels:
    """Return an array as labels: bool as 0 and 1, whole floats as integers.

    Raises
    ------
    EvaluationError
        If it holds numbers that are not whole or below 0, or no pixel at all.
    """
    if array.size == 0:
        raise EvaluationError(f"The labels of {name!r} are empty: {times(array.shape)} pixels.")
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.round(array)).any():
            raise EvaluationError(
                f"{name!r} holds numbers that are not whole; labels are 0, 1, 2, and so on."
            )
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise EvaluationError(f"{name!r} is of dtype {array.dtype}; labels are whole numbers.")
    if array.dtype.kind == "i" and int(array.min()) < 0:
        raise EvaluationError(
            f"{name!r} holds {int(array.min())}; labels are 0 for background, and above."
        )
    return array


def _classes(name: str, found: Labels, true: Labels) -> list[int]:
    """Return the numbers of the classes of both sides but the background."""
    numbers = set(np.unique(found).tolist()) | set(np.unique(true).tolist())
    numbers -= {0}
    if len(numbers) > MOST_CLASSES:
        raise EvaluationError(
            f"The labels of {name!r} hold {len(numbers)} different numbers, too many for classes; "
            "say that the numbers are objects."
        )
    return sorted(numbers) or [1]


def _class_scores(
    pair: LabelPair,
    settings: EvaluationSettings,
    labels: tuple[Labels, Labels],
    number: int,
    should_stop: Callable[[], bool],
) -> ClassScores:
    is_objects = settings.labels == "objects"
    found, true = (each > 0 if is_objects else each == number for each in labels)
    tolerance = settings.tolerance_in(pair.spacing)
    pixels_found, pixels_true = int(found.sum()), int(true.sum())
    both = int((found & true).sum())
    total = pixels_found + pixels_true
    distances = surface_distances(found, true, pair.spacing.sizes, should_stop)
    objects = match_objects(
        *(labels if is_objects else (connected_parts(found), connected_parts(true)))
    )
    f1_50, f1_75, f1_mean = _f1(objects)
    return ClassScores(
        pair.name,
        number,
        settings.class_names.get(number, "objects" if is_objects else f"class {number}"),
        dice=2 * both / total if total else math.nan,
        iou=both / (total - both) if total else math.nan,
        hd95=distances.hd95 if distances else math.nan,
        surface_dice=_surface_dice(distances, tolerance, total),
        f1_50=f1_50,
        f1_75=f1_75,
        f1_mean=f1_mean,
        objects_found=objects.found,
        objects_true=objects.true,
        pixels_found=pixels_found,
        pixels_true=pixels_true,
        tolerance=tolerance,
        unit=pair.spacing.unit,
    )


def _surface_dice(distances: SurfaceDistances | None, tolerance: float, pixels: int) -> float:
    """Return the surface Dice; 0 if one side alone is empty, as a surface is there and missed."""
    if distances is not None:
        return distances.dice(tolerance)
    return 0.0 if pixels else math.nan


def _f1(objects: ObjectMatches) -> tuple[float, float, float]:
    """Return F1 at 0.5 and at 0.75, and its mean; NaN without any object."""
    if not objects.found + objects.true:
        return math.nan, math.nan, math.nan
    mean = float(np.mean([objects.f1(iou) for iou in F1_IOUS]))
    return objects.f1(0.5), objects.f1(0.75), mean


def connected_parts(mask: NDArray[np.bool_]) -> Labels:
    """Return the connected parts of a mask as objects; sides, edges and corners connect."""
    from scipy import ndimage

    parts: Labels = ndimage.label(mask, structure=np.ones((3,) * mask.ndim, bool))[0]
    return parts
