"""What the dock offers for volumes and series: directions, and objects linked through planes."""

import numpy as np
import pytest


@pytest.fixture
def stack():
    pixels = np.zeros((4, 30, 40), dtype=np.uint8)
    pixels[:, 5:15, 6:18] = 250
    pixels[2:, 18:26, 25:37] = 250
    return pixels


def test_directions_are_offered_for_whole_volumes_only(dock, viewer, image, stack):
    viewer.add_image(image, name="flat")
    assert not dock.image.directions.isVisibleTo(dock.image)
    dock._link.choice.choose(viewer.add_image(stack, name="deep"))
    dock._controller.choose(axes="ZYX")
    assert dock.image.directions.isVisibleTo(dock.image)

    dock._controller.choose(scope="current slice")

    assert not dock.image.directions.isVisibleTo(dock.image)


def test_planes_across_z_are_run_with_the_layers_spacing_too(dock, viewer, stack, segment):
    viewer.add_image(stack, scale=(0.7, 5, 0.7))
    dock._controller.choose(axes="ZYX")
    segment(dock)
    settings = dock._controller.kept.job.settings
    assert (settings.directions, settings.spacing) == ("Z", (0.7, 5, 0.7))


def test_three_directions_are_run_with_the_layers_spacing(dock, viewer, stack, segment):
    viewer.add_image(stack, scale=(3, 0.5, 0.5))
    dock._controller.choose(axes="ZYX")
    dock.image.directions.setCurrentIndex(3)
    dock.image.directions.activated.emit(3)

    segment(dock)

    settings = dock._controller.kept.job.settings
    assert settings.directions == "ZYX"
    assert settings.spacing == (3, 0.5, 0.5)


def test_a_part_of_a_volume_is_seen_across_z(dock, viewer, stack, segment):
    viewer.add_image(stack)
    dock._controller.choose(axes="ZYX", directions="Y", scope="current slice")

    segment(dock)

    assert dock._controller.kept.job.settings.directions == "Z"


def test_a_run_of_a_part_leaves_the_planes_of_the_whole_as_they_were_chosen(
    dock, viewer, stack, segment
):
    viewer.add_image(stack)
    dock._controller.choose(axes="ZYX", directions="Y", scope="current slice")

    segment(dock)

    assert dock._controller.settings.directions == "Y"


def test_planes_from_the_side_are_not_taken_of_what_is_no_volume_any_more(
    dock, viewer, stack, segment
):
    viewer.add_image(stack)
    dock._controller.choose(axes="ZYX", directions="Y")
    dock._controller.choose(axes="TYX", stream="always")
    assert "streamed" in dock._link.forecast()
    dock._controller.choose(stream="never")

    segment(dock)

    assert dock._controller.kept.job.settings.directions == "Z"


def test_objects_are_linked_at_once_and_let_go_again(dock, viewer, stack, segment, until, idle):
    viewer.add_image(stack)
    dock._controller.choose(axes="ZYX", output="objects", smallest_object=0)
    labels = segment(dock)
    assert labels.data.max() == 6

    index = dock.labels.link.findData("Z")
    dock.labels.link.setCurrentIndex(index)
    dock.labels.link.activated.emit(index)
    idle(dock)

    assert labels.data.max() == 2
    assert dock.labels.overlap.isVisibleTo(dock.labels)
    dock._controller.choose(link="")
    idle(dock)
    assert labels.data.max() == 6


def test_linking_is_offered_for_stacks_of_objects_only(dock, viewer, image):
    viewer.add_image(image)
    dock._controller.choose(output="objects")

    assert not dock.labels.link.isVisibleTo(dock.labels)


def test_the_sentence_says_which_level_is_run_and_how_large_its_pixels_are(dock, viewer, image):
    levels = [np.kron(image, np.ones((2, 2), dtype=np.uint8)), image]
    layer = viewer.add_image(levels, multiscale=True, scale=(0.5, 0.25))
    layer.units = ("um", "um")
    dock._controller.choose(level=1)

    sentence = dock._link.choice.facts().sentence

    assert "Level 1 of 0 to 1 is run: one of its pixels is 1 × 0.5 micrometer." in sentence


def test_labels_of_a_coarse_level_lie_exactly_upon_the_image(dock, viewer, image, segment):
    levels = [np.kron(image, np.ones((4, 4), dtype=np.uint8)), image]
    layer = viewer.add_image(levels, multiscale=True, scale=(0.5, 0.5), translate=(10, 20))
    dock._controller.choose(level=1)

    labels = segment(dock)

    corner = labels.data_to_world((4.5, 5.5))  # between background and the square at 5, 6
    np.testing.assert_allclose(layer.world_to_data(corner), (19.5, 23.5))


@pytest.mark.parametrize("stated", ["TYX", ["time", "y", "x"]])
def test_axes_that_a_file_states_are_taken(stated, dock, viewer):
    viewer.add_image(np.zeros((5, 20, 30)), metadata={"axes": stated})

    assert dock._controller.settings.axes == "TYX"


def test_axes_that_do_not_fit_the_array_are_not_taken(dock, viewer):
    viewer.add_image(np.zeros((50, 20, 30)), metadata={"axes": "YX"})

    assert dock._controller.settings.axes == "ZYX"
