"""What the user reads, without a window."""

from pathlib import Path

import numpy as np
import pytest

from napari_rwkv_seg.controllers.sentences import (
    duration,
    license_warning,
    mishap,
    model_facts,
    model_line,
    model_tooltip,
    progress_line,
    summary,
)
from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.inference.progress import Progress
from napari_rwkv_seg.inference.segment import Segmentation
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.zoo.store import ModelEntry

from .conftest import make_card


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(0, 0, None, ""), "Preparing …"),
        (Progress(0, 0, None, "Loading the model …"), "Loading the model …"),
        (Progress(0, 12), "tile 0 of 12"),
        (Progress(3, 12, 4.2), "tile 3 of 12 · 4 s left"),
        (Progress(3, 12, 95.0, "smaller tiles"), "tile 3 of 12 · 1 min 35 s left · smaller tiles"),
        (Progress(12, 12, 0.0), "Making labels …"),
    ],
    ids=str,
)
def test_progress_tells_tiles_and_time(progress, line) -> None:
    assert progress_line(progress) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1, "1 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3725, "1 h 02 min")],
    ids=str,
)
def test_a_duration_is_told_in_units_that_fit(seconds, text) -> None:
    assert duration(seconds) == text


def test_the_tooltip_tells_name_use_licence_and_scores() -> None:
    text = model_tooltip(ModelEntry(Path("bright"), make_card()))

    for part in ("bright", "Finds what is bright.", "CC0-1.0", "Dice 0.912", "object F1 0.8"):
        assert part in text


def test_the_tooltip_of_a_broken_model_tells_what_is_wrong() -> None:
    text = model_tooltip(ModelEntry(Path("torn"), None, "Its weights are torn."))

    assert text == "torn: cannot be used.\nIts weights are torn."


def test_the_line_beneath_a_model_tells_its_use() -> None:
    assert model_line(make_card()) == "Finds what is bright."


def test_licence_and_scores_fit_in_one_line() -> None:
    assert model_facts(make_card()) == "Licence CC0-1.0 · Dice 0.912 · object F1 0.8"


@pytest.mark.parametrize("text", ["", " ", "unknown"])
def test_m26_a_missing_licence_is_told(text) -> None:
    assert "no licence" in license_warning(text)


@pytest.mark.parametrize("text", ["CC-BY-NC-4.0", "Non-commercial", "for research only"])
def test_m26_a_licence_that_forbids_trade_is_told(text) -> None:
    assert "commercial" in license_warning(text)


@pytest.mark.parametrize("text", ["CC0-1.0", "MIT", "Apache-2.0"])
def test_an_open_licence_needs_no_warning(text) -> None:
    assert license_warning(text) == ""


def test_our_own_errors_are_shown_as_they_are() -> None:
    assert mishap(ModelError("The model is gone.")) == "The model is gone."


def test_a_foreign_error_becomes_one_line_with_its_kind() -> None:
    text = mishap(RuntimeError("first\nsecond"))

    assert "RuntimeError: first second" in text
    assert "\n" not in text


def test_missing_memory_comes_with_advice() -> None:
    assert "smaller part" in mishap(MemoryError())


@pytest.mark.parametrize(
    ("output", "highest", "text"),
    [
        ("objects", 0, "Done: 0 objects."),
        ("objects", 1, "Done: 1 object."),
        ("classes", 3, "Done."),
    ],
    ids=str,
)
def test_a_result_of_objects_tells_how_many_there_are(output, highest, text) -> None:
    labels = np.array([[0, highest]])
    settings = LabelSettings(output=output)
    result = Segmentation(labels, np.zeros((2, 1, 2)), make_card(), settings, "YX", (), {})

    assert summary(result) == text


def test_objects_of_a_part_are_counted_within_its_outline() -> None:
    labels = np.array([[[1, 0, 2], [3, 0, 2]]])
    mask = np.array([[True, True, True], [False, True, False]])
    settings = LabelSettings(output="objects")
    result = Segmentation(labels, np.zeros((2, 1, 2, 3)), make_card(), settings, "ZYX", (), {})

    assert summary(result, mask) == "Done: 2 objects."
