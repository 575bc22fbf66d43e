"""Scores of a model on regions of images, by the very predictor that users get."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import CancelledError
from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.inference.predictor import predict_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.inference.steps import drained

Mask = NDArray[np.bool_]
ClassMap = NDArray[np.uint8]


@dataclass(frozen=True)
class RegionScores:
    """How well class labels agree with the truth inside regions.

    Parameters
    ----------
    mean : float
        Mean of the Dice coefficients of the classes that occur in the truth.
    by_class : dict of str to float
        Dice of each of these classes, over the pixels of all regions together.
    absent : tuple of str
        Classes that are left out because no truth has them.
    regions : int
        Regions with at least one pixel.
    predictions : tuple of uint8 arrays (Y, X)
        Class labels of the whole images, as a user would get them.
    """

    mean: float
    by_class: dict[str, float]
    absent: tuple[str, ...]
    regions: int
    predictions: tuple[ClassMap, ...]


def score_regions(
    model: Model,
    images: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[np.integer[Any]]],
    regions: Sequence[Mask],
    classes: Sequence[str],
    should_stop: Callable[[], bool] = lambda: False,
) -> RegionScores:
    """Segment images and compare the classes with the truth inside regions.

    Parameters
    ----------
    model : Model
        Its card recommends how labels are made.
    images : sequence of arrays (Y, X) or (Y, X, C)
        One a region.
    truths : sequence of integer arrays (Y, X)
        True class of each pixel.
    regions : sequence of bool arrays (Y, X)
        Where to compare; an empty one counts for nothing and its image is not segmented.
    classes : sequence of str
        Names of the classes, the background first.
    should_stop : callable
        Asked before every tile.

    Returns
    -------
    RegionScores
        A mean of 0 if no truth has any class.

    Raises
    ------
    CancelledError
        If `should_stop` says so.
    RwkvSegError
        As `inference.predict_steps` raises it.
    """
    tally = Tally(classes)
    predictions = []
    for image, truth, region in zip(images, truths, regions, strict=True):
        labels = np.zeros(truth.shape, np.uint8)
        if region.any():
            labels = predict_classes(model, image, should_stop)
            tally.add(labels[region], truth[region])
        predictions.append(labels)
    return tally.scores(sum(bool(region.any()) for region in regions), tuple(predictions))


def predict_classes(
    model: Model, image: NDArray[Any], should_stop: Callable[[], bool] = lambda: False
) -> ClassMap:
    """Return the class labels of a plane (Y, X) or (Y, X, C), made as the model's card says.

    Raises
    ------
    CancelledError
        If `should_stop`, asked before every tile, says so.
    """

    def check(_: object = None) -> None:
        if should_stop():
            raise CancelledError

    check()
    prediction = drained(predict_steps(image, model, axes="YXC"[: image.ndim]), check)
    settings = LabelSettings.for_model(model.card, "classes")
    return label_probabilities(prediction.probabilities, settings).astype(np.uint8)


class Tally:
    """Counts of pixels, over regions, from which Dice coefficients follow."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._overlap, self._found, self._true = np.zeros((3, len(classes)), np.int64)

    def add(self, labels: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> None:
        """Count pixels of one region; both of one shape."""
        for number in range(len(self._classes)):
            found, true = labels == number, truth == number
            self._overlap[number] += np.count_nonzero(found & true)
            self._found[number] += np.count_nonzero(found)
            self._true[number] += np.count_nonzero(true)

    def scores(self, regions: int, predictions: tuple[ClassMap, ...]) -> RegionScores:
        """Return the Dice coefficients of all classes but the background."""
        by_class, absent = {}, []
        for number, name in enumerate(self._classes[1:], start=1):
            if self._true[number]:
                total = self._found[number] + self._true[number]
                by_class[name] = float(2 * self._overlap[number] / total)
            else:
                absent.append(name)
        mean = sum(by_class.values()) / len(by_class) if by_class else 0.0
        return RegionScores(mean, by_class, tuple(absent), regions, predictions)
