import numpy as np
import pytest

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.inference.linking import link_labels
from napari_rwkv_seg.inference.settings import LabelSettings


def planes(*rows):
    """Return labels (N, 1, X) from strings of digits."""
    return np.array([[list(map(int, row))] for row in rows], dtype=np.int32)


def linked(labels, axes="ZYX", along="Z", overlap=0.3):
    return link_labels(labels, axes, along, overlap)


def test_objects_that_overlap_from_plane_to_plane_get_one_number():
    got = linked(planes("1110220", "0330440", "5550000"))

    np.testing.assert_array_equal(got, planes("1110220", "0110220", "1110000"))


def test_each_object_has_one_partner_and_the_sum_of_overlaps_is_largest():
    # 3 overlaps 1 by 3/7 and 2 by 3/6; 4 overlaps 2 only: both pairs together win
    got = linked(planes("1111222200", "0333333440"), overlap=0.1)

    assert got[1, 0, 1] == got[0, 0, 0]
    assert got[1, 0, 7] == got[0, 0, 4]


def test_pairs_below_the_least_overlap_stay_apart():
    got = linked(planes("1111000", "0002222"), overlap=0.3)

    np.testing.assert_array_equal(got, planes("1111000", "0002222"))


def test_a_gap_ends_an_object():
    got = linked(planes("110", "000", "220"))

    assert got.max() == 2


def test_numbers_follow_reading_order_without_gaps():
    labels = planes("0022011", "0044033")

    got = linked(labels)

    np.testing.assert_array_equal(got[0], planes("0011022")[0])


def test_time_follows_what_depth_has_joined():
    labels = np.zeros((2, 2, 1, 4), dtype=np.int32)  # TZYX
    labels[0, 0, 0, :2], labels[0, 1, 0, :2] = 1, 2
    labels[1, 0, 0, :2], labels[1, 1, 0, 1:3] = 3, 4

    both = linked(labels, "TZYX", "TZ")
    depth = linked(labels, "TZYX", "Z")

    assert set(both[both > 0]) == {1}
    assert set(depth[0][depth[0] > 0]) == {1}
    assert set(depth[1][depth[1] > 0]) == {2}


def test_an_axis_that_is_not_there_changes_nothing():
    labels = planes("1110220", "0330440")

    np.testing.assert_array_equal(linked(labels, along="T"), labels)


def test_labels_without_background_are_linked_too():
    np.testing.assert_array_equal(linked(planes("11", "22")), planes("11", "11"))


def test_a_link_that_is_not_known_is_refused():
    with pytest.raises(SettingsError, match="Link is"):
        LabelSettings(link="C")
