"""Choices of a run are checked when they are made."""

import pytest

from napari_rwkv_seg.controllers.settings import (
    SCOPES,
    SegmentSettings,
    recommended_labels,
)
from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.zoo.card import ClassCard, ObjectDefaults

from .conftest import make_card


def test_the_scopes_are_those_of_the_dock() -> None:
    assert SCOPES == ("whole layer", "current slice", "current view", "selected shapes")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": " "}, "model"),
        ({"scope": "everything"}, "Run on"),
        ({"channel": -1}, "Channel"),
        ({"channel": True}, "Channel"),
        ({"level": 1.5}, "Level"),
        ({"device": "tpu"}, "Device"),
    ],
    ids=str,
)
def test_p10_a_value_out_of_range_is_refused_by_the_name_on_the_screen(changes, named) -> None:
    with pytest.raises(SettingsError, match=named):
        SegmentSettings(**changes)


def test_one_class_is_counted_as_separate_objects_with_the_values_of_the_card() -> None:
    card = make_card(objects=ObjectDefaults(threshold=0.3, smallest_object=17))

    labels = recommended_labels(card)

    assert labels == LabelSettings(
        output="objects", threshold=0.3, smallest_object=17, split_distance=labels.split_distance
    )


def test_several_classes_are_shown_as_classes() -> None:
    classes = [ClassCard(name=str(i), color="#112233") for i in range(3)]

    assert recommended_labels(make_card(classes=classes)).output == "classes"
