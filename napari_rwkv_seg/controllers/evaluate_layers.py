"""Two Labels layers as something to compare: whether they lie at one place, how large pixels are.

Plain values that a window reads from its layers; knows no Qt and no napari.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import EvaluationError
from napari_rwkv_seg.evaluation.comparison import LabelPair, Meaning
from napari_rwkv_seg.evaluation.differences import difference_map
from napari_rwkv_seg.evaluation.label_files import frames
from napari_rwkv_seg.evaluation.lengths import Spacing, pixels, spacing_from
from napari_rwkv_seg.evaluation.run import PairSource
from napari_rwkv_seg.images.axes import times
from napari_rwkv_seg.images.geometry import TO_MICROMETRES

Stack = Literal["body", "planes"]
STACKS: tuple[Stack, ...] = ("body", "planes")

_SAME_PLACE = 0.01  # of a pixel
_SQUARE = 1e-6  # of the product of two sides: what rounding leaves of a right angle


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """What is known of a Labels layer.

    Parameters
    ----------
    name : str
        Of the layer.
    shape : tuple of int
        Of its array.
    read : callable
        Returns the array, as it was when the facts were taken; called in the worker.
    matrix : float array (axes, axes)
        From pixels to the world, without the shift: columns are the sides of a pixel.
    shift : float array (axes,)
        Where the first pixel lies in the world.
    units : tuple of str
        Of the world's axes.
    means : "classes", "objects" or ""
        What its numbers stand for, if it says so.
    class_names : mapping of int to str
        Names of its classes, if it has some.
    is_series : bool
        Whether its first axis is time, as far as it says so.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Any]
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    units: tuple[str, ...]
    means: Meaning | Literal[""] = ""
    class_names: Mapping[int, str] = field(default_factory=dict)
    is_series: bool = False


