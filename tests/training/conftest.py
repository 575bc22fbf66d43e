"""Small pictures with cells for the tests of fine-tuning."""

import numpy as np
import pytest

from napari_rwkv_seg.training.pairs import TrainingPair


def cells(shape=(120, 160), count=12, seed=0, name="cells.png", group="") -> TrainingPair:
    """Return bright discs on a dark ground, numbered; all of it checked."""
    generator = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        row, column = generator.integers(0, shape)
        labels[(rows - row) ** 2 + (columns - column) ** 2 < 49] = number
    image = np.where(labels > 0, 180, 40) + generator.integers(0, 30, shape)
    return TrainingPair(name, image.astype(np.uint8), labels, np.ones(shape, bool), group)


@pytest.fixture
def make_cells():
    """The function above."""
    return cells
