"""The images of a run as training sees them: normalised, with targets, without what is held out.

Pixels that are held out are cut away before any crop is drawn: no crop can show one.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_rwkv_seg.inference.normalize import prepare_plane
from napari_rwkv_seg.zoo.card import Normalization

from .pairs import LabelKind, TrainingPair, class_map
from .split import Split
from .targets import separated_target
from .torchrun import is_in_company, sizes

# Of the free memory, for prepared images that are kept; others are prepared anew.
_SHARE = 0.25
_MORE_SHARE = 0.5  # where that is little, up to so much:
_LITTLE = 1_500_000_000  # bytes
_CLASSES = 256  # at most
_KEPT_PLACES = 200_000  # of a class in an image; more would fill the memory for nothing


@dataclass(frozen=True)
class Source:
    """The part of one image that may be seen in training.

    Parameters
    ----------
    image : Tensor, float32, shape (C, Y, X)
        As the network takes it; C is 1 if all channels are the same.
    truth : Tensor, float32, shape (1, Y, X)
        For `unpacked`: class and weight of each pixel; the weight is 0 where nothing is to be
        learnt. Floats, since a crop is read from them; in one channel, to keep more images.
    places : dict of int to array
        Flat indices of pixels to learn from, by class; a sample of them if there are many.
    """

    image: Tensor
    truth: Tensor
    places: dict[int, NDArray[np.int64]]

    @property
    def nbytes(self) -> int:
        """Memory that it takes, but for a little."""
        places = sum(each.nbytes for each in self.places.values())
        return self.image.nbytes + self.truth.nbytes + places


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
        self._memory = _memory_to_use()
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
        while len(self._made) > 1 and sum(s.nbytes for s in self._made.values()) > self._memory:
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
    weight = train.astype(np.uint8)
    target = class_map(pair, labels)
    if labels == "objects":
        target, gaps = separated_target(_small_numbers(pair.labels, pair.checked))
        weight *= gaps.astype(np.uint8)  # whole numbers
    if prepared.invalid is not None:
        weight[prepared.invalid] = 0
    target, weight = target[rows, columns], weight[rows, columns]
    truth = weight.astype(np.float32) * _CLASSES + target
    image = _distinct(prepared.pixels[:, rows, columns]).copy()
    return Source(torch.from_numpy(image), torch.from_numpy(truth[None]), _places(target, weight))


def unpacked(truth: Tensor) -> Tensor:
    """Return class and weight (2, Y, X) of a source's truth or a crop of it (1, Y, X)."""
    return torch.cat([truth % _CLASSES, truth // _CLASSES])


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


def _distinct(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pixels (C, Y, X), of channels that are all the same only the first."""
    is_grey = all(np.array_equal(pixels[0], each) for each in pixels[1:])
    return pixels[:1] if is_grey else pixels


def _memory_to_use() -> int:
    """Return how many bytes this process may fill with prepared images."""
    free = psutil.virtual_memory().available / (sizes()[1] if is_in_company() else 1)
    return int(max(_SHARE * free, min(_LITTLE, _MORE_SHARE * free)))


def _with_channels(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 3 else image[..., None]


def _small_numbers(labels: NDArray[Any], checked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return numbers of objects that fit; what is not checked is background."""
    known = np.where(checked, labels, 0)
    if known.max(initial=0) <= np.iinfo(np.int32).max:
        return known.astype(np.int32)
    found, numbers = np.unique(known, return_inverse=True)
    small = numbers.reshape(labels.shape).astype(np.int32)
    return small if found[0] == 0 else small + 1


def _places(target: NDArray[np.uint8], weight: NDArray[np.uint8]) -> dict[int, NDArray[np.int64]]:
    """Return the flat indices of pixels with a weight, by class."""
    places = {}
    for number in np.flatnonzero(np.bincount(target[weight > 0])).tolist():
        flat = np.flatnonzero((target == number) & (weight > 0))
        places[number] = flat[:: -(-len(flat) // _KEPT_PLACES)]
    return places