class LayerComparison:
    """Two layers to compare; what of them differs is kept for a layer of differences.

    Parameters
    ----------
    found, true : LayerFacts
        Labels and the truth.
    stack : "body" or "planes"
        Whether a stack is one body in three dimensions, or each plane stands for itself.
    labels : "classes" or "objects"
        What numbers stand for.

    Raises
    ------
    EvaluationError
        If the layers have another shape or place.
    """

    def __init__(
        self, found: LayerFacts, true: LayerFacts, stack: Stack, labels: Meaning = "classes"
    ) -> None:
        check_place(found, true)
        self._found, self._true, self._stack, self._labels = found, true, stack, labels
        self.differences: NDArray[np.uint8] | None = None
        self._kept = [axis for axis in range(len(found.shape)) if _is_kept(found.shape, axis)]

    def source(self) -> PairSource:
        """Return what an evaluation reads."""
        return PairSource(self._found.name, self._read)

    def _read(self) -> tuple[list[LabelPair], list[str]]:
        found, true = (np.asarray(each.read()) for each in (self._found, self._true))
        for array, facts in ((found, self._found), (true, self._true)):
            if array.shape != facts.shape:
                raise EvaluationError(
                    f"Layer {facts.name!r} has changed its size meanwhile; evaluate once more."
                )
        notes: list[str] = []
        if self._labels == "classes":
            found, true = self._as_meant(found, true, notes)
        self.differences = difference_map(found, true, self._labels)
        shape = [found.shape[axis] for axis in self._kept]
        in_space = 2 if self._stack == "planes" else min(len(shape), 3)
        spacing = self._spacing(self._kept[-in_space:], notes)
        axes = "ZYX"[-in_space:]
        if len(shape) > in_space:
            axes = f"T{axes}"
            shape = [-1, *shape[-in_space:]]
        labels = [each.reshape(shape) for each in (found, true)]
        return frames(self._found.name, labels, axes, spacing), notes

    def _as_meant(
        self, found: NDArray[Any], true: NDArray[Any], notes: list[str]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return classes with 255 as 1 where one of both is a picture of 0 and 255."""
        are_pictures = [set(np.unique(each).tolist()) - {0} == {255} for each in (found, true)]
        if are_pictures == [True, False]:
            notes.append(f"Layer {self._found.name!r} of 0 and 255 was read as 0 and 1.")
            return (found > 0).astype(np.uint8), true
        if are_pictures == [False, True]:
            notes.append(f"Layer {self._true.name!r} of 0 and 255 was read as 0 and 1.")
            return found, (true > 0).astype(np.uint8)
        return found, true

    def _spacing(self, axes: list[int], notes: list[str]) -> Spacing:
        """Return the size of a pixel along some axes; in pixels if units do not fit each other."""
        sides = self._true.matrix[:, axes]
        lengths = np.linalg.norm(sides, axis=0)
        angles = sides.T @ sides / np.outer(lengths, lengths) - np.eye(len(axes))
        if np.abs(angles).max() > _SQUARE:
            raise EvaluationError(
                f"Layer {self._true.name!r} is sheared, so distances in it cannot be measured; "
                "remove the shear, or resample the layer."
            )
        units = [self._true.units[axis] for axis in axes]
        spacing = spacing_from(lengths.tolist(), units)
        if spacing is None:
            notes.append(
                f"The layer's axes have the units {', '.join(units)}, which are no lengths or do "
                "not fit each other; distances are in pixels."
            )
            return pixels(len(axes))
        return spacing


def check_place(found: LayerFacts, true: LayerFacts) -> None:
    """Refuse layers that do not have the same pixels at the same place.

    Raises
    ------
    EvaluationError
        With a sentence on what differs.
    """
    both = f"{found.name!r} and {true.name!r}"
    if found.shape != true.shape:
        raise EvaluationError(
            f"The layers {both} have {times(found.shape)} and {times(true.shape)} pixels; "
            "choose labels of the same image at the same size."
        )
    if not 2 <= sum(_is_kept(found.shape, axis) for axis in range(len(found.shape))) <= 4:
        raise EvaluationError(
            f"The layers {both} have {len(found.shape)} axes; 2 to 4 can be compared."
        )
    for matrix in (found.matrix, true.matrix):
        lengths = np.linalg.norm(matrix, axis=0)
        if not np.isfinite(matrix).all() or not lengths.all():
            raise EvaluationError(
                f"The scale of {both} is no size of a pixel; correct it and evaluate again."
            )
    if (factors := _units_in(found.units, true.units)) is None:
        raise EvaluationError(
            f"The layers {both} have other units ({', '.join(found.units)} and "
            f"{', '.join(true.units)}); give them the same."
        )
    pixel = np.linalg.norm(true.matrix, axis=0).min()
    # The far corner moves most when two scales differ a little.
    far = np.array(true.shape, float)
    corners = np.stack([np.zeros_like(far), *(np.diag(far))])
    ours, theirs = (corners @ each.matrix.T + each.shift for each in (found, true))
    ours = ours * factors
    if not np.allclose(ours, theirs, rtol=0, atol=_SAME_PLACE * float(pixel)):
        raise EvaluationError(
            f"The layers {both} do not lie at the same place: scale, shift, rotation or shear "
            "differ. Labels are not resampled; bring one layer to the other's place first."
        )


def _units_in(ours: Sequence[str], theirs: Sequence[str]) -> NDArray[np.float64] | None:
    """Return how many of their units make one of ours, an axis each; None if they do not fit."""
    factors = []
    for one, other in zip(ours, theirs, strict=True):
        if one == other:
            factors.append(1.0)
        elif one in TO_MICROMETRES and other in TO_MICROMETRES:
            factors.append(TO_MICROMETRES[one] / TO_MICROMETRES[other])
        else:
            return None
    return np.array(factors)


def _is_kept(shape: tuple[int, ...], axis: int) -> bool:
    """Return whether an axis counts: the last two always, others if they are longer than 1."""
    return axis >= len(shape) - 2 or shape[axis] > 1
