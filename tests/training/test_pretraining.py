"""What encoders are pretrained to do: the images that are read, batches, losses and scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def planes():
    """Two sets: one class, and two classes."""
    from pretraining.pool import Plane

    image = np.random.default_rng(1).integers(0, 255, (3, 70, 81), dtype=np.uint8)
    one, two = np.zeros((2, 70, 81), np.uint8)
    one[10:40, 10:40] = 1
    two[10:30, 10:30], two[35:60, 30:70] = 1, 2
    return [[Plane("one", image, one)], [Plane("two", image, two)]]


class Constant(nn.Module):
    """Answers the same logits everywhere."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits[None, :, None, None].expand(len(image), -1, *image.shape[-2:])


def test_the_test_split_is_not_read(tmp_path):
    from pretraining.pool import read_pool

    with pytest.raises(ValueError, match="not 'test'"):
        read_pool(tmp_path, "test", ["glas"])


def test_a_binary_mask_of_255_becomes_one_class(tmp_path):
    from pretraining.pool import read_pool

    folder = tmp_path / "busi"
    folder.mkdir()
    mask = np.zeros((40, 50), np.uint8)
    mask[5:20, 5:20] = 255
    Image.fromarray(mask // 2 + 20).save(folder / "a.png")
    Image.fromarray(mask).save(folder / "a_mask.png")
    (folder / "split.csv").write_text("file,mask,split\na.png,a_mask.png,train\n")

    (plane,) = read_pool(tmp_path, "train", ["busi"])["busi"]

    assert plane.image.shape == (3, 40, 50)
    assert plane.classes.sum() == 15 * 15


def test_restoring_asks_for_the_image_behind_the_mask(planes):
    from pretraining.tasks import REST, SIDE, Restoring

    task = Restoring(planes, planes, count=2)
    spoilt, image, weight = task.batch(np.random.default_rng(3))
    hidden = weight == 1

    assert spoilt.shape == image.shape == (2, 3, SIDE, SIDE)
    assert 0.2 < hidden.float().mean() < 0.8
    assert weight.unique().tolist() == pytest.approx([REST, 1.0])
    assert (spoilt.movedim(1, -1)[hidden] == 0).all()
    assert task.loss(image, image, weight) == 0
    assert task.loss(spoilt, image, weight) > 0.1
    assert task.score(Constant(0.0, 0.0, 0.0))["score"] < 0


def test_telling_asks_a_crop_only_for_the_classes_of_its_set(planes):
    from pretraining.tasks import Telling

    task = Telling(planes, planes, [1, 2], count=6)
    _, target, weight = task.batch(np.random.default_rng(3))
    logits = torch.zeros(6, task.outputs, *target.shape[1:])
    before = task.loss(logits, target, weight)
    first = [place for place, index in enumerate(task._drawn) if index == 0]
    other = [place for place, index in enumerate(task._drawn) if index == 1]
    logits[first, 2:] = 9.0  # classes that the first set does not have
    unchanged = task.loss(logits, target, weight)
    logits[other, 2:] = 9.0
    changed = task.loss(logits, target, weight)

    assert first
    assert other
    assert task.outputs == 4
    assert set(target[first].unique().tolist()) <= {0, 1}
    assert set(target[other].unique().tolist()) <= {0, 2, 3}
    assert torch.equal(before, unchanged)
    assert not torch.equal(before, changed)


def test_a_network_that_finds_nothing_scores_nothing(planes):
    from pretraining.tasks import Telling

    task = Telling(planes, planes, [1, 2], count=1)

    assert task.score(Constant(5.0, 0.0, 0.0, 0.0))["score"] == 0
    assert 0 < task.score(Constant(0.0, 5.0, 5.0, 0.0))["score"] < 1


def test_sets_of_one_class_share_it_in_crops_of_several_sizes(planes):
    from pretraining.tasks import SIDES, Telling

    task = Telling([planes[0]] * 2, [planes[0]] * 2, [1, 1], count=3, is_one_class=True)
    shapes = set()
    for seed in range(12):
        images, target, _ = task.batch(np.random.default_rng(seed))
        shapes.add(tuple(images.shape[-2:]))
        assert set(target.unique().tolist()) <= {0, 1}

    assert task.outputs == 2
    assert shapes == {(side, side) for side in SIDES}
    assert task.score(Constant(0.0, 5.0))["score"] > 0


def test_made_images_follow_from_their_seed_and_show_their_objects():
    from pretraining.synthetic import SIDE, made_planes

    planes = made_planes(8, 3)
    again, other = made_planes(8, 3), made_planes(8, 4)

    assert all(np.array_equal(a.image, b.image) for a, b in zip(planes, again, strict=True))
    assert not any(np.array_equal(a.image, b.image) for a, b in zip(planes, other, strict=True))
    for plane in planes:
        assert plane.image.shape == (3, SIDE, SIDE)
        assert plane.image.max() - plane.image.min() > 200
        assert set(np.unique(plane.classes)) == {0, 1}
        assert 0.005 < plane.classes.mean() < 0.8


def test_made_images_can_be_looked_at():
    from pretraining.synthetic import SIDE, made_planes, sheet

    assert sheet(made_planes(4, 3), columns=2).shape == (2 * SIDE, 2 * SIDE, 3)
