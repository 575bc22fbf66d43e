"""Cutting touching objects: where a basin is an object of its own, and where it is a bulge."""

import numpy as np
import pytest

from napari_rwkv_seg.inference.labels import regions_of
from napari_rwkv_seg.inference.splitting import split_regions


def discs(*centres, radius=10, shape=(40, 80)):
    """Return a mask of discs around (row, column)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.any([(rows - y) ** 2 + (columns - x) ** 2 <= radius**2 for y, x in centres], axis=0)


def split(mask, distance=5, **options):
    return split_regions(mask, regions_of(mask), distance, **options)


def test_discs_that_touch_are_two_and_a_long_one_is_one():
    apart, centres = split(discs((20, 20), (20, 38)))
    assert apart.max() == len(centres) == 2
    assert apart[20, 20] != apart[20, 38]
    long, centres = split(discs((20, 20), (20, 27)))
    assert long.max() == len(centres) == 1


def test_a_bulge_is_joined_with_what_it_is_a_part_of():
    rough = discs((20, 20), (20, 30))  # two tops, with hardly a saddle between them
    rough[18:23, 24:27] = True
    unjoined, _ = split(rough, rise=0.0)
    assert unjoined.max() == 2
    assert split(rough)[0].max() == 1


def test_the_centre_of_joined_basins_is_the_higher_one():
    mask = discs((20, 20), radius=12) | discs((20, 31), radius=10)
    objects, centres = split(mask, rise=100.0)
    assert objects.max() == 1
    assert centres.tolist() == [20 * 80 + 20]


def test_joining_goes_over_the_highest_saddles_first():
    """Three in a row: the middle one, a bulge of the left, does not pull in the right one."""
    mask = discs((20, 15), (20, 23), (20, 42))
    found, _ = split(mask)
    assert found[20, 15] == found[20, 23] != found[20, 42]


def test_objects_are_numbered_from_one_without_a_gap_and_lose_no_pixel():
    generator = np.random.default_rng(42)
    mask = generator.random((60, 60)) < 0.55
    for rise in (0.0, 0.1, 0.75, 9.0):
        objects, centres = split(mask, distance=1, rise=rise)
        np.testing.assert_array_equal(objects > 0, mask)
        np.testing.assert_array_equal(np.unique(objects[mask]), np.arange(1, len(centres) + 1))
        # every centre lies in the object whose centre it is
        np.testing.assert_array_equal(objects.ravel()[centres], np.arange(1, len(centres) + 1))
    assert objects.max() == regions_of(mask).max()  # all that touch are joined, and nothing else


@pytest.mark.parametrize("full", [True, False])
def test_a_full_or_empty_plane_has_no_cut(full):
    mask = np.full((4, 5), full)
    objects, centres = split(mask)
    assert objects.max() == int(full)
    assert centres.tolist() == [-1] * int(full)
