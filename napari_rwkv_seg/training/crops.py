"""Batches of crops from images with labels: where they are cut, and how they are varied.

A crop is read from its image in one resampling step that also turns, scales,
mirrors and bends it, so the cost follows the crop and not the image.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from napari_rwkv_seg.zoo.card import Normalization

from .augment import vary_intensity, warp
from .pairs import LabelKind, TrainingPair
from .sources import Source, Sources, unpacked
from .split import Split
from .work import Batch

CPU_PIXELS = 150_000  # of a batch: a step of Med-URWKV-T then takes about half a second on 2 cores
CUDA_PIXELS = 800_000

_STRIDE = 32  # of the coarsest tokens; sides of crops are multiples of it
# Tiles are 512 pixels long where images are. Few sides, because oneDNN prepares
# its kernels anew for each shape that it meets, in a step that takes half as long again.
_SIDES = tuple(range(192, 513, 64))
_MOST_CROPS = 16
_FULL = 0.8  # batches use at least this part of the pixels that they may have
_SMALLEST_BUDGET = 64 * 64


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
    turns : bool
        Whether objects may lie any way round, and crops are turned and mirrored.
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
        turns: bool = True,
    ) -> None:
        self.pixels = pixels
        self._turns = turns
        self._channels = input_channels
        self._sources = Sources(pairs, split, normalization, input_channels, labels)
        self._rarity = self._sources.rarity()
        # A crop that is longer than all images would show nothing more.
        self._longest = -(-self._sources.longest // _STRIDE) * _STRIDE

    @property
    def least_side(self) -> int:
        """The shortest side of crops, if there is memory for it; smaller images lie within it."""
        return self._sides[0]

    @property
    def _sides(self) -> list[int]:
        return [side for side in _SIDES if side <= self._longest] or [self._longest]

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
        sides = self._sides
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
        size = (height, width)
        image, truth = warp(source.image, source.truth, place, size, generator, turns=self._turns)
        image = image.expand(self._channels, *size).contiguous()  # grey is kept once
        return vary_intensity(image, generator), unpacked(truth)

    def _place(self, generator: np.random.Generator) -> tuple[Source, tuple[int, int]]:
        """Draw what a crop is to show: half of the time a class, the rarer the likelier."""
        number, indices = None, list(range(len(self._sources)))
        if generator.random() < 0.5:
            number = int(generator.choice(list(self._rarity), p=list(self._rarity.values())))
            indices = self._sources.with_class(number)
        source = self._sources[int(generator.choice(indices))]
        height, width = source.image.shape[1:]
        if number not in source.places:  # any pixel of the image that is learnt from
            numbers = list(source.places)
            if not numbers:  # none of its pixels is finite
                return source, (height // 2, width // 2)
            sizes = np.array([len(source.places[each]) for each in numbers], float)
            number = numbers[generator.choice(len(numbers), p=sizes / sizes.sum())]
        place = int(generator.choice(source.places[number]))
        return source, (place // width, place % width)
