"""Networks whose answer is known, so that inference can be tested without a trained model."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.inference.predictor import Prediction, predict_steps
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard, Normalization

MakeModel = Callable[..., Model]


class PixelNetwork(nn.Module):
    """Says class 1 where the first channel exceeds 0.5; notes the sizes it is given."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.classes = classes
        self.sizes: list[tuple[int, int]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append((images.shape[-2], images.shape[-1]))
        bright = images[:, :1] - 0.5
        others = [bright * (0.5 - number) for number in range(2, self.classes)]
        return torch.cat([-bright, bright, *others], dim=1)


class GreedyNetwork(PixelNetwork):
    """Runs out of memory on tiles with a side above `limit`."""

    def __init__(self, limit: int, error: type[Exception], text: str) -> None:
        super().__init__()
        self.limit, self.error, self.text = limit, error, text

    def forward(self, images: Tensor) -> Tensor:
        if max(images.shape[-2:]) > self.limit:
            raise self.error(self.text)
        return super().forward(images)


class WholeTileNetwork(nn.Module):
    """Answers from the pixel and, slightly, from the mean of the tile, as a global state does."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images[:, :1] + 0.2 * images[:, :1].mean((-2, -1), keepdim=True)
        return torch.cat([-bright, bright], dim=1)


@pytest.fixture
def make_card() -> Callable[..., ModelCard]:
    """Return a maker of cards with as many classes, channels and as large tiles as told."""

    def make(
        classes: int = 2, channels: int = 3, tile_size: int = 512, **more: object
    ) -> ModelCard:
        return ModelCard(
            name="fake",
            title="Fake",
            purpose="Tests",
            architecture="med_urwkv",
            variant="T",
            input_channels=channels,
            tile_size=tile_size,
            classes=[ClassCard(name=f"class {n}", color="#102030") for n in range(classes)],
            license="CC0-1.0",
            training_data="none",
            weights_sha256="0" * 64,
            **more,
        )

    return make


@pytest.fixture
def make_model(make_card: Callable[..., ModelCard]) -> MakeModel:
    """Return a maker of models round a given network; pixels from 0 to 1 reach it as they are."""

    def make(
        network: nn.Module, classes: int = 2, channels: int = 3, tile_size: int = 512
    ) -> Model:
        plain = Normalization(kind="fixed", scale=1.0, mean=[0.0], std=[1.0])
        card = make_card(classes, channels, tile_size, normalization=plain)
        return Model(card=card, network=network, device="cpu", folder=Path("fake"))

    return make


@pytest.fixture
def pixel_model(make_model: MakeModel) -> Model:
    """Return a model that looks at one pixel only."""
    return make_model(PixelNetwork())


@pytest.fixture
def pixel_network() -> type[PixelNetwork]:
    """Return the class of networks that look at one pixel only."""
    return PixelNetwork


@pytest.fixture
def greedy_network() -> type[GreedyNetwork]:
    """Return the class of networks that run out of memory."""
    return GreedyNetwork


@pytest.fixture
def whole_tile_network() -> type[WholeTileNetwork]:
    """Return the class of networks that look at the whole tile."""
    return WholeTileNetwork


@pytest.fixture
def drain() -> Callable[[Generator[Any, None, Any]], tuple[list[Any], Any]]:
    """Return what drives a generator to its end and returns what it yielded and returned."""

    def drive(steps: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
        news = []
        while True:
            try:
                news.append(next(steps))
            except StopIteration as end:
                return news, end.value

    return drive


@pytest.fixture
def predict(drain: Callable[..., tuple[list[Any], Any]]) -> Callable[..., Prediction]:
    """Return what runs a model over an image to the end."""
    return lambda image, model, **options: drain(predict_steps(image, model, **options))[1]
