"""A result lies exactly over its image, without a window."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.widgets.placement import place
from napari_rwkv_seg.widgets.regions import Region

AXES = {2: "YX", 3: "ZYX", 4: "TZYX"}
MOVED = {
    "scale": (0.5, 2.0, 3.0),
    "translate": (10.0, -4.0, 7.0),
    "rotate": np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]),
    "shear": (0.0, 0.0, 0.3),
    "affine": np.array([[1, 0, 0, 3], [0, 0.9, 0.1, -2], [0, 0, 1.1, 5], [0, 0, 0, 1.0]]),
    "units": ("um", "mm", "mm"),
    "axis_labels": ("z", "y", "x"),
}


def whole(shape: tuple[int, ...]) -> Region:
    return Region(tuple(slice(0, length) for length in shape))


def laid(layer: Image, axes: str, level: int = 0, region: Region | None = None) -> Labels:
    """Return labels laid over `layer`."""
    shape = layer.data[level].shape if layer.multiscale else layer.data.shape
    where = place(layer, axes, level, region or whole(shape))
    return Labels(np.zeros(where.shape, dtype=int), **where.transform)


def test_i17_labels_have_every_spatial_property_of_the_image() -> None:
    layer = Image(np.zeros((5, 7, 11)), **MOVED)

    labels = laid(layer, "ZYX")

    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(getattr(labels, name), getattr(layer, name))
    np.testing.assert_allclose(labels.affine.affine_matrix, layer.affine.affine_matrix)
    assert labels.units == layer.units
    assert labels.axis_labels == layer.axis_labels


def test_i17_a_pixel_of_labels_and_image_is_one_point_of_the_world() -> None:
    layer = Image(np.zeros((5, 7, 11)), **MOVED)

    labels = laid(layer, "ZYX")

    np.testing.assert_allclose(labels.data_to_world((2, 3, 4)), layer.data_to_world((2, 3, 4)))


def test_labels_of_an_rgb_image_have_no_colour_axis() -> None:
    layer = Image(np.zeros((7, 11, 3), dtype=np.uint8), rgb=True, scale=(2, 3))

    labels = laid(layer, "YXC")

    assert labels.data.shape == (7, 11)
    np.testing.assert_array_equal(labels.scale, (2, 3))


def test_a_leading_channel_axis_is_dropped_with_its_transform() -> None:
    layer = Image(np.zeros((5, 7, 11)), **MOVED)

    labels = laid(layer, "CYX")

    assert labels.data.shape == (7, 11)
    np.testing.assert_allclose(labels.scale, layer.scale[1:])
    np.testing.assert_allclose(labels.translate, layer.translate[1:])
    assert labels.units == layer.units[1:]
    assert labels.axis_labels == ("y", "x")


@pytest.mark.parametrize("axes", ["TCYX", "TYXC"])
def test_another_channel_axis_becomes_one_pixel_over_all_channels(axes) -> None:
    layer = Image(np.zeros((4, 5, 7, 11)), rgb=False, scale=(1, 2, 3, 4), translate=(0, 1, 2, 3))
    channel = axes.index("C")

    labels = laid(layer, axes)

    assert labels.data.shape[channel] == 1
    for index in (0, layer.data.shape[channel] - 1):
        point = [1, 1, 1, 1]
        point[channel] = index
        inside = labels.world_to_data(layer.data_to_world(point))
        assert -0.5 <= inside[channel] <= 0.5
        others = [axis for axis in range(4) if axis != channel]
        np.testing.assert_allclose(inside[others], 1)


@pytest.mark.parametrize("axes", ["TCYX", "TYXC"])
def test_stretched_labels_are_seen_at_every_channel(axes) -> None:
    model = ViewerModel()
    layer = model.add_image(np.zeros((4, 5, 7, 11)), rgb=False)
    where = place(layer, axes, 0, whole(layer.data.shape))
    labels = model.add_labels(np.ones(where.shape, dtype=int), **where.transform)
    channel = axes.index("C")

    for index in range(layer.data.shape[channel]):
        model.dims.set_point(channel, index)
        assert labels._slice.image.raw.size > 0
        assert not labels._slice.empty


def test_labels_of_a_lower_level_cover_the_same_world() -> None:
    layer = Image([np.zeros((64, 96)), np.zeros((32, 48))], multiscale=True, scale=(2, 3))

    labels = laid(layer, "YX", level=1)

    assert labels.data.shape == (32, 48)
    np.testing.assert_array_equal(labels.scale, (4, 6))


@pytest.mark.parametrize("scale", [(5, 1, 1), (-1, 1, 1)], ids=str)
def test_i18_anisotropic_and_mirrored_scales_are_kept(scale) -> None:
    layer = Image(np.zeros((3, 7, 11)), scale=scale)

    np.testing.assert_array_equal(laid(layer, "ZYX").scale, scale)


def test_i18_a_scale_that_is_no_number_is_refused() -> None:
    layer = Image(np.zeros((7, 11)), name="cells")
    layer.scale = (1, np.nan)

    with pytest.raises(ImageError, match=r"'cells'.*scale"):
        place(layer, "YX", 0, whole((7, 11)))


def test_i18_a_scale_of_zero_is_refused_by_napari_already() -> None:
    with pytest.raises(ValueError, match="scale"):
        Image(np.zeros((7, 11)), scale=(0, 1))


def test_filling_writes_only_the_region() -> None:
    layer = Image(np.zeros((3, 7, 11)))
    where = place(layer, "ZYX", 0, Region((slice(1, 2), slice(2, 4), slice(5, 9))))
    target = np.zeros((3, 7, 11), dtype=int)

    where.fill(target, np.ones((1, 2, 4), dtype=int))

    assert target.sum() == 8
    assert target[1, 2:4, 5:9].all()


@pytest.mark.parametrize("axes", ["ZYX", "CYX", "YXC"])
def test_filling_honours_the_mask_whatever_the_axes(axes) -> None:
    layer = Image(np.zeros((4, 4, 4)), rgb=False)
    mask = np.eye(4, dtype=bool)
    where = place(layer, axes, 0, Region((slice(0, 4),) * 3, mask))
    target = np.zeros(where.shape, dtype=int)

    where.fill(target, np.ones(where.shape, dtype=int))

    planes = np.moveaxis(target, -1, 0) if axes == "YXC" else target.reshape(-1, 4, 4)
    for plane in planes:
        np.testing.assert_array_equal(plane, mask)
