"""Which part of an image is run, without a window."""

import dask.array as da
import numpy as np
import pytest
from napari.components import Dims, ViewerModel

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.widgets.regions import find_region, level_data, pixel_reader
from napari_rwkv_seg.widgets.streamed_layers import _view_box as streamed_view

several_units = pytest.mark.skipif(
    not hasattr(Dims(), "units"), reason="napari before 0.9 does not convert units"
)


@pytest.fixture
def model() -> ViewerModel:
    """Return a viewer without a window."""
    return ViewerModel()


def spans(region) -> list[list[int]]:
    return region.spans()


def test_the_whole_layer_is_all_of_it(model) -> None:
    layer = model.add_image(np.zeros((3, 37, 53)))

    assert spans(find_region(model, layer, "whole layer", "ZYX", 0)) == [[0, 3], [0, 37], [0, 53]]


def test_the_current_slice_is_the_one_that_is_shown(model) -> None:
    layer = model.add_image(np.zeros((5, 37, 53)), scale=(2, 1, 1), translate=(10, 0, 0))
    model.dims.set_point(0, 10 + 2 * 3)

    assert spans(find_region(model, layer, "current slice", "ZYX", 0)) == [
        *([3, 4], [0, 37], [0, 53])
    ]


def test_the_current_slice_keeps_all_channels(model) -> None:
    layer = model.add_image(np.zeros((4, 3, 37, 53)))
    model.dims.set_point(0, 2)

    region = find_region(model, layer, "current slice", "TCYX", 0)

    assert spans(region) == [[2, 3], [0, 3], [0, 37], [0, 53]]


def test_the_current_slice_of_rgb_keeps_the_colours(model) -> None:
    layer = model.add_image(np.zeros((4, 37, 53, 3), dtype=np.uint8), rgb=True)
    model.dims.set_point(0, 1)

    region = find_region(model, layer, "current slice", "ZYXC", 0)

    assert spans(region) == [[1, 2], [0, 37], [0, 53], [0, 3]]


def test_c12_the_slice_is_that_of_the_data_even_if_the_axes_are_rolled(model) -> None:
    layer = model.add_image(np.zeros((5, 37, 53)))
    model.dims.order = (2, 0, 1)
    model.dims.set_point(0, 4)

    assert spans(find_region(model, layer, "current slice", "ZYX", 0))[0] == [4, 5]


def test_the_view_before_anything_is_drawn_is_the_whole_slice(model) -> None:
    layer = model.add_image(np.zeros((37, 53)))

    assert spans(find_region(model, layer, "current view", "YX", 0)) == [[0, 37], [0, 53]]


def test_the_view_is_what_the_canvas_shows(model) -> None:
    layer = model.add_image(np.zeros((37, 53)))
    layer.corner_pixels = np.array([[4, 7], [19, 30]])

    assert spans(find_region(model, layer, "current view", "YX", 0)) == [[4, 20], [7, 31]]


def test_c12_the_view_in_three_dimensions_is_refused_with_advice(model) -> None:
    layer = model.add_image(np.zeros((5, 37, 53)))
    model.dims.ndisplay = 3

    with pytest.raises(ImageError, match="3D"):
        find_region(model, layer, "current view", "ZYX", 0)


def test_c12_the_view_of_other_axes_than_y_and_x_is_refused(model) -> None:
    layer = model.add_image(np.zeros((5, 37, 53)))
    model.dims.order = (1, 0, 2)

    with pytest.raises(ImageError, match="roll the axes"):
        find_region(model, layer, "current view", "ZYX", 0)


def test_selected_shapes_give_a_box_and_a_mask(model) -> None:
    layer = model.add_image(np.zeros((37, 53)))
    shapes = model.add_shapes([[[5, 6], [5, 14], [11, 14], [11, 6]]], shape_type="rectangle")
    shapes.selected_data = {0}

    region = find_region(model, layer, "selected shapes", "YX", 0)

    assert spans(region) == [[5, 12], [6, 15]]
    assert region.mask.all()


def test_an_ellipse_leaves_out_the_corners_of_its_box(model) -> None:
    layer = model.add_image(np.zeros((37, 53)))
    shapes = model.add_shapes([[[5, 6], [5, 26], [25, 26], [25, 6]]], shape_type="ellipse")
    shapes.selected_data = {0}

    mask = find_region(model, layer, "selected shapes", "YX", 0).mask

    assert not mask[0, 0]
    assert mask[10, 10]
    assert mask.mean() == pytest.approx(np.pi / 4, abs=0.1)


def test_shapes_are_taken_in_the_pixels_of_the_image_whatever_the_scales(model) -> None:
    layer = model.add_image(np.zeros((37, 53)), scale=(0.5, 2), translate=(100, -3))
    corners = [layer.data_to_world(one) for one in ([5, 6], [5, 14], [11, 14], [11, 6])]
    shapes = model.add_shapes([np.array(corners) / 4], shape_type="polygon", scale=(4, 4))
    shapes.selected_data = {0}

    assert spans(find_region(model, layer, "selected shapes", "YX", 0)) == [[5, 12], [6, 15]]


