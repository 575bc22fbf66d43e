"""The images of a run as training sees them: normalised, with targets, without what is held out.

Pixels that are held out are cut away before any crop is drawn: no crop can show one.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_rwkv_seg.inference.normalize import prepare_plane
from napari_rwkv_seg.zoo.card import Normalization

from .pairs import LabelKind, TrainingPair, class_map
from .split import Split
from .targets import separated_target

_MEMORY = 1_500_000_000  # bytes of prepared images that are kept; others are prepared anew
_KEPT_PLACES = 200_000  # of a class in an image; more would fill the memory for nothing


@dataclass(frozen=True)
class Source:
    """The part of one image that may be seen in training.

    Parameters
    ----------
    image : Tensor, float32, shape (C, Y, X)
        As the network takes it.
    truth : Tensor, float32, shape (2, Y, X)
        Class and weight of each pixel; the weight is 0 where nothing is to be learnt.
    places : dict of int to array
        Flat indices of pixels to learn from, by class; a sample of them if there are many.
    """

    image: Tensor
    truth: Tensor
    places: dict[int, NDArray[np.int64]]

    @property
    def nbytes(self) -> int:
        """Memory that it takes, but for a little."""
        return int(self.image.nbytes + self.truth.nbytes)


class Sources:
    """The sources of a run, made when they are first asked for.

    Parameters
    ----------
    pairs, split, normalization, input_channels, labels
        As for `CropSource`.
    """

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        split: Split,
        normalization: Normalization,
        input_channels: int,
        labels: LabelKind,
    ) -> None:
        parts = zip(pairs, split.train, split.validation, strict=True)
        self._parts = [part for part in parts if part[1].any()]
        self._facts = normalization, input_channels, labels
        self._made: OrderedDict[int, Source] = OrderedDict()
        self.counts = [
            np.bincount(class_map(pair, labels)[train]) for pair, train, _ in self._parts
        ]
        self.longest = max(
            length
            for _, train, held in self._parts
            for length in train[seen_part(train, held)].shape
        )

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> Source:
        """Return a source; the least recently used ones make room when memory is short."""
        if index not in self._made:
            self._made[index] = make_source(*self._parts[index], *self._facts)
        self._made.move_to_end(index)
        while len(self._made) > 1 and sum(s.nbytes for s in self._made.values()) > _MEMORY:
            self._made.popitem(last=False)
        return self._made[index]

    def with_class(self, number: int) -> list[int]:
        """Return the indices of the sources in which a class is to be learnt."""
        return [i for i, count in enumerate(self.counts) if count.size > number and count[number]]

    def rarity(self) -> dict[int, float]:
        """Return how often to look for each class: the inverse of its frequency, sum 1."""
        length = max(count.size for count in self.counts)
        total = np.sum([np.pad(count, (0, length - count.size)) for count in self.counts], axis=0)
        there = np.flatnonzero(total)
        shares = (1 / total[there]) / (1 / total[there]).sum()
        return dict(zip(there.tolist(), shares.tolist(), strict=True))


def make_source(
    pair: TrainingPair,
    train: NDArray[np.bool_],
    held: NDArray[np.bool_],
    normalization: Normalization,
    channels: int,
    labels: LabelKind,
) -> Source:
    """Return the part of a pair that may be seen in training, with its targets.

    Normalised as a whole first, as the predictor does it, and cut afterwards.
    """
    rows, columns = seen_part(train, held)
    prepared = prepare_plane(_with_channels(pair.image), normalization, channels)
    weight = train.astype(np.float32)
    target = class_map(pair, labels)
    if labels == "objects":
        target, gaps = separated_target(_small_numbers(pair.labels, pair.checked))
        weight = weight * gaps
    if prepared.invalid is not None:
        weight[prepared.invalid] = 0
    truth = np.stack([target.astype(np.float32), weight])[:, rows, columns]
    image = np.ascontiguousarray(prepared.pixels[:, rows, columns])
    return Source(torch.from_numpy(image), torch.from_numpy(truth.copy()), _places(truth))


def seen_part(train: NDArray[np.bool_], held: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that training may see: all on one side of what is held out.

    Of the four sides, that with the most pixels to learn from.
    """
    whole = slice(None)
    if not held.any():
        return whole, whole
    top, bottom = np.flatnonzero(held.any(1))[[0, -1]].tolist()
    left, right = np.flatnonzero(held.any(0))[[0, -1]].tolist()
    sides = (
        (slice(0, top), whole),
        (slice(bottom + 1, None), whole),
        (whole, slice(0, left)),
        (whole, slice(right + 1, None)),
    )
    return max(sides, key=lambda side: int(np.count_nonzero(train[side])))


def _with_channels(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 3 else image[..., None]


def _small_numbers(labels: NDArray[Any], checked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return objects numbered 1 … n, in which what is not checked is background."""
    found, numbers = np.unique(np.where(checked, labels, 0), return_inverse=True)
    small = numbers.reshape(labels.shape).astype(np.int32)
    return small if found[0] == 0 else small + 1


def _places(truth: NDArray[np.float32]) -> dict[int, NDArray[np.int64]]:
    """Return the flat indices of pixels with a weight, by class."""
    places = {}
    for number in np.unique(truth[0][truth[1] > 0]).astype(int).tolist():
        flat = np.flatnonzero((truth[0] == number) & (truth[1] > 0))
        places[number] = flat[:: -(-len(flat) // _KEPT_PLACES)]
    return places
