import json
from dataclasses import replace

import numpy as np
import pytest

from napari_rwkv_seg.errors import TrainingDataError
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.split import Split, split_pairs


def one_cell(shape=(256, 256), rows=slice(20, 35), columns=slice(40, 55)) -> TrainingPair:
    labels = np.zeros(shape, np.uint8)
    labels[rows, columns] = 1
    return TrainingPair("one.png", labels * 90, labels, np.ones(shape, bool))


def held(split: Split) -> list[int]:
    return [index for index, mask in enumerate(split.validation) if mask.any()]


def test_of_five_images_one_is_held_out_whole(make_cells):
    pairs = [make_cells(seed=seed, name=f"img_{seed}.png") for seed in range(5)]
    split = split_pairs(pairs, "objects", 2, 64, seed=42)
    (index,) = held(split)
    assert split.validation[index].all()
    assert [mask.all() for mask in split.train] == [place != index for place in range(5)]
    assert split.sentence == (
        f"4 images are learnt from, 1 (img_{index}.png) is held out to check the result."
    )


def test_the_same_seed_splits_alike(make_cells):
    pairs = [make_cells(seed=seed) for seed in range(12)]
    first, second = (split_pairs(pairs, "objects", 2, 64, seed=7) for _ in range(2))
    assert held(first) == held(second)
    assert len(held(first)) == 2


def test_pairs_of_one_group_stay_together(make_cells):
    pairs = [make_cells(seed=seed, group="ab"[seed % 2]) for seed in range(6)]
    assert held(split_pairs(pairs, "objects", 2, 64, seed=0)) in ([0, 2, 4], [1, 3, 5])


def test_one_image_under_two_names_is_not_both_learnt_from_and_held_out(make_cells):
    image = make_cells().image.astype(float)
    image[3, 3] = np.nan
    pairs = [make_cells(seed=seed) for seed in (0, 0, 1, 1)]
    pairs[:2] = [replace(pair, image=image.copy()) for pair in pairs[:2]]
    assert held(split_pairs(pairs, "objects", 2, 64, seed=0)) in ([0, 1], [2, 3])


def test_frames_of_one_series_are_cut_at_one_place(make_cells):
    pairs = [make_cells(seed=seed, group="movie") for seed in range(3)]
    split = split_pairs(pairs, "objects", 2, 64, seed=0)
    assert held(split) == [0, 1, 2]
    assert all(np.array_equal(mask, split.validation[0]) for mask in split.validation)
    assert "each of the 3 images" in split.sentence


