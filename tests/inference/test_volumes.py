"""Volumes across one axis or all three, with square pixels from the side."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.inference.segment import relabel, segment, segment_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.inference.volumes import resampled


class MeanNetwork(nn.Module):
    """Says how bright the plane is, everywhere the same; notes the planes' sizes."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[-2:]))
        bright = images[:, :1].mean((-2, -1), keepdim=True).expand_as(images[:, :1])
        return torch.cat([-bright, bright], dim=1)


def volume(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def sigmoid(bright):
    return 1 / (1 + np.exp(-2 * bright))


def test_three_directions_are_the_mean_of_each_plane_seen_three_times(make_model):
    image = volume(4, 5, 6)

    result = segment(image, make_model(MeanNetwork()), axes="ZYX", directions="ZYX")

    means = [image.mean((1, 2), keepdims=True), image.mean((0, 2), keepdims=True)]
    means.append(image.mean((0, 1), keepdims=True))
    want = sum(sigmoid(mean) for mean in means) / 3 * np.ones_like(image)
    np.testing.assert_allclose(result.probabilities[1], want, atol=1e-5)
    np.testing.assert_allclose(result.probabilities.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(("direction", "axis"), [("Y", 1), ("X", 2)])
def test_one_direction_sees_the_planes_across_it(direction, axis, make_model):
    image = volume(4, 5, 6)

    result = segment(image, make_model(MeanNetwork()), axes="ZYX", directions=direction)

    others = tuple({0, 1, 2} - {axis})
    want = sigmoid(image.mean(others, keepdims=True)) * np.ones_like(image)
    np.testing.assert_allclose(result.probabilities[1], want, atol=1e-5)


def test_planes_from_the_side_get_square_pixels(make_model):
    network = MeanNetwork()

    result = segment(
        volume(4, 5, 6), make_model(network), axes="ZYX", directions="ZYX", spacing=(3.0, 1.0, 1.0)
    )

    assert set(network.sizes) == {(5, 6), (12, 6), (12, 5)}
    assert result.probabilities.shape == (2, 4, 5, 6)
    assert result.provenance["spacing"] == [3.0, 1.0, 1.0]


def test_a_network_of_single_pixels_says_the_same_from_every_side(pixel_model):
    image = volume(3, 20, 30)
    steps = volume(2, 3, 9, 8, 3)

    across = segment(image, pixel_model, axes="ZYX")
    three = segment(image, pixel_model, axes="ZYX", directions="ZYX")
    np.testing.assert_allclose(three.probabilities, across.probabilities, atol=1e-5)

    across = segment(steps, pixel_model, axes="TZYXC")
    three = segment(steps, pixel_model, axes="TZYXC", directions="ZYX")
    np.testing.assert_allclose(three.probabilities, across.probabilities, atol=1e-5)


def test_the_distance_of_planes_is_asked_for_in_a_note(pixel_model):
    result = segment(volume(3, 8, 9), pixel_model, axes="ZYX", directions="ZYX")

    assert "The distance of planes is not known; it was taken as that of pixels." in result.notes


def test_planes_of_long_pixels_are_told_of_with_those_that_are_finer(pixel_model):
    def notes(directions, spacing, axes="ZYX"):
        image = volume(3, 8, 9)
        run = segment(image, pixel_model, axes=axes, directions=directions, spacing=spacing)
        return [note for note in run.notes if "finer" in note]

    sagittal = (0.7, 0.7, 5.0)
    assert notes("Z", sagittal) == [
        "Planes across Z have pixels of 0.7 × 5 by the volume's spacing; planes across X are finer "
        "(Planes, or --directions X)."
    ]
    assert len(notes("Y", sagittal)) == 1
    assert notes("X", sagittal) == notes("ZYX", sagittal) == notes("Z", None) == []
    assert notes("Z", (5.0, 0.7, 0.7)) == notes("Z", (1.0, 2.0, 1.0)) == []
    assert notes("Z", sagittal, "CYX") == []


def test_images_without_depth_are_run_as_they_are(pixel_model):
    image = volume(8, 9)

    want = segment(image, pixel_model, axes="YX").probabilities
    got = segment(image, pixel_model, axes="YX", directions="ZYX").probabilities

    np.testing.assert_array_equal(got, want)


def test_steps_say_which_direction_they_are_of(pixel_model, drain):
    steps = segment_steps(volume(3, 8, 9), pixel_model, axes="ZYX", directions="ZYX")

    news, _ = drain(steps)

    assert any("planes across X, 3 of 3" in one.note for one in news)


def test_resampling_keeps_ends_and_means():
    ramp = np.arange(4, dtype=np.float32)[:, None] * np.ones((1, 2), dtype=np.float32)

    finer = resampled(ramp, 12)

    assert finer.shape == (12, 2)
    assert finer[0, 0] == 0
    assert finer[-1, 0] == 3
    np.testing.assert_allclose(finer.mean(), ramp.mean(), atol=1e-6)
    np.testing.assert_allclose(resampled(finer, 4)[1:-1], ramp[1:-1], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"directions": "YX"}, {"directions": "Z", "spacing": (1, 0, 1)}])
def test_what_is_no_direction_or_spacing_is_refused(wrong, pixel_model):
    with pytest.raises(SettingsError):
        segment(volume(3, 8, 9), pixel_model, axes="ZYX", **wrong)


def test_linking_is_a_setting_of_labels(pixel_model):
    image = np.zeros((3, 20, 20), dtype=np.float32)
    image[:, 4:12, 4:12] = 1
    image[1:, 4:12, 14:19] = 1
    apart = LabelSettings(output="objects", split=False)
    linked = LabelSettings(output="objects", split=False, link="Z")

    assert segment(image, pixel_model, axes="ZYX", settings=apart).labels.max() == 5
    labels = segment(image, pixel_model, axes="ZYX", settings=linked).labels
    assert labels.max() == 2
    assert set(labels[:, 5, 5]) == {1}
    assert list(labels[:, 5, 15]) == [0, 2, 2]


def test_a_stack_without_the_axis_to_link_along_says_so_until_it_is_linked(pixel_model):
    image = np.zeros((3, 20, 20), dtype=np.float32)
    image[:, 4:12, 4:12] = 1
    along_time, along_z = (
        LabelSettings(output="objects", split=False, link=axis) for axis in ("T", "Z")
    )

    result = segment(image, pixel_model, axes="ZYX", settings=along_time)
    assert "not linked along T: the image was read as ZYX" in result.notes[-1]
    linked = relabel(result, along_z)
    assert linked.notes == result.notes[:-1]
    assert relabel(linked, along_time).notes == result.notes
    assert segment(image[0], pixel_model, axes="YX", settings=along_time).notes == linked.notes
