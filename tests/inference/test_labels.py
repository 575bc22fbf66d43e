import numpy as np
import pytest

from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.settings import LabelSettings

PLAIN = LabelSettings(fill_holes=False, split=False)


def disk(shape, center, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def two_classes(mask, dtype=np.float32):
    return np.stack([~mask, mask]).astype(dtype)


def objects(mask, **settings):
    return label_probabilities(two_classes(mask), LabelSettings(output="objects", **settings))


def test_two_classes_are_cut_at_the_threshold():
    foreground = np.array([[0.1, 0.3, 0.5, 0.7]])
    probabilities = np.stack([1 - foreground, foreground])

    at_half = label_probabilities(probabilities, PLAIN)
    lower = label_probabilities(probabilities, LabelSettings(threshold=0.25, fill_holes=False))

    assert at_half.tolist() == [[0, 0, 1, 1]]
    assert lower.tolist() == [[0, 1, 1, 1]]


def test_the_likeliest_foreground_class_wins_where_all_together_reach_the_threshold():
    probabilities = np.array([[0.4, 0.6], [0.35, 0.3], [0.25, 0.1]]).reshape(3, 1, 2)

    assert label_probabilities(probabilities, PLAIN).tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_of_the_probabilities_does_not_matter(dtype):
    foreground = np.linspace(0, 1, 65).reshape(5, 13)
    probabilities = np.stack([1 - foreground, foreground])

    got = label_probabilities(probabilities.astype(dtype), PLAIN)

    np.testing.assert_array_equal(got, foreground >= 0.5)


def test_class_labels_are_uint8_and_object_labels_int32():
    mask = disk((20, 30), (10, 10), 5)

    assert label_probabilities(two_classes(mask), PLAIN).dtype == np.uint8
    assert objects(mask).dtype == np.int32


@pytest.mark.parametrize("output", ["classes", "objects"])
def test_a_hole_is_filled_if_wished(output):
    mask = disk((30, 40), (15, 15), 9) & ~disk((30, 40), (15, 15), 3)

    kept = label_probabilities(
        two_classes(mask), LabelSettings(output, fill_holes=False, split=False)
    )
    filled = label_probabilities(
        two_classes(mask), LabelSettings(output, fill_holes=True, split=False)
    )

    np.testing.assert_array_equal(kept > 0, mask)
    np.testing.assert_array_equal(filled > 0, disk((30, 40), (15, 15), 9))


def test_a_hole_in_a_region_that_covers_the_whole_plane_is_filled():
    mask = np.ones((9, 11), dtype=bool)
    mask[4, 5] = False

    assert label_probabilities(two_classes(mask), LabelSettings(fill_holes=True)).all()


def test_background_open_to_the_border_is_not_filled():
    mask = np.ones((9, 11), dtype=bool)
    mask[4:, 5] = False

    np.testing.assert_array_equal(label_probabilities(two_classes(mask), LabelSettings()) > 0, mask)


def test_filling_holes_leaves_other_classes_alone():
    classes = np.zeros((21, 23), dtype=int)
    classes[3:18, 3:18] = 1
    classes[8:12, 8:12] = 2
    classes[5, 5] = 0
    probabilities = np.stack([classes == number for number in range(3)]).astype(np.float32)

    got = label_probabilities(probabilities, LabelSettings(fill_holes=True))

    want = classes.copy()
    want[5, 5] = 1
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("output", ["classes", "objects"])
def test_regions_smaller_than_the_smallest_object_are_dropped(output):
    mask = np.zeros((20, 30), dtype=bool)
    mask[2:4, 2:4] = True
    mask[10, 10:15] = True

    got = label_probabilities(
        two_classes(mask), LabelSettings(output, smallest_object=5, split=False)
    )

    assert (got > 0).sum() == 5
    assert got[10, 10] == 1


def test_touching_disks_are_split_where_they_meet():
    mask = disk((40, 60), (20, 20), 11) | disk((40, 60), (20, 39), 11)

    together, apart = objects(mask, split=False), objects(mask, split=True)

    assert together.max() == 1
    assert apart.max() == 2
    assert apart[20, 12] != apart[20, 48]
    np.testing.assert_array_equal(apart > 0, mask)


def test_a_large_split_distance_keeps_touching_disks_together():
    mask = disk((40, 60), (20, 20), 11) | disk((40, 60), (20, 39), 11)

    assert objects(mask, split_distance=30).max() == 1


def test_splitting_loses_no_pixel_of_a_random_mask():
    mask = np.random.default_rng(3).random((61, 67)) > 0.6

    np.testing.assert_array_equal(objects(mask, fill_holes=False) > 0, mask)


def test_a_small_object_beside_a_large_one_keeps_its_number():
    mask = disk((40, 60), (20, 20), 11)
    mask[20, 33:35] = True

    assert objects(mask, split_distance=20).max() == 2


def test_object_numbers_are_consecutive_in_reading_order():
    mask = np.zeros((30, 40), dtype=bool)
    for row, column in [(2, 30), (10, 3), (20, 20)]:
        mask[row : row + 4, column : column + 4] = True

    got = objects(mask)

    assert [got[3, 31], got[11, 4], got[21, 21]] == [1, 2, 3]


def test_object_numbers_are_unique_over_a_stack():
    mask = np.zeros((3, 30, 40), dtype=bool)
    mask[0, 2:6, 2:6] = mask[0, 12:16, 12:16] = mask[2, 2:6, 2:6] = True

    got = objects(mask)

    assert [got[0, 3, 3], got[0, 13, 13], got[2, 3, 3]] == [1, 2, 3]
    assert got.max() == 3


def test_planes_of_a_stack_are_labelled_one_by_one():
    rng = np.random.default_rng(0)
    foreground = rng.random((2, 3, 31, 37))
    probabilities = np.stack([1 - foreground, foreground])

    got = label_probabilities(probabilities, LabelSettings(smallest_object=4))

    for index in np.ndindex(2, 3):
        alone = label_probabilities(
            probabilities[(slice(None), *index)], LabelSettings(smallest_object=4)
        )
        np.testing.assert_array_equal(got[index], alone)


def test_touching_objects_of_two_classes_stay_apart():
    classes = np.zeros((20, 30), dtype=int)
    classes[5:15, 5:15] = 1
    classes[5:15, 15:25] = 2
    probabilities = np.stack([classes == number for number in range(3)]).astype(np.float32)

    got = label_probabilities(probabilities, LabelSettings("objects"))

    assert got.max() == 2
    assert got[10, 10] != got[10, 20]


def test_more_than_65536_objects_have_numbers_of_their_own():
    mask = np.zeros((602, 602), dtype=bool)
    mask[::2, ::2] = True

    assert objects(mask, split=False, fill_holes=False).max() == 301 * 301


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2)], ids=str)
@pytest.mark.parametrize("output", ["classes", "objects"])
def test_tiny_planes_can_be_labelled(shape, full, output):  # I02
    mask = np.full(shape, full)

    got = label_probabilities(two_classes(mask), LabelSettings(output))

    np.testing.assert_array_equal(got, mask.astype(int))


def test_probabilities_are_not_changed():
    probabilities = two_classes(disk((20, 30), (10, 10), 5))
    before = probabilities.copy()

    label_probabilities(probabilities, LabelSettings("objects", smallest_object=9))

    np.testing.assert_array_equal(probabilities, before)