def test_only_selected_shapes_count(model) -> None:
    layer = model.add_image(np.zeros((37, 53)))
    shapes = model.add_shapes(
        [[[5, 6], [5, 14], [11, 14], [11, 6]], [[20, 20], [20, 30], [30, 30], [30, 20]]]
    )
    shapes.selected_data = {1}

    assert spans(find_region(model, layer, "selected shapes", "YX", 0)) == [[20, 31], [20, 31]]


@pytest.mark.parametrize(
    ("kind", "corners", "named"),
    [
        ("line", [[5, 6], [11, 14]], "no area"),
        ("rectangle", [[500, 600], [500, 614], [511, 614], [511, 600]], "outside the image"),
    ],
)
def test_shapes_that_say_nothing_are_refused(model, kind, corners, named) -> None:
    layer = model.add_image(np.zeros((37, 53)))
    shapes = model.add_shapes([corners], shape_type=kind)
    shapes.selected_data = {0}

    with pytest.raises(ImageError, match=named):
        find_region(model, layer, "selected shapes", "YX", 0)


def test_no_selected_shape_is_refused_with_advice(model) -> None:
    layer = model.add_image(np.zeros((37, 53)))
    model.add_shapes([[[5, 6], [5, 14], [11, 14], [11, 6]]]).selected_data = set()

    with pytest.raises(ImageError, match="select it"):
        find_region(model, layer, "selected shapes", "YX", 0)


def test_a_region_of_a_lower_level_is_in_pixels_of_that_level(model) -> None:
    levels = [np.zeros((5, 64, 96)), np.zeros((5, 32, 48))]
    layer = model.add_image(levels, multiscale=True)
    model.dims.set_point(0, 3)

    region = find_region(model, layer, "current slice", "ZYX", 1)

    assert spans(region) == [[3, 4], [0, 32], [0, 48]]
    assert level_data(layer, 1).shape == (5, 32, 48)


def test_finding_a_region_of_a_lazy_image_reads_nothing(model) -> None:
    def read(block: np.ndarray) -> np.ndarray:
        raise OSError("nothing may be read")

    lazy = da.zeros((4, 37, 53), chunks=(1, 37, 53)).map_blocks(
        read, dtype=float, meta=np.zeros(())
    )
    layer = model.add_image(np.zeros((4, 37, 53)))
    model.dims.set_point(0, 2)
    layer._data = lazy

    assert spans(find_region(model, layer, "current slice", "ZYX", 0))[0] == [2, 3]


@several_units
def test_the_current_slice_is_right_beside_a_layer_with_a_smaller_unit(model) -> None:
    layer = model.add_image(np.zeros((5, 37, 53)), units=("mm",) * 3)
    model.add_image(np.zeros((3, 4, 5)), units=("um",) * 3)
    model.dims.set_point(0, 2000)

    assert spans(find_region(model, layer, "current slice", "ZYX", 0))[0] == [2, 3]


@several_units
def test_shapes_of_another_unit_lie_where_they_are_shown(model) -> None:
    layer = model.add_image(np.zeros((37, 53)), units=("mm", "mm"))
    corners = 1000 * np.array([[5, 6], [5, 14], [11, 14], [11, 6]])
    model.add_shapes([corners], units=("um", "um")).selected_data = {0}

    assert spans(find_region(model, layer, "selected shapes", "YX", 0)) == [[5, 12], [6, 15]]


@several_units
def test_the_view_is_refused_if_napari_cannot_tell_it_because_of_units(model) -> None:
    layer = model.add_image(np.zeros((37, 53)), name="brain", units=("mm", "mm"))
    other = model.add_image(np.zeros((37, 53)), units=("um", "um"))

    with pytest.raises(ImageError, match=r"in view of 'brain' .* same unit"):
        find_region(model, layer, "current view", "YX", 0)
    assert spans(find_region(model, other, "current view", "YX", 0)) == [[0, 37], [0, 53]]


@several_units
def test_a_copy_of_streamed_labels_is_of_the_plane_that_is_shown_whatever_its_unit(model) -> None:
    labels = model.add_labels(np.zeros((5, 37, 53), dtype=int), units=("mm", "um", "um"))
    model.add_image(np.zeros((3, 4, 5)), units=("um",) * 3)
    model.dims.set_point(0, 3000)

    assert streamed_view(model, labels) == (slice(3, 4), slice(0, 37), slice(0, 53))


def test_a_mapped_file_is_read_where_a_run_needs_it_and_not_before(tmp_path) -> None:
    np.save(tmp_path / "slide.npy", np.arange(20).reshape(4, 5))
    mapped = np.load(tmp_path / "slide.npy", mmap_mode="r")

    pixels = pixel_reader(mapped, (slice(1, 3), slice(0, 5)))()

    assert np.shares_memory(pixels, mapped)
    np.testing.assert_array_equal(pixels, np.arange(20).reshape(4, 5)[1:3])
