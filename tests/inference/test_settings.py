import json

import numpy as np
import pytest

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.inference.settings import (
    LabelSettings,
    plain_channel,
    plain_tile_size,
)
from napari_rwkv_seg.zoo.card import ObjectDefaults


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("output", "instances"),
        ("threshold", -0.01),
        ("threshold", 1.01),
        ("threshold", float("nan")),
        ("threshold", "0,5"),
        ("threshold", True),
        ("smallest_object", -1),
        ("smallest_object", 1.5),
        ("smallest_object", np.float64(5)),
        ("smallest_object", np.True_),
        ("threshold", np.float32("nan")),
        ("smallest_object", 10**10),
        ("split_distance", 0),
        ("split_distance", 1001),
    ],
    ids=lambda value: f"P10-{value}",
)
def test_a_setting_out_of_range_is_refused_by_name(setting, value):
    with pytest.raises(SettingsError) as caught:
        LabelSettings(**{setting: value})
    assert setting.split("_")[0] in str(caught.value).lower()


def test_settings_follow_the_recommendation_of_the_card(make_card):
    card = make_card(objects=ObjectDefaults(threshold=0.3, smallest_object=9, split=False))

    settings = LabelSettings.for_model(card, "objects")

    assert (settings.output, settings.threshold, settings.smallest_object) == ("objects", 0.3, 9)
    assert not settings.split


def test_settings_are_plain_values_for_json():
    settings = LabelSettings(output="objects", threshold=0.25)

    assert LabelSettings(**json.loads(json.dumps(settings.to_dict()))) == settings


@pytest.mark.parametrize(
    ("setting", "value", "kind"),
    [
        ("threshold", np.float32(0.5), float),
        ("threshold", np.float64(0.5), float),
        ("threshold", np.uint8(1), int),
        ("link_overlap", np.float16(0.5), float),
        ("smallest_object", np.int64(5), int),
        ("split_distance", np.uint8(5), int),
    ],
)
def test_numbers_of_numpy_are_kept_as_plain_ones(setting, value, kind):
    settings = LabelSettings(**{setting: value})

    assert type(getattr(settings, setting)) is kind
    assert getattr(settings, setting) == value
    json.dumps(settings.to_dict())


@pytest.mark.parametrize(
    ("plain", "value"), [(plain_channel, np.uint8(2)), (plain_tile_size, np.int64(512))]
)
def test_channel_and_tile_size_are_kept_as_plain_numbers(plain, value):
    assert type(plain(value)) is int
    assert plain(value) == value
    assert plain(None) is None


@pytest.mark.parametrize("channel", [-1, 0.0, True, "0"])
def test_a_channel_that_cannot_be_is_refused(channel):
    with pytest.raises(SettingsError, match="Channel must be a whole number"):
        plain_channel(channel)
