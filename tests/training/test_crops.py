from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_rwkv_seg.inference.normalize import normalize_plane
from napari_rwkv_seg.training import crops as crops_module
from napari_rwkv_seg.training.augment import warp
from napari_rwkv_seg.training.crops import CropSource
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.preparation import _crops, batch_pixels
from napari_rwkv_seg.training.run_settings import make_settings
from napari_rwkv_seg.training.sources import Sources, make_source, unpacked
from napari_rwkv_seg.training.split import Split, split_pairs
from napari_rwkv_seg.zoo.card import Normalization
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model

CARD = {"normalization": Normalization(), "input_channels": 3}
FIXED = {"normalization": Normalization(kind="fixed", scale=1, mean=[0], std=[1])}


def source(pairs, split=None, labels="objects", pixels=10_000, **facts) -> CropSource:
    none = tuple(np.zeros(pair.checked.shape, bool) for pair in pairs)
    split = split or Split(tuple(pair.checked for pair in pairs), none, "")
    return CropSource(pairs, split, labels=labels, pixels=pixels, **(CARD | facts))


@pytest.fixture
def plain(monkeypatch):
    """Leave intensities as they are, so that pixels can be told by their values."""
    monkeypatch.setattr("napari_rwkv_seg.training.crops.vary_intensity", lambda image, _: image)


def batches(crops, count=10):
    return [crops(np.random.default_rng(seed)) for seed in range(count)]


def test_a_batch_is_what_the_loop_takes(make_cells):
    for images, targets, weights in batches(source([make_cells()], pixels=120_000)):
        assert images.shape[1] == 3
        assert images.shape[0] * images[0, 0].numel() <= 120_000
        assert targets.shape == weights.shape == images[:, 0].shape
        assert (images.dtype, targets.dtype) == (torch.float32, torch.int64)
        assert weights.dtype == torch.float32
        assert images.isfinite().all()


def test_batches_are_of_several_sizes(make_cells):
    shapes = {b[0].shape for b in batches(source([make_cells((300, 400))], pixels=150_000))}
    assert len(shapes) > 3


def test_crops_are_not_longer_than_the_longest_image(make_cells):
    crops = source([make_cells((90, 200)), make_cells((30, 230))], pixels=200_000)
    assert max(max(b[0].shape[2:]) for b in batches(crops, 30)) == 256
    small = source([make_cells((30, 40), count=3)], pixels=40_000)
    assert {b[0].shape[2:] for b in batches(small)} == {(64, 64)}


def test_the_same_generator_gives_the_same_batch(make_cells):
    crops = source([make_cells()])
    for first, second in zip(batches(crops, 4), batches(crops, 4), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [(300, 280), (97, 131)])
def test_no_crop_shows_a_held_out_pixel(make_cells, shape, plain):
    """Held-out pixels are marked by a value that no other pixel and no mirroring can make."""
    pair = make_cells(shape, count=60)
    split = split_pairs([pair], "objects", 2, 64, seed=0)
    image = np.where(split.validation[0], 1000.0, 0.0)
    crops = source([replace(pair, image=image)], split, pixels=40_000, **FIXED)
    for images, _, weights in batches(crops, 30):
        assert images.max() == 0
        assert weights.max() > 0


def test_an_image_that_is_held_out_is_never_drawn(make_cells, plain):
    pairs = [replace(make_cells(seed=s), image=np.full((120, 160), 10.0 * s)) for s in range(4)]
    split = split_pairs(pairs, "objects", 2, 64, seed=0)
    (held,) = (index for index, mask in enumerate(split.validation) if mask.any())
    shown = {
        round(float(image.mean()))
        for images, _, _ in batches(source(pairs, split, **FIXED), 30)
        for image in images
    }
    assert shown == {10 * index for index in range(4)} - {10 * held}


def test_only_checked_pixels_have_weight(make_cells, plain):
    """The image says where it is checked, so that a turned crop can be compared."""
    checked = np.zeros((120, 160), bool)
    checked[30:80, 40:100] = True
    pair = replace(make_cells(), image=checked.astype(float), checked=checked)
    for images, _, weights in batches(source([pair], **FIXED), 20):
        assert (weights[images[:, 0] < 0.01] == 0).all()
        assert (weights[images[:, 0] > 0.99] > 0).all()


def test_the_image_is_normalised_as_for_prediction(make_cells):
    pair = make_cells()
    none = np.zeros(pair.checked.shape, bool)
    made = make_source(pair, pair.checked, none, Normalization(), 3, "objects")
    expected = normalize_plane(pair.image[..., None], Normalization(), 3)
    assert np.array_equal(made.image.expand(expected.shape).numpy(), expected)


def test_pixels_that_are_not_finite_have_no_weight():
    image = np.random.default_rng(0).random((40, 50))
    image[3:6, 7] = np.nan
    pair = TrainingPair("a", image, np.ones((40, 50), int), np.ones((40, 50), bool))
    none = np.zeros((40, 50), bool)
    made = make_source(pair, pair.checked, none, Normalization(), 1, "classes")
    assert (unpacked(made.truth)[1].numpy() == 0).sum() == 3
    assert made.image.isfinite().all()


def test_touching_objects_are_parted_and_far_numbers_are_no_harm():
    labels = np.zeros((20, 20), np.uint64)
    labels[5:15, 2:10] = 7
    labels[5:15, 10:18] = 2**63
    pair = TrainingPair("a", np.zeros((20, 20)), labels, np.ones((20, 20), bool))
    made = make_source(pair, pair.checked, labels == 99, Normalization(), 1, "objects")
    classes, weights = unpacked(made.truth)
    assert classes[10, 8:12].tolist() == [1, 0, 0, 1]
    assert weights[10, 8:12].tolist() == [1, 5, 5, 1]


