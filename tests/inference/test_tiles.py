from itertools import pairwise

import numpy as np
import pytest

from napari_rwkv_seg.inference.tiles import OVERLAP, count_tiles, tiles

PLANES = [(1, 1, 64), (64, 64, 64), (65, 64, 64), (257, 511, 128), (520, 696, 256), (63, 1000, 64)]


@pytest.mark.parametrize("plane", PLANES, ids=str)
def test_weights_of_all_tiles_sum_to_one_in_every_pixel(plane):
    height, width, size = plane
    total = np.zeros((height, width))
    for tile in tiles(height, width, size):
        total[tile.rows, tile.columns] += tile.weights

    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("plane", PLANES, ids=str)
def test_tiles_begin_at_multiples_of_32_and_only_the_last_is_shorter(plane):
    height, width, size = plane
    for tile in tiles(height, width, size):
        for side, length in ((tile.rows, height), (tile.columns, width)):
            assert side.start % 32 == 0
            is_last = side.stop == length
            assert side.stop - side.start == min(size, length) or (
                is_last and size - 32 < side.stop - side.start < size
            )
        assert tile.weights.shape == (
            tile.rows.stop - tile.rows.start,
            tile.columns.stop - tile.columns.start,
        )


@pytest.mark.parametrize("plane", PLANES, ids=str)
def test_count_tiles_counts_them(plane):
    assert count_tiles(*plane) == len(list(tiles(*plane)))


def test_a_plane_no_larger_than_a_tile_is_one_tile():
    (tile,) = tiles(63, 64, 64)

    assert (tile.rows, tile.columns) == (slice(0, 63), slice(0, 64))


@pytest.mark.parametrize("width", [65, 96, 100, 129, 500, 1001])
def test_neighbours_share_at_least_a_quarter(width):
    starts = [tile.columns.start for tile in tiles(10, width, 64)]

    assert all(after - before <= 64 - 64 // OVERLAP for before, after in pairwise(starts))


def test_weights_change_smoothly_from_tile_to_tile():
    steepest = max(
        float(np.abs(np.diff(tile.weights, axis=1)).max()) for tile in tiles(64, 1000, 256)
    )

    assert steepest < 0.05


def test_the_border_of_a_tile_that_is_not_the_image_border_is_not_trusted():
    first = next(tiles(64, 1000, 256))

    assert first.weights[0, -1] < 1e-5
    assert first.weights[0, 0] == 1
