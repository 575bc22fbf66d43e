"""When an image is streamed, and what the user is told."""

import re
from pathlib import Path

import numpy as np
import pytest

from napari_rwkv_seg.controllers.settings import SegmentSettings
from napari_rwkv_seg.controllers.streaming import (
    Crop,
    forecast,
    must_stream,
    store_folder,
    whole_bytes,
)
from napari_rwkv_seg.errors import SettingsError


def test_an_image_is_streamed_if_half_of_the_free_memory_does_not_hold_it():
    needed = whole_bytes((512, 512), "YX", 1)

    assert not must_stream((512, 512), "YX", 1, free=2 * needed)
    assert must_stream((512, 512), "YX", 1, free=2 * needed - 2)


@pytest.mark.parametrize(
    ("shape", "axes"), [((512, 512, 3), "YXC"), ((9, 512, 512), "ZYX"), ((512, 513), "YX")]
)
def test_channels_planes_and_pixels_all_need_memory(shape, axes):
    assert whole_bytes(shape, axes, 2) > whole_bytes((512, 512), "YX", 2)


def test_20000_pixels_squared_are_streamed_on_a_machine_of_16_gb():
    assert must_stream((20_000, 20_000), "YX", 1, free=12_000_000_000)
    assert not must_stream((2_048, 2_048, 3), "YXC", 1, free=4_000_000_000)


def test_the_forecast_takes_so_many_times_as_long_as_there_are_views():
    times = [
        re.search(r"about (.*) on two cores", forecast((9000, 9000), "YX", 1, Path("a"), views))[1]
        for views in (1, 8)
    ]
    assert times[0] != times[1]


def test_the_forecast_names_tiles_time_and_folder():
    said = forecast((2, 512, 865), "ZYX", 1, Path("here"))

    assert "streamed in 4 tiles: about 1 s" in said
    assert "kept in here" in said


def test_stores_are_named_after_the_image_and_lie_in_the_users_data(user_data):
    assert store_folder("", "C1: cells/ä.tif") == user_data / "streamed" / "C1_cells_tif.ome.zarr"
    assert store_folder("there", "///") == Path("there") / "image.ome.zarr"


def test_a_crop_reads_what_is_asked_for_and_nothing_else():
    whole = np.arange(5 * 60 * 70).reshape(5, 60, 70)

    class Watched:
        shape, dtype = whole.shape, whole.dtype

        def __init__(self):
            self.keys = []

        def __getitem__(self, key):
            self.keys.append(key)
            return whole[key]

    watched = Watched()
    crop = Crop(watched, (slice(1, 4), slice(10, 50), slice(20, 70)))

    part = crop[2, slice(0, 8), slice(45, 50)]

    assert crop.shape == (3, 40, 50)
    np.testing.assert_array_equal(part, whole[1:4, 10:50, 20:70][2, 0:8, 45:50])
    assert watched.keys == [(3, slice(10, 18, 1), slice(65, 70, 1))]


@pytest.mark.parametrize("wrong", [{"stream": "maybe"}, {"directions": "XY"}])
def test_choices_that_are_not_known_are_refused(wrong):
    with pytest.raises(SettingsError):
        SegmentSettings(**wrong)
