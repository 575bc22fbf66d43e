"""Batches of crops from images with labels: where they are cut, and how they are varied.

A crop is read from its image in one resampling step that also turns, scales,
mirrors and bends it, so the cost follows the crop and not the image. Pixels that
are held out are cut away before anything is drawn: no crop can show one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_rwkv_seg.inference.normalize import prepare_plane
from napari_rwkv_seg.zoo.card import Normalization

from .augment import vary_intensity, warp
from .loop import Batch
from .pairs import LabelKind, TrainingPair, class_map
from .split import Split
from .targets import separated_target

CPU_PIXELS = 150_000  # of a batch: a step of Med-URWKV-T then takes about half a second on 2 cores
CUDA_PIXELS = 800_000

_STRIDE = 32  # of the coarsest tokens; sides of crops are multiples of it
_SIDES = tuple(range(192, 513, _STRIDE))  # tiles are 512 pixels long where images are
_MOST_CROPS = 16
_FULL = 0.8  # batches use at least this part of the pixels that they may have
_SMALLEST_BUDGET = 64 * 64
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


class CropSource:
    """Makes batches of crops on demand.

    Parameters
    ----------
    pairs : sequence of TrainingPair
        Without faults (`check_pairs`).
    split : Split
        Of these pairs; only what is learnt from is ever in a crop's loss, and what is held
        out is in no crop.
    normalization : Normalization
        From the model's card.
    input_channels : int
        Channels that the network takes.
    labels : "classes" or "objects"
        What the numbers of the labels stand for; objects are parted where they touch.
    pixels : int
        Most pixels of a batch, all crops together.
    """

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        split: Split,
        *,
        normalization: Normalization,
        input_channels: int,
        labels: LabelKind,
        pixels: int = CPU_PIXELS,
    ) -> None:
        self.pixels = pixels
        self._sources = [
            make_source(pair, train, held, normalization, input_channels, labels)
            for pair, train, held in zip(pairs, split.train, split.validation, strict=True)
            if train.any()
        ]
        self._rarity = _rarity(self._sources)
        longest = max(max(source.image.shape[1:]) for source in self._sources)
        # A crop that is longer than all images would show nothing more.
        self._longest = -(-longest // _STRIDE) * _STRIDE

    def shrink(self) -> str:
        """Halve the batches after memory ran out; return what was done, or "" if nothing can be."""
        if self.pixels // 2 < _SMALLEST_BUDGET:
            return ""
        self.pixels //= 2
        return f"Crops of at most {self.pixels} pixels a step instead of {2 * self.pixels}."

    def __call__(self, generator: np.random.Generator) -> Batch:
        """Return images (B, C, Y, X), classes (B, Y, X) as int64 and weights (B, Y, X)."""
        height, width, count = self._batch_shape(generator)
        crops = [self._crop(height, width, generator) for _ in range(count)]
        images = torch.stack([image for image, _ in crops]).to(memory_format=torch.channels_last)
        truths = torch.stack([truth for _, truth in crops])
        return images, truths[:, 0].long(), truths[:, 1].contiguous()

    def _batch_shape(self, generator: np.random.Generator) -> tuple[int, int, int]:
        """Return height, width and number of the crops of one batch."""
        largest = int(self.pixels**0.5) // _STRIDE * _STRIDE
        sides = [side for side in _SIDES if side <= self._longest] or [self._longest]
        if sides[0] > largest:  # memory is short
            return largest, largest, 1
        shapes = [
            (height, width, min(_MOST_CROPS, self.pixels // (height * width)))
            for height in sides
            for width in sides
            if height * width <= self.pixels
        ]
        most = max(math.prod(shape) for shape in shapes)
        full = [shape for shape in shapes if math.prod(shape) >= _FULL * most]
        return full[generator.integers(len(full))]

    def _crop(
        self, height: int, width: int, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return one varied crop: image (C, Y, X), class and weight (2, Y, X)."""
        source, place = self._place(generator)
        image, truth = warp(source.image, source.truth, place, (height, width), generator)
        return vary_intensity(image, generator), truth

    def _place(self, generator: np.random.Generator) -> tuple[Source, tuple[int, int]]:
        """Draw what a crop is to show: half of the time a class, the rarer the likelier."""
        sources = self._sources
        number = None
        if generator.random() < 0.5:
            number = int(generator.choice(list(self._rarity), p=list(self._rarity.values())))
            sources = [source for source in sources if number in source.places]
        source = sources[generator.integers(len(sources))]
        if number is None:  # any pixel of the image that is learnt from
            numbers = list(source.places)
            sizes = np.array([len(source.places[each]) for each in numbers], float)
            number = numbers[generator.choice(len(numbers), p=sizes / sizes.sum())]
        place = int(generator.choice(source.places[number]))
        row, column = divmod(place, source.image.shape[2])
        return source, (row, column)


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


def _rarity(sources: Sequence[Source]) -> dict[int, float]:
    """Return how often to look for each class: the inverse of its frequency, sum 1."""
    counts: dict[int, int] = {}
    for source in sources:
        classes, weights = source.truth[0], source.truth[1]
        for number in source.places:
            pixels = int(((classes == number) & (weights > 0)).sum())
            counts[number] = counts.get(number, 0) + pixels
    total = sum(1 / count for count in counts.values())
    return {number: 1 / count / total for number, count in counts.items()}
