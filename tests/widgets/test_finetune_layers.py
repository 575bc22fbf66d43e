"""Which planes and pixels fine-tuning takes from layers, and what it shows, without a window."""

import threading

import numpy as np
import pytest
from napari.components import Dims, ViewerModel

from napari_rwkv_seg.controllers.finetune_differences import Difference
from napari_rwkv_seg.controllers.finetune_pairs import Checked
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.widgets import finetune_shown
from napari_rwkv_seg.widgets.finetune_layers import LayerPair, new_row
from napari_rwkv_seg.widgets.finetune_runner import _open_pairs
from napari_rwkv_seg.widgets.finetune_shown import RunLayers, in_view

several_units = pytest.mark.skipif(
    not hasattr(Dims(), "units"), reason="napari before 0.9 does not convert units"
)


class Lazy:
    """An array that says which threads have read from it."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.threads: list[str] = []

    def __getitem__(self, key):
        self.threads.append(threading.current_thread().name)
        return self._array[key]


@pytest.fixture
def model() -> ViewerModel:
    """Return a viewer without a window."""
    return ViewerModel()


@pytest.fixture
def stack(model) -> LayerPair:
    """Return a pair of stacks in millimetres, beside a layer in micrometres."""
    image = model.add_image(np.zeros((5, 20, 30)), name="brain", units=("mm",) * 3)
    labels = model.add_labels(np.zeros((5, 20, 30), dtype=np.int32), units=("mm",) * 3)
    model.add_image(np.zeros((3, 4, 5)), name="cells", units=("um",) * 3)
    return LayerPair(model, image, labels)


@several_units
def test_the_shown_plane_is_right_beside_a_layer_with_a_smaller_unit(model, stack) -> None:
    model.dims.set_point(0, 3000)

    assert stack.shown_plane() == (3,)


def test_a_box_drawn_in_a_view_from_the_side_is_refused(model, stack) -> None:
    box = [[1, 12, 10], [1, 12, 20], [4, 12, 20], [4, 12, 10]]  # Z, Y, X: four planes at one Y
    shapes = model.add_shapes([box], shape_type="polygon", name="from the side")

    checked = Checked("inside these boxes", boxes=shapes.unique_id)
    with pytest.raises(ImageError, match="'from the side' lies across planes; draw it on one"):
        list(stack.planes(checked, copied=False)())


@several_units
def test_boxes_in_another_unit_lie_where_they_are_shown(model, stack) -> None:
    box = 1000 * np.array([[2, 4, 6], [2, 4, 10], [2, 7, 10], [2, 7, 6]])
    shapes = model.add_shapes([box], shape_type="polygon", units=("um",) * 3)

    checked = Checked("inside these boxes", boxes=shapes.unique_id)
    (pair,) = stack.planes(checked, copied=False)()

    assert pair.name == "brain, plane 2"
    inside = np.zeros((20, 30), dtype=bool)
    inside[4:8, 6:11] = True
    np.testing.assert_array_equal(pair.checked, inside)


def test_planes_of_a_mapped_file_are_read_by_the_worker(model, tmp_path) -> None:
    np.save(tmp_path / "slide.npy", np.zeros((20, 30)))
    mapped = np.load(tmp_path / "slide.npy", mmap_mode="r")
    image = model.add_image(mapped)
    source = LayerPair(model, image, model.add_labels(np.zeros((20, 30), dtype=np.int32)))

    (pair,) = source.planes(Checked(), copied=True)()

    assert np.shares_memory(pair.image, mapped)


def preview(model, layers, image, value) -> None:
    """Show a prediction that is `value` everywhere."""
    asked = in_view(model, image, "YX", None)
    layers.show_preview(asked, np.full(asked.shape, value, dtype=np.uint8), ())


def test_a_prediction_on_which_somebody_has_painted_is_left_and_a_new_one_added(model) -> None:
    image, layers = model.add_image(np.zeros((20, 30)), name="cells"), RunLayers(model)
    preview(model, layers, image, 1)
    painted = model.layers[-1]
    painted.data_setitem((np.array([3]), np.array([4])), 7)

    preview(model, layers, image, 2)
    preview(model, layers, image, 3)

    assert len(model.layers) == 3
    assert painted.data[3, 4] == 7
    assert painted.data[0, 0] == 1
    painted.undo()
    assert (painted.data == 1).all()
    assert (model.layers[-1].data == 3).all()


def test_undo_reaches_back_no_further_than_the_present_prediction(model) -> None:
    image, layers = model.add_image(np.zeros((20, 30))), RunLayers(model)
    preview(model, layers, image, 1)
    layer = model.layers[-1]
    layer.mode = "paint"
    layer.data_setitem((np.array([3]), np.array([4])), 7)
    layer.undo()

    preview(model, layers, image, 2)
    layer.undo()
    layer.redo()

    assert model.layers[-1] is layer
    assert (layer.data == 2).all()
    assert layer.mode == "paint"


def test_a_prediction_that_is_locked_is_left(model) -> None:
    image, layers = model.add_image(np.zeros((20, 30))), RunLayers(model)
    preview(model, layers, image, 1)
    model.layers[-1].editable = False

    preview(model, layers, image, 2)

    assert [int(one.data.max()) for one in model.layers[1:]] == [1, 2]
    assert not model.layers[1].editable


def test_a_prediction_covers_what_was_in_view_and_follows_the_view(model) -> None:
    image = model.add_image(np.zeros((20, 30)), scale=(2, 3), translate=(5, 7))
    layers = RunLayers(model)
    image.corner_pixels = np.array([[4, 6], [9, 15]])
    preview(model, layers, image, 1)
    layer = model.layers[-1]
    assert layer.data.shape == (6, 10)
    np.testing.assert_allclose(layer.data_to_world((0, 0)), image.data_to_world((4, 6)))

    image.corner_pixels = np.array([[0, 10], [19, 29]])
    preview(model, layers, image, 2)

    assert model.layers[-1] is layer
    assert layer.data.shape == (20, 20)
    np.testing.assert_allclose(layer.data_to_world((0, 0)), image.data_to_world((0, 10)))


def test_of_a_stack_the_prediction_lies_on_the_plane_that_was_shown(model) -> None:
    image, layers = model.add_image(np.zeros((5, 20, 30))), RunLayers(model)
    model.dims.set_point(0, 3)
    asked = in_view(model, image, "ZYX", None)

    layers.show_preview(asked, np.ones((20, 30), dtype=np.uint8), ())

    layer = model.layers[-1]
    assert layer.data.shape == (1, 20, 30)
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), (3, 0, 0))


def test_asking_for_a_prediction_on_a_lazy_image_reads_nothing_yet(model) -> None:
    image = model.add_image(np.zeros((3, 20, 30)))
    lazy = Lazy(np.arange(1800).reshape(3, 20, 30))
    image._data = lazy

    asked = in_view(model, image, "CYX", None)

    assert lazy.threads == []
    assert asked.read().shape == (20, 30, 3)


def test_too_much_in_view_is_refused_before_it_is_read(model, monkeypatch) -> None:
    monkeypatch.setattr(finetune_shown, "MOST_PREVIEWED", 599)
    image = model.add_image(np.zeros((20, 30)))

    with pytest.raises(ImageError, match=r"20 × 30 pixels are in view.*zoom in"):
        in_view(model, image, "YX", None)


def difference(value: int, name: str = "cells") -> Difference:
    """Return differences that are `value` everywhere."""
    return Difference(0, name, np.zeros((20, 30)), np.full((20, 30), value, dtype=np.uint8))


def test_differences_of_a_pair_are_one_layer_that_is_kept_up_to_date(model) -> None:
    image = model.add_image(np.zeros((20, 30)), name="cells", scale=(2, 3))
    labels = model.add_labels(np.zeros((20, 30), dtype=int), scale=(2, 3))
    pair, layers = LayerPair(model, image, labels), RunLayers(model)

    layers.show_differences([difference(1)], {0: pair})
    layers.show_differences([difference(2)], {0: pair})

    (shown,) = model.layers[2:]
    assert (shown.data == 2).all()
    np.testing.assert_array_equal(shown.scale, (2, 3))


def test_differences_on_which_somebody_has_painted_make_way_and_are_kept(model) -> None:
    layers = RunLayers(model)
    layers.show_differences([difference(1)], {})
    painted = model.layers[-1]
    painted.data_setitem((np.array([3]), np.array([4])), 7)

    layers.show_differences([difference(2)], {})

    names = [layer.name for layer in model.layers]
    assert names == ["cells", "cells · differences", "cells · differences [1]"]
    assert not painted.visible
    assert painted.data[3, 4] == 7


def test_an_image_that_a_run_has_kept_is_brought_once_and_lies_below_its_differences(model) -> None:
    layers = RunLayers(model)
    for _ in range(2):
        layers.show_differences([difference(1)], {})
    assert [layer.name for layer in model.layers] == ["cells", "cells · differences"]

    del model.layers["cells"]
    layers.show_differences([difference(1)], {})

    assert [layer.name for layer in model.layers] == ["cells", "cells · differences"]


def test_differences_of_a_part_of_an_image_lie_on_that_part(model) -> None:
    image = model.add_image(np.zeros((60, 90)), name="slide", scale=(2, 3))
    told = {"napari-rwkv-seg": {"layer": "slide", "axes": "YX"}}
    place = {"scale": (2, 3), "translate": (20, 60), "metadata": told}
    labels = model.add_labels(np.zeros((20, 30), dtype=int), **place)

    RunLayers(model).show_differences([difference(1)], {0: LayerPair(model, image, labels)})

    np.testing.assert_allclose(model.layers[-1].data_to_world((0, 0)), (20, 60))


SERIES = {
    "scale": (900, 0.65, 0.65),
    "translate": (0, -100, 40),
    "units": ("s", "um", "um"),
    "axis_labels": ("t", "y", "x"),
}
VOLUME = {
    "scale": (3, 0.5, 0.5),
    "affine": [[1, 0, 0, 5], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0], [0, 0, 0, 1]],
    "units": ("mm",) * 3,
    "axis_labels": ("z", "y", "x"),
}


def plane(number: int, place: int, value: int = 1) -> Difference:
    """Return differences in the first row of a plane, whose stack is open."""
    changes = np.zeros((20, 30), dtype=np.uint8)
    changes[0] = value
    return Difference(number, f"brain, plane {place}", None, changes, "brain 0123abcd")


@several_units
@pytest.mark.parametrize("where", [SERIES, VOLUME], ids=["series", "volume"])
def test_differences_in_planes_of_a_stack_are_one_layer_that_lies_on_its_labels(
    model, where
) -> None:
    image = model.add_image(np.zeros((5, 20, 30)), name="brain", **where)
    labels = model.add_labels(np.zeros((5, 20, 30), dtype=np.int32), **where)
    model.layers.selection = {labels}
    pair, layers = LayerPair(model, image, labels), RunLayers(model)

    told = layers.show_differences([plane(0, 1, 1), plane(1, 3, 2)], {0: pair, 1: pair})

    (shown,) = model.layers[2:]
    expected = np.zeros((5, 20, 30), dtype=np.uint8)
    expected[1, 0], expected[3, 0] = 1, 2
    np.testing.assert_array_equal(shown.data, expected)
    np.testing.assert_allclose(shown.extent.world, labels.extent.world)
    for name in ("scale", "translate", "rotate", "shear", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(shown, name), getattr(labels, name))
    np.testing.assert_array_equal(shown.affine.affine_matrix, labels.affine.affine_matrix)
    assert (told, shown.name) == ("", "brain · differences")
    assert model.layers.selection == {labels}

    layers.show_differences([plane(0, 2, 2)], {0: pair})

    assert model.layers[2:] == [shown]
    assert np.flatnonzero(shown.data.any(axis=(1, 2))).tolist() == [2]


def test_differences_leave_out_the_channels_that_labels_have_not(model) -> None:
    image = model.add_image(np.zeros((5, 2, 20, 30)), axis_labels=("z", "c", "y", "x"))
    labels = model.add_labels(np.zeros((5, 1, 20, 30), dtype=np.int32), scale=(1, 2, 1, 1))

    RunLayers(model).show_differences([plane(0, 3)], {0: LayerPair(model, image, labels)})

    assert model.layers[-1].data.shape == (5, 1, 20, 30)
    assert model.layers[-1].data[3, 0, 0].all()


def test_a_stack_is_known_by_its_number_or_by_the_group_that_a_resumed_run_has_kept(stack) -> None:
    assert _open_pairs([new_row(stack)], ["another", stack.key]) == {1: stack, stack.group: stack}
    assert _open_pairs([new_row(stack)], ()) == {stack.group: stack}


def test_differences_of_labels_that_have_changed_since_are_said_not_to_be_shown(
    model, stack
) -> None:
    before = list(model.layers)
    layers = RunLayers(model)

    told = layers.show_differences([plane(0, 1), plane(1, 5)], {0: stack, 1: stack})
    assert "The differences of 'brain' are not shown: its labels are not as they were" in told

    model.layers.remove(stack.labels)
    assert layers.show_differences([plane(0, 1)], {0: stack}) == told
    assert model.layers == [layer for layer in before if layer in model.layers]


def test_differences_of_labels_that_are_too_large_are_said_not_to_be_shown(
    model, stack, monkeypatch
) -> None:
    monkeypatch.setattr(finetune_shown, "MOST_COMPARED", 2999)

    told = RunLayers(model).show_differences([plane(0, 1)], {0: stack})

    assert "'brain' are not shown: its labels are too large" in told
    assert len(model.layers) == 3


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (("brain, plane {}", "brain, plane {}"), "brain 0123abcd"),
        (("brain.tif {}", "brain.tif {}"), "brain.tif"),
    ],
    ids=["of layers", "of files"],
)
def test_planes_of_a_closed_stack_lie_at_their_numbers_and_cover_no_other(
    model, names, group
) -> None:
    painted = model.add_labels(np.zeros((5, 20, 30), dtype=np.int32))
    model.layers.selection = {painted}
    changes = np.ones((20, 30), dtype=np.uint8)
    found = [
        Difference(number, name.format(place), np.full((20, 30), place), changes, group)
        for number, (name, place) in enumerate(zip(names, (1, 3), strict=True))
    ]

    RunLayers(model).show_differences(found, {})

    assert [type(layer).__name__ for layer in model.layers[1:]] == ["Image", "Labels"] * 2
    corners = [layer.data_to_world((0, 0, 0)) for layer in model.layers[1:]]
    np.testing.assert_array_equal(corners, [(1, 0, 0)] * 2 + [(3, 0, 0)] * 2)
    assert {layer.data.shape for layer in model.layers[1:]} == {(1, 20, 30)}
    assert model.layers.selection == {painted}


def test_an_image_that_a_run_has_kept_leaves_the_selection(model) -> None:
    painted = model.add_labels(np.zeros((20, 30), dtype=np.int32))

    RunLayers(model).show_differences([difference(1)], {})

    assert model.layers.selection == {painted}
