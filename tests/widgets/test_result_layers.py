"""Results become ordinary layers, and what a user has edited is never touched; without a window."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_rwkv_seg.inference.steps import drained
from napari_rwkv_seg.widgets import label_changes
from napari_rwkv_seg.widgets.marks import METADATA_KEY
from napari_rwkv_seg.widgets.placement import Placement, place
from napari_rwkv_seg.widgets.regions import Region
from napari_rwkv_seg.widgets.result import Result
from napari_rwkv_seg.widgets.result_layers import ResultLayers

from .conftest import make_card


@pytest.fixture
def model() -> ViewerModel:
    """Return a viewer without a window, with an image."""
    model = ViewerModel()
    model.add_image(np.zeros((9, 13)), name="cells", scale=(2, 3))
    return model


class FoundBefore(ResultLayers):
    """Lets what labels change be found first, as a worker does."""

    def show(self, result: Result, *, adjusted: bool = False, change: Any = None) -> Labels | None:
        found = drained(self.begin(result, adjusted=adjusted)(result))
        return super().show(result, adjusted=adjusted, change=found)


@pytest.fixture(params=[ResultLayers, FoundBefore], ids=["at once", "found before"])
def results(request: pytest.FixtureRequest, model: ViewerModel) -> ResultLayers:
    """Return what writes the layers."""
    written: ResultLayers = request.param(model)
    return written


def result(model: ViewerModel, labels: Any, region: Region | None = None, **changes: Any) -> Result:
    """Return a result for the image of `model`."""
    layer: Image = model.layers[0]
    labels = np.asarray(labels)
    where: Placement = place(
        layer, "YX", 0, region or Region(tuple(slice(0, n) for n in layer.data.shape))
    )
    facts: dict[str, Any] = {
        "image": weakref.ref(layer),
        "title": "cells · bright",
        "labels": labels,
        "probabilities": np.stack([labels == 0, labels > 0]).astype(np.float32),
        "card": make_card(),
        "output": "objects",
        "place": where,
        "provenance": {"model": "bright", "settings": {"threshold": 0.5}},
    }
    return Result(**(facts | changes))


def two(first: int = 1, second: int = 2) -> np.ndarray:
    """Return labels of two objects."""
    labels = np.zeros((9, 13), dtype=np.int32)
    labels[1:4, 1:4] = first
    labels[5:8, 6:11] = second
    return labels


def test_a_result_is_an_editable_layer_in_memory(model, results) -> None:
    layer = results.show(result(model, two()))

    assert isinstance(layer.data, np.ndarray)
    assert layer.editable
    assert layer.data.flags.writeable
    assert layer.data.flags.owndata


def test_provenance_is_in_the_metadata(model, results) -> None:
    layer = results.show(result(model, two()))

    assert layer.metadata[METADATA_KEY]["model"] == "bright"


def test_l12_painting_on_a_layer_does_not_change_what_we_keep(model, results) -> None:
    kept = result(model, two())
    layer = results.show(kept)

    layer.data_setitem((np.array([0]), np.array([0])), 7)
    layer.metadata[METADATA_KEY]["settings"]["threshold"] = 0.1

    np.testing.assert_array_equal(kept.labels, two())
    assert kept.provenance["settings"]["threshold"] == 0.5


def test_l13_a_read_only_result_becomes_a_layer_that_can_be_painted(model, results) -> None:
    labels = two()
    labels.flags.writeable = False

    layer = results.show(result(model, labels))
    layer.paint((4, 4), 5)

    assert layer.data[4, 4] == 5


def test_a_second_run_goes_into_the_layer_that_nobody_has_edited(model, results) -> None:
    first = results.show(result(model, two()))

    second = results.show(result(model, two(2, 1)))

    assert second is first
    np.testing.assert_array_equal(first.data, two(2, 1))
    assert len(model.layers) == 2


def test_l08_a_layer_with_strokes_stays_and_the_result_becomes_a_new_one(model, results) -> None:
    first = results.show(result(model, two()))
    first.paint((4, 4), 5)
    edited = first.data.copy()

    second = results.show(result(model, two(2, 1)))

    assert second is not first
    np.testing.assert_array_equal(first.data, edited)
    np.testing.assert_array_equal(second.data, two(2, 1))


def test_l08_a_stroke_that_was_undone_counts_as_none(model, results) -> None:
    first = results.show(result(model, two()))
    first.paint((4, 4), 5)
    first.undo()

    assert results.show(result(model, two(2, 1))) is first


def test_l11_ctrl_z_takes_a_second_run_back_exactly(model, results) -> None:
    layer = results.show(result(model, two()))
    results.show(result(model, two(2, 1)))

    layer.undo()
    np.testing.assert_array_equal(layer.data, two())
    layer.redo()

    np.testing.assert_array_equal(layer.data, two(2, 1))


def test_l11_strokes_after_a_run_are_undone_one_by_one(model, results) -> None:
    layer = results.show(result(model, two()))
    results.show(result(model, two(2, 1)))
    layer.paint((4, 4), 5)
    layer.paint((0, 12), 6)

    layer.undo()
    layer.undo()
    np.testing.assert_array_equal(layer.data, two(2, 1))
    layer.undo()

    np.testing.assert_array_equal(layer.data, two())


def test_l11_more_steps_than_the_history_holds_do_no_harm(model, results) -> None:
    layer = results.show(result(model, two()))
    for step in range(120):
        results.show(result(model, two(step % 5 + 1, 2)))

    for _ in range(150):
        layer.undo()

    assert any(np.array_equal(layer.data, two(first, 2)) for first in range(1, 6))


def test_l11_adjustments_in_a_row_are_one_step(model, results) -> None:
    layer = results.show(result(model, two()))
    for step in range(3, 30):
        results.show(result(model, two(step, 2)), adjusted=True)

    np.testing.assert_array_equal(layer.data, two(29, 2))
    layer.undo()

    np.testing.assert_array_equal(layer.data, two())


def test_adjusting_goes_on_after_an_adjustment_was_undone(model, results) -> None:
    layer = results.show(result(model, two()))
    results.show(result(model, two(3, 2)), adjusted=True)
    layer.undo()

    same = results.show(result(model, two(4, 2)), adjusted=True)

    assert same is layer
    np.testing.assert_array_equal(layer.data, two(4, 2))


def test_adjusting_does_not_bring_back_a_deleted_layer(model, results) -> None:
    layer = results.show(result(model, two()))
    model.layers.remove(layer)

    results.show(result(model, two(4, 2)), adjusted=True)

    assert len(model.layers) == 1


def test_adjusting_a_layer_with_strokes_makes_one_new_layer_only(model, results) -> None:
    layer = results.show(result(model, two()))
    layer.paint((4, 4), 5)

    for step in range(3, 9):
        results.show(result(model, two(step, 2)), adjusted=True)

    assert len(model.layers) == 3
    assert layer.data[4, 4] == 5


def test_l10_a_deleted_layer_is_not_written_to(model, results) -> None:
    first = results.show(result(model, two()))
    model.layers.remove(first)

    second = results.show(result(model, two(2, 1)))

    assert second is not first
    assert second in model.layers
    np.testing.assert_array_equal(first.data, two())


def test_l10_a_renamed_layer_is_found_again(model, results) -> None:
    first = results.show(result(model, two()))
    first.name = "my favourite"

    assert results.show(result(model, two(2, 1))) is first


def test_l10_a_layer_whose_data_has_another_shape_is_left_alone(model, results) -> None:
    first = results.show(result(model, two()))
    first.data = np.zeros((4, 4), dtype=int)

    second = results.show(result(model, two(2, 1)))

    assert second is not first
    assert first.data.shape == (4, 4)


def test_c14_a_layer_that_the_user_has_locked_against_editing_is_left_alone(model, results) -> None:
    first = results.show(result(model, two()))
    first.editable = False

    second = results.show(result(model, two(2, 1)))

    assert second is not first
    np.testing.assert_array_equal(first.data, two())


def test_l13_a_layer_whose_data_cannot_be_written_is_left_alone(model, results) -> None:
    first = results.show(result(model, two()))
    first.data = two()
    first.data.flags.writeable = False

    second = results.show(result(model, two(2, 1)))

    assert second is not first
    np.testing.assert_array_equal(first.data, two())


@pytest.mark.parametrize("place", [(0, 0), (8, 12), (4, 4)], ids=str)
def test_l08_one_changed_pixel_anywhere_is_an_edit(model, results, place) -> None:
    first = results.show(result(model, two()))
    first.data[place] = 7  # as scripts do, without napari's history and events

    assert results.show(result(model, two(2, 1))) is not first
    assert first.data[place] == 7


def test_another_model_gets_its_own_layer(model, results) -> None:
    first = results.show(result(model, two()))

    second = results.show(result(model, two(), card=make_card("dim"), title="cells · dim"))

    assert second is not first
    assert second.name == "cells · dim"


def test_a_region_is_filled_into_the_layer_of_the_whole_image(model, results) -> None:
    region = Region((slice(1, 4), slice(1, 4)))

    layer = results.show(result(model, np.ones((3, 3), dtype=np.int32), region))

    assert layer.data.shape == (9, 13)
    assert layer.data.sum() == 9


def test_a_second_region_keeps_the_first_and_takes_free_numbers(model, results) -> None:
    ones = np.ones((3, 3), dtype=np.int32)
    results.show(result(model, ones, Region((slice(1, 4), slice(1, 4)))))

    layer = results.show(result(model, ones, Region((slice(5, 8), slice(6, 9)))))

    assert set(np.unique(layer.data)) == {0, 1, 2}
    assert (layer.data[1:4, 1:4] == 1).all()
    assert (layer.data[5:8, 6:9] == 2).all()


def test_classes_keep_their_numbers_in_every_region(model, results) -> None:
    ones = np.ones((3, 3), dtype=np.uint8)
    results.show(result(model, ones, Region((slice(1, 4), slice(1, 4))), output="classes"))

    layer = results.show(result(model, ones, Region((slice(5, 8), slice(6, 9))), output="classes"))

    assert set(np.unique(layer.data)) == {0, 1}


def test_many_objects_fit_into_a_layer_that_held_classes(model, results) -> None:
    layer = results.show(result(model, two().astype(np.uint8), output="classes"))

    assert results.show(result(model, two(700, 2)), adjusted=True) is layer

    assert layer.data.max() == 700


@pytest.mark.parametrize("first", ["classes", "objects"])
def test_ctrl_z_never_leaves_numbers_that_mean_something_else_than_their_layer_says(
    model, results, first
) -> None:
    second = "objects" if first == "classes" else "classes"
    layer = results.show(result(model, two(), output=first))
    results.show(result(model, two(3, 2), output=first), adjusted=True)
    results.show(result(model, two(4, 5), output=second), adjusted=True)

    layer.undo()

    np.testing.assert_array_equal(layer.data, two(4, 5))
    assert layer.features.empty == (second == "objects")


def test_a_run_for_another_output_takes_nothing_away_that_ctrl_z_could_not_bring_back(
    model, results
) -> None:
    first = results.show(result(model, two(), output="objects"))

    second = results.show(result(model, two(1, 1), output="classes"))

    assert second is not first
    np.testing.assert_array_equal(first.data, two())


def test_objects_of_another_region_do_not_become_classes_with_the_last_one(model, results) -> None:
    ones = np.ones((3, 3), dtype=np.int32)
    here, there = Region((slice(1, 4), slice(1, 4))), Region((slice(5, 8), slice(6, 9)))
    objects = results.show(result(model, ones, here))
    results.show(result(model, ones, there))
    before = objects.data.copy()

    classes = results.show(result(model, ones, there, output="classes"), adjusted=True)

    assert classes is not objects
    np.testing.assert_array_equal(objects.data, before)
    assert results.show(result(model, ones, there), adjusted=True) is classes


def test_a_step_that_the_user_made_after_an_adjustment_is_not_taken_for_ours(
    model, results
) -> None:
    layer = results.show(result(model, two()))
    results.show(result(model, two(3, 2)), adjusted=True)
    for value in (5, 0):
        layer.data_setitem((np.array([4]), np.array([4])), value)
    painted = layer.data.copy()
    layer.undo()
    edited = layer.data.copy()
    layer.redo()

    results.show(result(model, two(4, 2)), adjusted=True)

    np.testing.assert_array_equal(layer.data, two(4, 2))
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
    layer.undo()
    np.testing.assert_array_equal(layer.data, edited)


def _paint(layer: Labels) -> None:
    layer.paint((4, 4), 5)


def _write_as_scripts_do(layer: Labels) -> None:
    layer.data[4, 4] = 7


def _replace(layer: Labels) -> None:
    layer.data = layer.data[::-1].copy()


def _undo(layer: Labels) -> None:
    layer.undo()


@pytest.mark.parametrize("edit", [_paint, _write_as_scripts_do, _replace, _undo])
@pytest.mark.parametrize("adjusted", [True, False], ids=["adjusted", "run"])
def test_what_a_user_does_while_a_worker_looks_for_changes_is_never_overwritten(
    model, edit, adjusted
) -> None:
    results = ResultLayers(model)
    layer = results.show(result(model, two()))
    results.show(result(model, two(2, 3)))
    newer = result(model, two(4, 2))
    change = drained(results.begin(newer, adjusted=adjusted)(newer))
    edit(layer)
    edited = layer.data.copy()

    shown = results.show(newer, adjusted=adjusted, change=change)

    assert shown is not layer
    np.testing.assert_array_equal(layer.data, edited)
    np.testing.assert_array_equal(shown.data, two(4, 2))


def test_two_results_that_were_looked_at_together_go_into_one_layer(model) -> None:
    results = ResultLayers(model)
    first, second = result(model, two()), result(model, two(2, 1))
    found = [drained(results.begin(one)(one)) for one in (first, second)]

    layer = results.show(first, change=found[0])

    assert results.show(second, change=found[1]) is layer
    np.testing.assert_array_equal(layer.data, two(2, 1))
    layer.undo()
    np.testing.assert_array_equal(layer.data, two())


def test_a_worker_without_enough_memory_leaves_the_work_to_the_window(model, monkeypatch) -> None:
    def find(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(label_changes, "find_change", find)
    results = FoundBefore(model)

    np.testing.assert_array_equal(results.show(result(model, two())).data, two())


def test_a_change_too_large_for_the_history_is_written_without(model, results, monkeypatch) -> None:
    monkeypatch.setattr(label_changes, "MOST_UNDOABLE", 3)
    layer = results.show(result(model, two()))

    results.show(result(model, two(2, 1)))
    layer.undo()

    np.testing.assert_array_equal(layer.data, two(2, 1))


def test_the_mode_of_a_layer_stays_when_its_history_is_forgotten(
    model, results, monkeypatch
) -> None:
    monkeypatch.setattr(label_changes, "MOST_UNDOABLE", 3)
    layer = results.show(result(model, two()))
    layer.mode = "paint"

    results.show(result(model, two(2, 1)))

    assert layer.mode == "paint"


def test_a_moved_image_takes_its_layer_along_at_the_next_run(model, results) -> None:
    layer = results.show(result(model, two()))
    model.layers[0].translate = (5, 6)

    results.show(result(model, two(2, 1)))

    np.testing.assert_array_equal(layer.translate, (5, 6))


def test_colours_chosen_by_the_user_survive_adjustments(model, results) -> None:
    layer = results.show(result(model, two()))
    layer.new_colormap(seed=7)
    chosen = layer.get_color(1)

    results.show(result(model, two(1, 3)), adjusted=True)

    np.testing.assert_array_equal(layer.get_color(1), chosen)


def test_probabilities_lie_below_the_labels_and_are_updated(model, results) -> None:
    first = result(model, two())
    results.show(first)
    results.show_probabilities(first)
    results.show_probabilities(result(model, two(0, 2)))

    kinds = [type(layer) for layer in model.layers]
    assert kinds == [Image, Image, Labels]
    np.testing.assert_array_equal(model.layers[1].data > 0.5, two(0, 2) > 0)


def test_probabilities_of_a_whole_image_are_not_copied_and_cannot_be_changed(model, results):
    first = result(model, two())
    results.show(first)
    results.show_probabilities(first)

    shown = model.layers[1].data
    assert np.shares_memory(shown, first.probabilities)
    assert not shown.flags.writeable
    assert first.probabilities.flags.writeable


def test_probabilities_of_a_region_leave_those_of_the_whole_image_as_they_are(model, results):
    whole = result(model, two())
    part = result(model, np.zeros((4, 13), np.int32), Region((slice(0, 4), slice(0, 13))))
    for each in (whole, part, part):
        results.show(each)
        results.show_probabilities(each)

    np.testing.assert_array_equal(model.layers[1].data[4:] > 0.5, two()[4:] > 0)
    assert not model.layers[1].data[:4].any()
    np.testing.assert_array_equal(whole.probabilities[1] > 0.5, two() > 0)


def test_probabilities_go_with_an_image_that_was_moved(model, results) -> None:
    first = result(model, two())
    results.show(first)
    results.show_probabilities(first)
    model.layers[0].translate = (5, 7)
    moved = result(model, two())
    results.show(moved)
    results.show_probabilities(moved)

    np.testing.assert_array_equal(model.layers[1].translate, (5, 7))


def test_probabilities_lie_directly_below_labels_that_are_not_on_top(model, results) -> None:
    first = result(model, two())
    labels = results.show(first)
    above = model.add_points()

    results.show_probabilities(first)

    assert [type(layer) for layer in model.layers[:2]] == [Image, Image]
    assert list(model.layers[2:]) == [labels, above]


def test_the_labels_stay_selected_when_probabilities_are_added(model, results) -> None:
    first = result(model, two())
    layer = results.show(first)

    results.show_probabilities(first)

    assert model.layers.selection.active is layer


def test_hiding_probabilities_twice_or_after_their_deletion_does_no_harm(model, results) -> None:
    first = result(model, two())
    results.show(first)
    results.show_probabilities(first)
    model.layers.remove(model.layers[1])

    results.hide_probabilities()
    results.hide_probabilities()

    assert len(model.layers) == 2


def test_probabilities_whose_labels_were_deleted_are_hidden_too(model, results) -> None:
    first = result(model, two())
    results.show(first)
    results.show_probabilities(first)
    model.layers.pop()
    model.add_image(np.zeros((9, 13)), name="others")
    gc.collect()
    other = result(model, two(), image=weakref.ref(model.layers["others"]))

    results.show(other)
    results.hide_probabilities()

    assert [layer.name for layer in model.layers] == ["cells", "others", "cells · bright"]
