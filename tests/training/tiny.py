"""A network that trains in milliseconds, and runs of it, in this process and in others.

Run as a script with the arguments of `python -m napari_rwkv_seg.training`, it is
that command, but the zoo builds the tiny network.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from napari_rwkv_seg import networks
from napari_rwkv_seg.training import preparation
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.run_folder import RunFolder, prepare_run
from napari_rwkv_seg.training.run_settings import RunSettings
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard
from napari_rwkv_seg.zoo.store import write_model


class MedURWKV(nn.Module):
    """Has the name and the parts of the real one, and convolutions of 8 channels."""

    def __init__(self, channels: int = 3, classes: int = 2, least_side: int = 1) -> None:
        super().__init__()
        self.view = networks.View(least_side=least_side)
        self.encoder = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.stages = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)])
        self.head = nn.Conv2d(8, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.view.show(self.logits, images, in_training=self.training)

    def logits(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.encoder(images))
        for stage in self.stages:
            maps = torch.relu(stage(maps))
        return self.head(maps)


def build_tiny(
    architecture: str,
    variant: str,
    *,
    in_channels: int = 3,
    classes: int = 2,
    least_side: int = 1,
    **_: object,
) -> MedURWKV:
    """Stand in for `networks.build_network`."""
    return MedURWKV(in_channels, classes, least_side)


def write_base(folder: Path, *names: str) -> Path:
    """Write a model of the tiny network with these foreground classes."""
    torch.manual_seed(0)
    names = ("background", *(names or ("cell",)))
    card = ModelCard(
        name=folder.name,
        title="Tiny",
        purpose="Tests",
        architecture="med_urwkv",
        variant="T",
        classes=[ClassCard(name=name, color="#102030") for name in names],
        tile_size=64,
        license="CC0-1.0",
        training_data="none",
    )
    write_model(folder, MedURWKV(3, len(names)), card, "For tests.")
    return folder


def bright_pairs(count: int = 3, classes: int = 1, size: int = 96) -> list[TrainingPair]:
    """Return noise with bright squares; the brighter, the higher the class."""
    generator = np.random.default_rng(42)
    pairs = []
    for number in range(count):
        labels = np.zeros((size, size), np.int32)
        for place in range(4):
            row, column = generator.integers(0, size - 24, 2)
            labels[row : row + 20, column : column + 20] = 1 + place % classes
        image = generator.normal(20, 4, labels.shape) + 80 * labels
        pair = TrainingPair(f"image {number}", image.astype(np.float32), labels, labels >= 0)
        pairs.append(pair)
    return pairs


def tiny_run(folder: Path, pairs: list[TrainingPair] | None = None, **choices: object) -> RunFolder:
    """Make a run of the tiny network in `folder`/run, from a model in `folder`/base."""
    base = folder / "base"
    if not base.exists():
        write_base(base)
    choices = {"name": "new", "model": str(base), "depth": "everything", **choices}
    return prepare_run(folder / "run", RunSettings(**choices), pairs or bright_pairs())


def small_steps(set_value: Callable[[object, str, object], None] = setattr) -> None:
    """Let the zoo build the tiny network, which learns from small crops at a high rate."""
    set_value(networks, "build_network", build_tiny)
    set_value(preparation, "CPU_PIXELS", 8192)
    set_value(preparation, "LEARNING_RATE", 0.02)


if __name__ == "__main__":
    small_steps()
    from napari_rwkv_seg.training.process import main

    sys.exit(main(sys.argv[1:]))
