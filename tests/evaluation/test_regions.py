import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.errors import CancelledError
from napari_rwkv_seg.evaluation.regions import predict_classes
from napari_rwkv_seg.inference import Model
from napari_rwkv_seg.inference.segment import segment
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard, Normalization, ObjectDefaults

NAMES = ["background", "dim", "bright"]


class Bands(nn.Module):
    """Class 0, 1 or 2 where the pixel is near 0, 1 or 2."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return -30 * torch.cat([(image - number).abs() for number in range(3)], 1)


@pytest.fixture
def model(tmp_path) -> Model:
    card = ModelCard(
        name="bands", title="", purpose="", architecture="none", variant="", input_channels=1,
        normalization=Normalization(kind="fixed", scale=1, mean=[0], std=[1]), tile_size=64,
        classes=[ClassCard(name=name, color="#000000") for name in NAMES],
        objects=ObjectDefaults(fill_holes=False), license="", training_data="",
    )  # fmt: skip
    return Model(card, Bands(), "cpu", tmp_path)


def test_the_labels_are_those_that_a_user_gets(model):
    image = np.random.default_rng(0).uniform(0, 2, (97, 131))
    assert np.array_equal(predict_classes(model, image), segment(image, model).labels)


def test_it_stops_between_two_tiles(model):
    asked: list[bool] = []

    def should_stop() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    image = np.ones((200, 200))
    with pytest.raises(CancelledError):
        predict_classes(model, image, should_stop)
    assert len(asked) == 3