def test_classes_are_not_parted():
    labels = np.ones((20, 20), np.uint8)
    labels[:, 10:] = 2
    pair = TrainingPair("a", np.zeros((20, 20)), labels, np.ones((20, 20), bool))
    made = make_source(pair, pair.checked, labels == 99, Normalization(), 1, "classes")
    assert np.array_equal(unpacked(made.truth)[0].numpy(), labels)


def test_a_rare_class_is_found(make_cells):
    labels = np.zeros((900, 900), np.uint8)
    labels[400:406, 500:506] = 1
    pair = TrainingPair("a", np.zeros((900, 900)), labels, np.ones((900, 900), bool))
    found = [
        bool((target == 1).any())
        for _, targets, _ in batches(source([pair], labels="classes", pixels=20_000), 60)
        for target in targets
    ]
    assert np.mean(found) > 0.35


def test_image_and_truth_are_turned_alike(make_cells):
    square = torch.zeros(1, 150, 150)
    square[:, 40:110, 30:120] = 1
    for seed in range(10):
        generator = np.random.default_rng(seed)
        image, truth = warp(square, square, (70, 80), (96, 128), generator)
        assert image.shape == truth.shape == (1, 96, 128)
        assert ((image > 0.5) == (truth > 0.5)).float().mean() > 0.99


def corner_seen(turns):
    """Return in which quarters of 40 crops the mark in an image's top left corner is."""
    marked = torch.zeros(1, 96, 96)
    marked[:, :24, :24] = 1
    found = set()
    for seed in range(40):
        generator = np.random.default_rng(seed)
        image, _ = warp(marked, marked, (48, 48), (96, 96), generator, turns=turns)
        rows, columns = np.nonzero(image[0].numpy() > 0.9)
        if len(rows):
            found.add((bool(rows.mean() > 48), bool(columns.mean() > 48)))
    return found


def test_what_keeps_its_orientation_is_neither_turned_nor_mirrored():
    assert corner_seen(turns=True) == {(a, b) for a in (False, True) for b in (False, True)}
    assert corner_seen(turns=False) == {(False, False)}


def test_what_keeps_its_orientation_is_not_learnt_from_as_mirrored_beyond_the_border():
    """The truth counts rows and columns; 0 is no place of the image, as its weight would be."""
    places = torch.stack(torch.meshgrid(*2 * [torch.arange(1.0, 97.0)], indexing="ij"))
    for seed in range(40):
        generator = np.random.default_rng(seed)
        image, truth = warp(places, places, (48, 48), (160, 160), generator, turns=False)
        assert image.min() >= 1
        assert truth.max() == 96
        for axis in (0, 1):
            lines = truth[axis].numpy() if axis else truth[axis].numpy().T
            for line in lines:
                assert (np.diff(line[line > 0]) >= 0).all()


def test_what_may_be_turned_is_learnt_from_up_to_the_edges_of_a_crop():
    for seed in range(10):
        whole = torch.ones(1, 64, 64)
        _, truth = warp(whole, whole, (32, 32), (160, 160), np.random.default_rng(seed))
        assert truth.all()


def test_the_crops_of_a_run_are_turned_unless_its_card_says_otherwise(make_cells, monkeypatch):
    told = []

    def spy(*arguments, turns):
        told.append(turns)
        return warp(*arguments, turns=turns)

    monkeypatch.setattr(crops_module, "warp", spy)
    for orientation, turns in (("any", True), ("fixed", False)):
        card = find_model(DEFAULT_MODEL).card.model_copy(update={"orientation": orientation})
        pairs = [make_cells()]
        none = tuple(np.zeros(pair.checked.shape, bool) for pair in pairs)
        split = Split(tuple(pair.checked for pair in pairs), none, "")
        _crops(pairs, split, card, make_settings(name="a"), 150_000)(np.random.default_rng(0))
        assert set(told) == {turns}
        told.clear()


def test_a_network_that_sees_images_enlarged_gets_fewer_pixels_a_batch():
    card = find_model(DEFAULT_MODEL).card
    zoomed = card.model_copy(update={"config": {**card.config, "zoom": 3}})
    assert batch_pixels(zoomed, "cpu") == batch_pixels(card, "cpu") // 9
    assert batch_pixels(card, "cpu") < batch_pixels(card, "cuda")


def test_batches_shrink_until_they_cannot(make_cells):
    crops = source([make_cells()], pixels=40_000)
    said = []
    while sentence := crops.shrink():
        said.append(sentence)
        assert crops(np.random.default_rng(0))[0][:, 0].numel() <= crops.pixels
    assert len(said) == 3
    assert "20000" in said[0]


def test_sources_that_do_not_fit_into_memory_are_made_anew(make_cells):
    pairs = [make_cells(seed=seed) for seed in range(3)]
    none = tuple(np.zeros(pair.checked.shape, bool) for pair in pairs)
    split = Split(tuple(pair.checked for pair in pairs), none, "")
    sources = Sources(pairs, split, Normalization(), 3, "objects")
    first = sources[0]
    assert sources[0] is first
    sources._memory = 2 * first.nbytes
    assert sources[1] is not sources[2]
    again = sources[0]
    assert again is not first
    assert torch.equal(again.image, first.image)


def test_an_image_without_a_finite_pixel_is_no_harm(make_cells):
    pair = make_cells()
    blank = replace(pair, image=np.full(pair.checked.shape, np.nan))
    for images, _, weights in batches(source([pair, blank]), 10):
        assert images.isfinite().all()
        assert weights.isfinite().all()
