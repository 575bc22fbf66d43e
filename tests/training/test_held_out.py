"""What of the held-out images is segmented, and what that costs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.evaluation.regions import predict_classes
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.training.held_out import HeldOut
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.split import Split
from napari_rwkv_seg.training.surroundings import part_to_see, predict_part
from napari_rwkv_seg.training.timetable import corrected_in_time, timetable
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard, Normalization, ObjectDefaults


class BrighterThanItsTile(nn.Module):
    """Foreground is what is brighter than the mean of the tile and than a value; counts tiles."""

    tiles = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.tiles += 1
        grey = image.mean(1, keepdim=True)
        return 50 * torch.cat([torch.maximum(grey.mean(), torch.tensor(-0.7)) - grey, grey], 1)


@pytest.fixture(params=[1, 3])
def model(tmp_path, request) -> Model:
    card = ModelCard(
        name="tiles", title="", purpose="", architecture="none", variant="", tile_size=64,
        normalization=Normalization(low=0, high=100), input_channels=request.param,
        classes=[ClassCard(name=name, color="#000000") for name in ("background", "cell")],
        objects=ObjectDefaults(fill_holes=False), license="", training_data="",
    )  # fmt: skip
    return Model(card, BrighterThanItsTile(), "cpu", tmp_path)


def noise(shape=(200, 330)) -> np.ndarray:
    """Return noise with a bright corner, which all of the image is scaled by."""
    image = np.random.default_rng(0).integers(100, 140, shape).astype(np.float32)
    image[-20:, -20:] = 180
    return image


def region_at(rows: slice, columns: slice, shape=(200, 330)) -> np.ndarray:
    region = np.zeros(shape, bool)
    region[rows, columns] = True
    return region


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(0, 30), slice(0, 20)),
        (slice(100, 110), slice(30, 60)),
        (slice(97, 99), slice(200, 290)),
        (slice(190, 200), slice(300, 330)),
    ],
)
def test_a_region_of_a_large_image_gets_the_labels_that_it_has_in_all_of_it(model, rows, columns):
    image, region = noise(), region_at(rows, columns)
    whole = predict_classes(model, image)
    tiles, model.network.tiles = model.network.tiles, 0
    labels = predict_part(model, image, part_to_see(region, 64))
    assert np.array_equal(labels[region], whole[region])
    assert 0 < labels[region].mean() < 1
    assert model.network.tiles < tiles / 3


def test_bad_pixels_all_over_a_region_are_background_there(model):
    image = noise()
    image[:64, :64] = np.nan
    region = region_at(slice(0, 20), slice(0, 20))
    assert not predict_part(model, image, (slice(0, 64), slice(0, 64))).any()
    assert model.network.tiles == 0
    assert np.array_equal(
        predict_part(model, image, (slice(0, 96), slice(0, 96)))[region],
        predict_classes(model, image)[region],
    )
    with pytest.raises(ImageError, match="no finite pixel"):
        predict_part(model, np.full_like(image, np.nan), part_to_see(region, 64))


def some_held_out(shapes: list[tuple[int, int]], held: slice = slice(None)) -> HeldOut:
    """Return images of these shapes of which columns are held out, in tiles of 64 pixels."""
    pairs = [
        TrainingPair("", np.zeros(shape), np.ones(shape, np.uint8), np.ones(shape, bool))
        for shape in shapes
    ]
    regions = tuple(region_at(slice(None), held, shape) for shape in shapes)
    return HeldOut(pairs, Split(regions, regions, ""), "classes", ["background", "cell"], 42, 64)


def scored(held_out: HeldOut, seconds: float, total: float | None) -> HeldOut:
    """Make it as it is when the base took these seconds for all images, of a run this long."""
    held_out.base = {index: held_out.truths[index] for index in held_out.order}
    held_out._count_quick(seconds, total)
    return held_out


def test_weights_are_compared_on_four_images_if_the_base_was_scored_on_them():
    few, slow, fast = (scored(some_held_out([(8, 8)] * n), n * s, 300)
                       for n, s in [(3, 2), (8, 3), (8, 0.1)])  # fmt: skip
    assert [len(each.quick) for each in (few, slow, fast)] == [3, 2, 8]
    assert [len(each.compared) for each in (few, slow, fast)] == [3, 4, 8]


def test_what_was_corrected_costs_more_than_the_part_of_it_that_is_held_out():
    held_out = scored(some_held_out([(64, 512)] * 3, slice(0, 20)), 3, 300)
    corrected = some_held_out([(64, 512)] * 3)
    assert held_out.pixels([0]) == 64 * 64
    assert corrected.pixels([0, 1]) == 2 * 64 * 512
    assert corrected_in_time(None, held_out, corrected) == (corrected.order, pytest.approx(24))
    some, seconds = corrected_in_time(200, held_out, corrected)  # two would take 8 % of 200 s
    assert (len(some), seconds) == (2, pytest.approx(16))
    assert corrected_in_time(1, held_out, corrected)[1] == pytest.approx(8)  # one at least


def test_there_is_time_to_learn_however_long_scores_take():
    slow = scored(some_held_out([(8, 8)]), 68, 30)
    budget, every, after = timetable(30, slow, 0.0)
    assert after > 2 * 68
    assert budget.end(begun=70) == pytest.approx(77.5)
    assert budget.done(0, seconds=70, begun=70) == 0
    assert budget.done(0, seconds=77.6, begun=70) == 1
    assert budget.left(72, begun=70) == pytest.approx(5.5)
    assert 0 < every < math.inf
    fast = scored(some_held_out([(8, 8)]), 1, 300)
    assert timetable(300, fast, 10.0)[0].end(begun=5) == pytest.approx(300 - 1 - 1.1 - 2 - 10)


def test_dice_is_pooled_over_what_is_held_out_of_all_images_and_over_classes_of_the_truth():
    names = ["background", "dim", "bright", "nowhere"]
    truths = [np.array([[1, 1, 0, 2]], np.uint8), np.array([[1, 0, 0, 2]], np.uint8)]
    pairs = [TrainingPair("", np.zeros((1, 4)), each, np.ones((1, 4), bool)) for each in truths]
    regions = (np.array([[True] * 4]), np.array([[True, True, False, True]]))
    held_out = HeldOut(pairs, Split(regions, regions, ""), "classes", names, 42, 64)
    maps = {0: np.array([[1, 0, 0, 2]], np.uint8), 1: np.array([[1, 1, 3, 2]], np.uint8)}
    mean, dice_of = held_out.scores(maps)
    assert dice_of == {"dim": pytest.approx(2 * 2 / (3 + 3)), "bright": 1.0}
    assert mean == pytest.approx((4 / 6 + 1) / 2)
