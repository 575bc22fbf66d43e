import numpy as np
import pytest

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.axes import (
    AXES_CHOICES,
    check_axes,
    describe_axes,
    guess_axes,
    plane_shape,
    planes,
    stack_shape,
)


@pytest.mark.parametrize(
    ("shape", "rgb", "axes"),
    [
        ((50, 60), None, "YX"),
        ((50, 60, 3), None, "YXC"),
        ((50, 60, 4), None, "YXC"),
        ((50, 60, 3), True, "YXC"),
        ((50, 60, 3), False, "ZYX"),
        ((9, 50, 60), None, "ZYX"),
        ((1, 50, 60), None, "ZYX"),
        ((50, 60, 1), None, "YXC"),
        ((50, 60, 1), False, "ZYX"),
        ((50, 60, 2), False, "ZYX"),
        ((10, 50, 60, 1), None, "ZYXC"),
        ((8, 9, 50, 60, 1), None, "TZYXC"),
        ((9, 50, 60, 3), None, "ZYXC"),
        ((8, 9, 50, 60), None, "TZYX"),
        ((8, 9, 50, 60, 3), True, "TZYXC"),
        ((8, 1, 3, 50, 60), None, "TCZYX"),
        ((8, 3, 1, 50, 60), None, "TZCYX"),
    ],
    ids=lambda value: f"I11-{value}",
)
def test_axes_that_can_be_known_are_guessed(shape, rgb, axes):
    assert guess_axes(shape, rgb=rgb) == axes


@pytest.mark.parametrize(
    "shape",
    [(2, 50, 60), (3, 50, 60), (7, 50, 60), (9, 3, 50, 60), (4, 5, 6, 50, 60)],
    ids=lambda shape: f"I10-{shape}",
)
def test_a_few_leading_planes_are_asked_about(shape):
    with pytest.raises(ImageError, match=r"State its axes, one of: .*C"):
        guess_axes(shape)


@pytest.mark.parametrize(
    "shape", [(50, 60, 2), (50, 60, 5), (50, 60, 6), (50, 60, 7), (10, 50, 60, 2)], ids=str
)
def test_a_few_entries_along_the_last_axis_are_asked_about(shape):
    with pytest.raises(ImageError, match=r"State its axes, one of: .*YXC"):
        guess_axes(shape)


@pytest.mark.parametrize(
    ("labels", "axes"),
    [(("c", "y", "x"), "CYX"), (("t", "y", "x"), "TYX"), ((" Z", "Y", "X"), "ZYX")],
    ids=str,
)
def test_axis_labels_settle_what_is_ambiguous(labels, axes):
    assert guess_axes((3, 50, 60), labels=labels) == axes


def test_labels_without_the_colour_axis_are_understood():
    assert guess_axes((9, 50, 60, 3), rgb=True, labels=("t", "y", "x")) == "TYXC"


def test_labels_in_other_words_are_not_trusted():
    assert guess_axes((9, 50, 60), labels=("axis -3", "axis -2", "axis -1")) == "ZYX"


@pytest.mark.parametrize(
    "shape", [(0, 10), (10, 0), (3, 0, 5), (0,)], ids=lambda shape: f"I01-{shape}"
)
def test_an_empty_image_is_refused(shape):
    with pytest.raises(ImageError, match="The image is empty"):
        guess_axes(shape)


def test_an_empty_image_is_refused_with_stated_axes():  # I01
    with pytest.raises(ImageError, match="The image is empty"):
        check_axes((3, 0, 5), "ZYX")


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 5, 60, 70)], ids=str)
def test_too_few_or_too_many_axes_are_refused(shape):
    with pytest.raises(ImageError, match="2 to 5 can be used"):
        guess_axes(shape)


@pytest.mark.parametrize("axes", ["ZY", "ZYXC", ""], ids=str)
def test_a_wrong_number_of_letters_names_both_numbers(axes):
    with pytest.raises(ImageError, match=f"has 3 axes .* names {len(axes)}"):
        check_axes((9, 50, 60), axes)


@pytest.mark.parametrize("axes", ["YXZ", "XYZ", "ZZY", "QYX", "CZY", "Y X"], ids=str)
def test_letters_that_are_not_understood_are_refused_with_examples(axes):
    with pytest.raises(ImageError, match="'TCYX'"):
        check_axes((9, 50, 60), axes)


def test_small_letters_are_understood():
    assert check_axes((9, 50, 60), "zyx") == "ZYX"


@pytest.mark.parametrize("axes", AXES_CHOICES)
def test_every_choice_is_accepted(axes):
    assert check_axes(range(10, 10 + len(axes)), axes) == axes


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        ((50, 60), "YX", "50 × 60: one plane, grey."),
        ((50, 60, 3), "YXC", "50 × 60 × 3: one plane, 3 channels."),
        (
            (3, 50, 60),
            "ZYX",
            "3 × 50 × 60: a stack of 3 planes along Z (depth), grey, "
            "each plane segmented on its own.",
        ),
        (
            (2, 3, 50, 60),
            "TZYX",
            "2 × 3 × 50 × 60: a stack of 6 planes along T (time) and Z (depth), grey, "
            "each plane segmented on its own.",
        ),
    ],
    ids=["YX", "YXC", "ZYX", "TZYX"],
)
def test_the_axes_are_described_in_a_sentence(shape, axes, sentence):
    assert describe_axes(shape, axes) == sentence


@pytest.mark.parametrize("axes", AXES_CHOICES)
def test_planes_cover_the_image_in_its_order(axes):
    lengths = {"T": 2, "Z": 3, "C": 4, "Y": 5, "X": 7}
    shape = tuple(lengths[letter] for letter in axes)
    image = np.arange(np.prod(shape)).reshape(shape)
    last = np.moveaxis(image, axes.index("C"), -1) if "C" in axes else image[..., None]

    found = list(planes(image, axes))

    assert [index for index, _ in found] == list(np.ndindex(*stack_shape(shape, axes)))
    for index, plane in found:
        assert plane.shape[:2] == plane_shape(shape, axes)
        np.testing.assert_array_equal(plane, last[index])


def test_planes_keep_their_mask():
    image = np.ma.array(np.zeros((9, 5, 7)), mask=np.eye(5, 7) > np.zeros((9, 1, 1)))

    for _, plane in planes(image, "ZYX"):
        np.testing.assert_array_equal(np.ma.getmask(plane)[..., 0], np.eye(5, 7) > 0)


@pytest.mark.parametrize(
    ("shape", "labels", "axes"),
    [
        ((3, 20, 30), ("time", "y", "x"), "TYX"),
        ((3, 20, 30), ("Channel", "row", "column"), "CYX"),
        ((2, 3, 20, 30), ("frame", "depth", "height", "width"), "TZYX"),
        ((20, 30, 3), ("Y", "X", "S"), "YXC"),
    ],
)
def test_words_for_axes_are_understood(shape, labels, axes):
    assert guess_axes(shape, labels=labels) == axes


def test_a_name_that_is_not_known_leaves_the_guess_to_the_shape():
    assert guess_axes((20, 30), labels=("apples", "pears")) == "YX"
