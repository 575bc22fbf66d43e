import json

import numpy as np
import pytest

from napari_rwkv_seg.errors import CancelledError, SettingsError
from napari_rwkv_seg.inference import segment as room
from napari_rwkv_seg.inference.segment import relabel, relabel_steps, segment, segment_steps
from napari_rwkv_seg.inference.settings import LabelSettings

DTYPES = ["u1", "u2", "i4", "u8", "f2", "f4", "f8", ">u2", ">f4"]


@pytest.fixture
def bright_squares():
    """Return an image with two bright squares on black."""
    image = np.zeros((40, 50), dtype=np.uint8)
    image[5:15, 5:15] = image[20:35, 25:45] = 1
    return image


def test_labels_follow_the_bright_pixels(bright_squares, pixel_model):
    result = segment(bright_squares, pixel_model)

    np.testing.assert_array_equal(result.labels, bright_squares)
    assert result.labels.dtype == np.uint8


@pytest.mark.parametrize("dtype", [pytest.param(name, id=f"I07-{name}") for name in [*DTYPES, "?"]])
def test_the_same_values_give_the_same_labels_in_any_dtype(dtype, bright_squares, pixel_model):
    result = segment(bright_squares.astype(dtype), pixel_model)

    np.testing.assert_array_equal(result.labels, bright_squares)


def test_the_size_of_a_tile_can_be_chosen(make_model, pixel_network):
    network = pixel_network()

    result = segment(np.eye(201), make_model(network), tile_size=96)

    assert max(network.sizes) == (96, 96)
    assert len(network.sizes) > 4
    assert result.provenance["tile_size"] == 96


def test_how_it_was_made_is_plain_though_the_choices_were_numbers_of_numpy(
    bright_squares, pixel_model
):
    settings = LabelSettings(threshold=np.float32(0.5), smallest_object=np.int64(1))
    choices = {"channel": np.int64(0), "tile_size": np.int64(64)}

    result = segment(bright_squares, pixel_model, settings=settings, **choices)

    assert json.loads(json.dumps(result.provenance))["channel"] == 0


@pytest.mark.parametrize("choice", [{"channel": 0.5}, {"channel": -1}, {"tile_size": 64.5}])
def test_a_number_that_cannot_be_is_refused_before_the_model_is_sought(choice):
    with pytest.raises(SettingsError, match="must be a whole number"):
        segment(np.eye(9), "no such model", **choice)


def test_one_grey_channel_along_the_last_axis_is_no_stack(bright_squares, pixel_model):
    want = segment(bright_squares, pixel_model)

    result = segment(bright_squares[..., None], pixel_model)

    assert result.axes == "YXC"
    np.testing.assert_array_equal(result.labels, want.labels)


def test_objects_are_numbered_apart(bright_squares, pixel_model):
    result = segment(bright_squares, pixel_model, settings=LabelSettings("objects"))

    assert result.labels.max() == 2


def test_without_settings_the_card_decides(bright_squares, pixel_model):
    result = segment(bright_squares, pixel_model)

    assert result.settings == LabelSettings.for_model(pixel_model.card)


def test_the_steps_and_the_call_give_one_result(bright_squares, pixel_model):
    steps = segment_steps(bright_squares, pixel_model)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            stepped = end.value
            break

    called = segment(bright_squares, pixel_model)
    np.testing.assert_array_equal(stepped.labels, called.labels)
    assert stepped.provenance == called.provenance


def test_relabelling_runs_no_network(bright_squares, make_model, pixel_network):
    network = pixel_network()
    result = segment(bright_squares, make_model(network))
    runs = len(network.sizes)

    again = relabel(result, LabelSettings("objects", smallest_object=150))

    assert len(network.sizes) == runs
    assert again.labels.max() == 1
    assert again.provenance["settings"]["smallest_object"] == 150
    assert result.labels.max() == 1
    assert result.provenance["settings"]["output"] == "classes"


def test_relabelling_a_stack_can_be_stopped_between_its_planes(bright_squares, pixel_model):
    stack = np.stack([bright_squares] * 3)
    result = segment(stack, pixel_model, axes="ZYX")
    settings = LabelSettings("objects")

    told = list(relabel_steps(result, settings))

    assert [(progress.done, progress.total) for progress in told] == [(1, 3), (2, 3)]
    assert list(relabel_steps(segment(bright_squares, pixel_model), settings)) == []


def test_provenance_is_plain_json_and_names_model_image_and_settings(bright_squares, pixel_model):
    provenance = segment(bright_squares, pixel_model, axes="yx").provenance

    assert json.loads(json.dumps(provenance)) == provenance
    assert provenance["model"] == "fake"
    assert provenance["sha256"] == "0" * 64
    assert len(provenance["image_sha256"]) == 64
    assert provenance["settings"]["output"] == "classes"
    assert provenance["axes"] == "YX"
    assert {"version", "torch", "numpy", "device", "backend", "tile_size", "notes"} <= set(
        provenance
    )


def test_a_run_again_gives_the_same_labels(bright_squares, pixel_model):
    first, second = (segment(bright_squares, pixel_model) for _ in range(2))

    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.provenance == second.provenance


def test_progress_is_reported_until_labels_are_made(bright_squares, pixel_model):
    news = []

    segment(bright_squares, pixel_model, progress=news.append)

    assert (news[0].done, news[0].total) == (0, 1)
    assert [step.note for step in news if step.note] == ["Making labels…"]


def test_an_error_in_the_progress_callback_ends_the_run(make_model, pixel_network):  # P06
    network = pixel_network()

    def cancel(news):
        if news.done == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        segment(np.eye(300), make_model(network, tile_size=64), progress=cancel)
    assert len(network.sizes) == 2


@pytest.mark.parametrize(
    "stage", range(4), ids=["P06-start", "P06-tile", "P06-labels", "P06-plane"]
)
def test_a_run_can_be_cancelled_at_every_stage(stage, bright_squares, pixel_model):
    steps = segment_steps(bright_squares, pixel_model)
    for _ in range(stage + 1):
        next(steps)

    steps.close()

    with pytest.raises(StopIteration):
        next(steps)


def test_a_run_can_be_cancelled_before_the_model_is_loaded(bright_squares, monkeypatch):  # P06
    monkeypatch.setattr(room, "load_model", lambda *_: pytest.fail("the model was loaded"))
    steps = segment_steps(bright_squares, "some model")

    assert next(steps).note == "Loading model some model…"
    steps.close()