@pytest.mark.parametrize("shape", [(256, 256), (120, 700), (1100, 900), (97, 131), (64, 64)])
def test_one_image_is_parted_with_a_band_between(make_cells, shape):
    pair = make_cells(shape, count=60)
    split = split_pairs([pair], "objects", 2, 128, seed=0)
    (train,), (validation,) = split.train, split.validation
    for part in (train, validation):
        assert (pair.labels[part] > 0).any()
        assert (pair.labels[part] == 0).any()
    axis = 1 if {"left", "right"} & set(split.sentence.split()) else 0
    used = (train | validation).any(1 - axis)
    gap = int((~used).sum())
    assert not (train & validation).any()
    assert gap == max(8, min(128, shape[axis] // 4))
    assert f"a band of {gap} pixels between is used by neither" in split.sentence
    assert train.mean() > 0.3


def test_a_class_that_can_be_in_both_parts_is_in_both():
    labels = np.zeros((200, 200), np.uint8)
    labels[20:180:20] = 1
    labels[10:60, 10:60] = 2
    labels[10:60, 150:190] = 2
    pair = TrainingPair("a", np.zeros((200, 200)), labels, np.ones((200, 200), bool))
    split = split_pairs([pair], "classes", 3, 64, seed=0)
    for masks in (split.train, split.validation):
        assert set(np.unique(labels[masks[0]])) == {0, 1, 2}


def test_images_are_chosen_so_that_every_class_is_in_both_parts():
    pairs = []
    for number in range(6):
        labels = np.zeros((40, 40), np.uint8)
        labels[5:15, 5:15] = 1
        labels[20:30, 20:30] = 2 if number in (1, 4) else 1
        image = labels + np.uint8(number)
        pairs.append(TrainingPair(str(number), image, labels, np.ones((40, 40), bool)))
    for seed in range(5):
        assert held(split_pairs(pairs, "classes", 3, 64, seed))[0] in (1, 4)


def test_a_class_that_only_one_image_has_is_learnt_rather_than_checked():
    pairs = []
    for number in range(4):
        labels = np.zeros((40, 40), np.uint8)
        labels[5:15, 5:15] = 1
        labels[20:30, 20:30] = 2 if number == 2 else 1
        image = labels + np.uint8(number)
        pairs.append(TrainingPair(str(number), image, labels, np.ones((40, 40), bool)))
    for some in (pairs, pairs[1:3]):
        split = split_pairs(some, "classes", 3, 64, seed=0)
        assert (
            np.concatenate([pair.labels for pair in some])[np.concatenate(split.train)] == 2
        ).any()


def test_only_checked_pixels_are_in_either_part(make_cells):
    pair = make_cells((300, 400), count=80)
    checked = np.zeros((300, 400), bool)
    checked[100:220, 150:330] = True
    split = split_pairs([replace(pair, checked=checked)], "objects", 2, 64, seed=0)
    (train,), (validation,) = split.train, split.validation
    assert (train | validation)[~checked].sum() == 0
    assert train.any()
    assert validation.any()


def test_images_without_labels_do_not_count_as_images_to_hold_out(make_cells):
    empty = replace(make_cells(), labels=np.zeros((120, 160), np.int32), name="empty")
    split = split_pairs([make_cells(count=40), empty], "objects", 2, 32, seed=0)
    assert "each of the 2 images" in split.sentence


@pytest.mark.parametrize("group", ["", "volume"])
def test_what_is_there_twice_is_cut_at_one_place_though_another_image_has_another_shape(group):
    """Two boxes of one image, or of two planes that show the same things, and an empty image."""
    shape = (200, 400)
    labels = np.zeros(shape, np.uint8)
    labels[20:180:20, 10:390:9] = 1
    image = labels * 50.0
    boxes = []
    for number, columns in enumerate((slice(0, 300), slice(100, 400))):
        checked = np.zeros(shape, bool)
        checked[:, columns] = True
        pixels = image + number if group else image
        boxes.append(TrainingPair(f"box {number}", pixels, labels, checked, group))
    nothing = np.zeros((60, 60), np.uint8)
    empty = TrainingPair("empty", nothing + 1.0, nothing, np.ones((60, 60), bool))
    split = split_pairs([*boxes, empty], "classes", 2, 64, seed=0)
    learnt, held_out = (part[0] | part[1] for part in (split.train, split.validation))
    assert learnt.any()
    assert held_out.any()
    assert not (learnt & held_out).any()


def test_one_painted_cell_is_not_enough_and_the_reason_is_said():
    with pytest.raises(TrainingDataError, match="Only one object is labelled"):
        split_pairs([one_cell()], "objects", 2, 128, seed=0)
    with pytest.raises(TrainingDataError, match="too close together"):
        split_pairs([one_cell()], "classes", 2, 128, seed=0)


def test_one_large_object_is_parted():
    pair = one_cell(rows=slice(40, 220), columns=slice(30, 230))
    split = split_pairs([pair], "objects", 2, 128, seed=0)
    assert pair.labels[split.train[0]].any()
    assert pair.labels[split.validation[0]].any()


def test_a_cell_in_each_of_two_images_is_enough(make_cells):
    pairs = [one_cell(), one_cell(rows=slice(100, 120))]
    split = split_pairs(pairs, "objects", 2, 128, seed=0)
    found = [
        sum(bool((pair.labels[mask] > 0).any()) for pair, mask in zip(pairs, part, strict=True))
        for part in (split.train, split.validation)
    ]
    assert found == [1, 1]


def test_of_two_images_a_side_of_each_is_held_out(make_cells):
    pairs = [make_cells(count=20), make_cells(count=30, seed=1)]
    split = split_pairs(pairs, "objects", 2, 128, seed=0)
    assert held(split) == [0, 1]
    assert all(mask.any() for mask in split.train)


def test_of_two_images_labelled_in_one_place_the_one_with_more_is_learnt_from():
    pairs = [one_cell(), one_cell(rows=slice(20, 60))]
    assert held(split_pairs(pairs, "objects", 2, 128, seed=0)) == [0]
    assert held(split_pairs(pairs[::-1], "objects", 2, 128, seed=0)) == [1]


def test_a_split_survives_json(make_cells):
    pair = make_cells(count=40)
    ragged = np.random.default_rng(0).random((120, 160)) < 0.7
    ragged[0, 0] = True
    split = split_pairs([replace(pair, checked=ragged)], "objects", 2, 32, seed=0)
    again = Split.from_plain(json.loads(json.dumps(split.to_plain())))
    assert again.sentence == split.sentence
    assert np.array_equal(again.train[0], split.train[0])
    assert np.array_equal(again.validation[0], split.validation[0])


def test_one_image_under_two_names_is_never_both_learnt_from_and_held_out(make_cells):
    pairs = [make_cells(seed=seed, name=f"{seed}") for seed in range(3)]
    pairs += [replace(pair, name=f"copy of {pair.name}", group=pair.name) for pair in pairs]
    for seed in range(5):
        found = held(split_pairs(pairs, "objects", 2, 64, seed=seed))
        assert {index % 3 for index in found} & {i % 3 for i in range(6) if i not in found} == set()
        assert found
