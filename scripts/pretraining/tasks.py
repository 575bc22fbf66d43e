"""What an encoder is pretrained to do: restore spoilt images, then tell the classes of all sets.

A task makes batches and has a loss and a score. Images are normalised as the models of
the package expect them. Restoring follows masked image modelling (Xie et al., SimMIM,
CVPR 2022: masked squares, the error counted on them) with low-level disruptions on top.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_rwkv_seg.training.augment import vary_intensity, warp
from napari_rwkv_seg.training.work import Batch

from .pool import Plane

MEAN, STD = 0.5, 0.25
SIDE = 224
SIDES = (160, 224, 384)
SQUARE = 32  # pixels: side of a masked square, twice the encoder's tokens
MASKED = 0.5
REST = 0.2  # weight of what is not masked
_HELD = 8  # crops of each set that a score is taken on


class Restoring:
    """Spoil crops, and ask for them as they were.

    Parameters
    ----------
    train, validation : sequences of Plane, one a set
        Every set is drawn equally often.
    count : int
        Crops of a batch.
    """

    outputs = 3

    def __init__(
        self, train: Sequence[list[Plane]], validation: Sequence[list[Plane]], count: int
    ) -> None:
        self._train, self._count = train, count
        generator = np.random.default_rng(0)
        held = [_crop(_any(planes, generator), generator) for planes in validation for _ in "1234"]
        self._held = [self._spoilt(image, generator) for image, _ in held]

    def batch(self, generator: np.random.Generator) -> Batch:
        """Return spoilt images, images (B, 3, Y, X), and weights (B, Y, X)."""
        parts = []
        for _ in range(self._count):
            planes = self._train[generator.integers(len(self._train))]
            image, _ = _crop(_any(planes, generator), generator)
            parts.append(self._spoilt(vary_intensity(image, generator), generator))
        images, targets, weights = (torch.stack(part) for part in zip(*parts, strict=True))
        return images.to(memory_format=torch.channels_last), targets, weights

    def loss(self, answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted mean of the absolute error."""
        error = (answer.float() - target).abs().mean(1)
        return (error * weight).sum() / weight.sum()

    def score(self, network: nn.Module) -> dict[str, float]:
        """Return minus the loss on held-out crops."""
        with torch.inference_mode():
            device = next(network.parameters()).device
            losses = [
                float(self.loss(network(image[None].to(device)), target[None].to(device),
                                weight[None].to(device)))
                for image, target, weight in self._held
            ]  # fmt: skip
        return {"score": -float(np.mean(losses))}

    def _spoilt(
        self, image: Tensor, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return an image (3, Y, X) disrupted and with squares masked, itself, and weights."""
        cells = -(-SIDE // SQUARE)
        masked = np.kron(generator.random((cells, cells)) < MASKED, np.ones((SQUARE, SQUARE)))
        mask = torch.from_numpy(masked[:SIDE, :SIDE]).float()
        return _disrupted(image, generator) * (1 - mask), image, mask + REST * (1 - mask)


class Telling:
    """Tell the classes of all sets at once; a crop is asked for those of its own set alone.

    Parameters
    ----------
    train, validation : sequences of Plane, one a set
        Every set is drawn equally often.
    numbers : sequence of int
        How many foreground classes each set has.
    count : int
        Crops of a batch, of SIDE pixels a side.
    is_one_class : bool
        Whether what all sets have is one class, objects; each set may then have one alone.
        Crops are of several sizes, because such a network is used as it is.
    """

    def __init__(
        self,
        train: Sequence[list[Plane]],
        validation: Sequence[list[Plane]],
        numbers: Sequence[int],
        count: int,
        is_one_class: bool = False,
    ) -> None:
        self._train, self._validation, self._count = train, validation, count
        ends = np.cumsum([1, *numbers])
        self._ranges = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        if is_one_class:
            self._ranges = [(1, 2)] * len(numbers)
        self._sides = SIDES if is_one_class else (SIDE,)
        self.outputs = max(end for _, end in self._ranges)
        self._drawn: list[int] = []

    def batch(self, generator: np.random.Generator) -> Batch:
        """Return images (B, 3, Y, X), pooled classes (B, Y, X) and weights of 1."""
        side = int(generator.choice(self._sides))
        count = max(1, self._count * SIDE**2 // side**2)
        self._drawn = generator.integers(len(self._train), size=count).tolist()
        images, targets = [], []
        for index in self._drawn:
            image, classes = _crop(_any(self._train[index], generator), generator, side)
            images.append(vary_intensity(image, generator))
            targets.append(self._pooled(classes, index))
        target = torch.stack(targets)
        image = torch.stack(images).to(memory_format=torch.channels_last)
        return image, target, torch.ones(target.shape)

    def loss(self, answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return cross entropy plus Dice over the classes that each crop's set has, halved."""
        losses = []
        for logits, truth, index in zip(answer.float(), target, self._drawn, strict=True):
            own = self._own(logits, index)
            wanted = torch.where(truth > 0, truth - self._ranges[index][0] + 1, 0)
            entropy = functional.cross_entropy(own[None], wanted[None])
            guess = own.softmax(0)[1:]
            true = functional.one_hot(wanted, len(own)).movedim(-1, 0)[1:].to(guess)
            overlap, total = (guess * true).sum((1, 2)), (guess + true).sum((1, 2))
            losses.append((entropy + (1 - (2 * overlap + 1) / (total + 1)).mean()) / 2)
        return torch.stack(losses).mean() * weight.mean()

    def score(self, network: nn.Module) -> dict[str, float]:
        """Return the mean over the sets of the Dice of foreground on held-out crops."""
        generator = np.random.default_rng(0)
        device = next(network.parameters()).device
        found = []
        for index, planes in enumerate(self._validation):
            hits = total = 0
            for _ in range(_HELD):
                image, classes = _crop(_any(planes, generator), generator)
                with torch.inference_mode():
                    logits = network(image[None].to(device))[0].float().cpu()
                guess, truth = self._own(logits, index).argmax(0) > 0, classes > 0
                hits, total = (
                    hits + int((guess & truth).sum()),
                    total + int(guess.sum() + truth.sum()),
                )
            found.append(2 * hits / total if total else math.nan)
        return {"score": float(np.nanmean(found))}

    def _own(self, logits: Tensor, index: int) -> Tensor:
        """Return the logits of background and of a set's own classes."""
        start, end = self._ranges[index]
        return torch.cat([logits[:1], logits[start:end]])

    def _pooled(self, classes: Tensor, index: int) -> Tensor:
        start = self._ranges[index][0]
        return torch.where(classes > 0, classes.long() + start - 1, 0)


def _any(planes: list[Plane], generator: np.random.Generator) -> Plane:
    return planes[generator.integers(len(planes))]


def _crop(plane: Plane, generator: np.random.Generator, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Return a varied crop near a labelled pixel: image (3, Y, X), classes (Y, X)."""
    places = np.flatnonzero(plane.classes)
    width = plane.classes.shape[1]
    size = plane.classes.size
    any_place = int(generator.integers(size))
    place = int(generator.choice(places)) if len(places) and generator.random() < 0.7 else any_place
    image = (torch.from_numpy(plane.image).float() / 255 - MEAN) / STD
    truth = torch.from_numpy(plane.classes)[None].float()
    at = (place // width, place % width)
    image, truth = warp(image, truth, at, (side, side), generator)
    return image, truth[0].long()


def _disrupted(image: Tensor, generator: np.random.Generator) -> Tensor:
    """Return an image with noise, blurred, or at a lower resolution; a fifth stays as it is."""
    kind = generator.integers(5)
    if kind < 2:
        noise = torch.from_numpy(generator.normal(0, generator.uniform(0.1, 0.6), image.shape))
        return image + noise.float()
    if kind == 4:
        return image
    factor = int(generator.integers(2, 5))
    small = functional.avg_pool2d(image[None], factor)
    mode = "bilinear" if kind == 2 else "nearest"  # blurred, or coarse
    return functional.interpolate(small, image.shape[1:], mode=mode)[0]
