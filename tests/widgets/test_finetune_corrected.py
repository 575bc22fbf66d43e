"""Which planes of a layer somebody has corrected since a model made them."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_pairs import Checked, PairFacts, count
from napari_rwkv_seg.widgets.as_written import digest, remember
from napari_rwkv_seg.widgets.finetune_layers import LayerPair
from napari_rwkv_seg.widgets.finetune_link import FinetuneLink
from napari_rwkv_seg.widgets.marks import METADATA_KEY
from napari_rwkv_seg.zoo.card import ClassCard

CLASSES = [ClassCard(name=name, color="#000000") for name in ("background", "cell")]


@pytest.fixture
def model() -> ViewerModel:
    """Return a viewer without a window."""
    return ViewerModel()


def result(model, axes="TYX", shape=(4, 20, 30)) -> LayerPair:
    """Return a pair whose labels a model made."""
    told = {METADATA_KEY: {"layer": "cells", "axes": axes}}
    image = model.add_image(np.zeros(shape), name="cells")
    labels = model.add_labels(np.ones(shape, dtype=np.int32), metadata=told)
    remember(labels, digest(labels.data))
    pair = LayerPair(model, image, labels)
    assert pair.fit.axes == axes
    return pair


def paint(pair, *place) -> None:
    pair.labels.data_setitem(tuple(np.array([one]) for one in place), 7)


def test_a_stroke_leaves_the_other_planes_as_a_model_wrote_them_and_undo_brings_it_back(model):
    pair = result(model)
    paint(pair, 2, 3, 4)
    assert pair.as_written()() == {(0,), (1,), (3,)}

    pair.labels.undo()
    assert pair.as_written()() == {(0,), (1,), (2,), (3,)}


def test_planes_along_two_axes_are_told_apart(model):
    pair = result(model, "TZYX", (2, 3, 20, 30))
    paint(pair, 1, 2, 3, 4)

    untouched = pair.as_written()()
    assert len(untouched) == 5
    assert (1, 2) not in untouched


def test_of_a_flat_image_the_one_plane_is_told(model):
    pair = result(model, "YX", (20, 30))
    assert pair.as_written()() == {()}
    paint(pair, 3, 4)
    assert pair.as_written()() == set()


def test_of_a_stack_along_the_last_axis_it_is_only_told_whether_all_is_as_written(model):
    pair = result(model, "YXZ", (20, 30, 4))
    assert pair.as_written()() is True
    paint(pair, 3, 4, 2)
    assert pair.as_written()() is False


def test_labels_of_a_user_are_no_model_s(model):
    pair = result(model)
    pair.labels.data = np.ones((5, 20, 30), dtype=np.int32)
    assert pair.as_written()() is False


@pytest.mark.parametrize("plane", [1, 2])
def test_boxes_are_judged_by_the_planes_that_they_lie_on(model, plane):
    pair = result(model)
    paint(pair, 2, 3, 4)
    box = [[plane, 2, 2], [plane, 2, 9], [plane, 9, 9], [plane, 9, 2]]
    shapes = model.add_shapes([box], shape_type="polygon")
    checked = Checked("inside these boxes", boxes=shapes.unique_id)

    planes = pair.planes(checked, copied=False)
    facts = count(planes, "objects", CLASSES, pair.as_written()())

    assert facts.as_written == (plane == 1)


@pytest.mark.gui
@pytest.mark.parametrize("is_said", [False, True])
def test_a_stroke_in_a_second_result_of_a_series_unticks_no_planes_that_the_user_has_named(
    viewer, until, is_said, monkeypatch
):
    monkeypatch.setattr("napari_rwkv_seg.widgets.finetune_link.SETTLED_MS", 10)
    image = viewer.add_image(np.zeros((5, 20, 30)), name="cells")
    first, second = (
        viewer.add_labels(np.ones((5, 20, 30), dtype=np.int32), name=name) for name in "AB"
    )
    for labels in (first, second):
        remember(labels, digest(labels.data))
    controller = FinetuneController()
    link = FinetuneLink(viewer, controller)
    rows, keys = controller.rows, [(image.unique_id, one.unique_id) for one in (first, second)]

    def shown() -> list[tuple[str, bool]]:
        until(lambda: not link.is_busy)
        return [(row.checked.planes, row.used) for row in map(rows.get, keys)]

    viewer.dims.set_point(0, 4)
    for plane in (1, 3):
        first.data_setitem(tuple(np.array([one]) for one in (plane, 3, 4)), 7)
    assert shown()[0] == ("1, 3", True)
    if is_said:
        rows.check(keys[0], Checked("these planes", "1"))
    second.data_setitem(tuple(np.array([one]) for one in (2, 3, 4)), 7)

    assert shown() == ([("1", True), ("2", False)] if is_said else [("1, 3", False), ("2", True)])
    link.close()


@pytest.mark.gui
def test_a_result_that_comes_while_pairs_are_listed_belongs_to_the_image_it_was_made_of(
    dock, viewer, image, segment, until
):
    alpha = viewer.add_image(image, name="alpha")
    viewer.add_image(image[::-1], name="beta")
    controller = FinetuneController()
    link = FinetuneLink(viewer, controller)
    dock._link.choice.choose(alpha)
    dock._controller.choose(output="classes")

    segment(dock)
    [row] = controller.rows
    assert row.source.image is alpha
    assert (row.source.made_by, row.source.means) == ("bright", "classes")
    dock._controller.choose(output="objects")  # the layer gets them, as nobody has painted on it
    until(lambda: not dock._link.is_busy)
    [row] = controller.rows
    assert (row.source.image, row.source.means) == (alpha, "objects")
    link.close()


def test_what_is_held_out_is_foreseen_anew_after_every_count(model, qapp):
    pair = result(model, "YX", (20, 30))
    controller = FinetuneController()
    link, heard = FinetuneLink(model, controller), []
    link.planned.connect(heard.append)

    assert PairFacts(highest=1) != PairFacts(highest=1)  # labels may have moved
    for number in range(20):
        controller.rows.forget([pair.key])
        controller.rows.take(controller.rows.get(pair.key), PairFacts(highest=1))
        link._foresee()
        assert len(heard) == number + 1
        link._foresee()
        assert len(heard) == number + 1
    link.close()
