import json

import pytest

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.inference.settings import LabelSettings
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
