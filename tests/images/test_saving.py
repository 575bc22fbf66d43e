"""Labels are saved in the format that is asked for, with their place in the world."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_rwkv_seg.errors import ImageError, OutputError
from napari_rwkv_seg.images import (
    Geometry,
    ImageFile,
    LabelClass,
    levels,
    open_image,
    read_image,
    save_labels,
)


def labels(*shape, highest=9):
    made = np.random.default_rng(0).integers(0, highest + 1, shape)
    made.flat[0] = highest
    return made.astype(np.int32)


def source(axes="ZYX", **geometry):
    lengths = dict(zip("TZCYX", (2, 4, 3, 31, 47), strict=True))
    shape = tuple(lengths[letter] for letter in axes)
    place = Geometry(axes.replace("C", ""), **geometry)
    return ImageFile(np.zeros(shape, np.uint8), axes, place.pixel_size, "a.tif", place)


def test_labels_get_the_geometry_of_their_source(tmp_path):
    units = ("micrometer",) * 3
    image = source(spacing=(2.5, 0.5, 0.25), units=units, origin=(0.0, 0.0, 0.0))

    save_labels(tmp_path / "a.ome.tif", labels(4, 31, 47), image)

    again = read_image(tmp_path / "a.ome.tif")
    assert again.geometry == image.geometry
    assert again.is_labels
    np.testing.assert_array_equal(again.data, labels(4, 31, 47))


def test_what_ome_has_no_words_for_is_kept_too(tmp_path):
    affine = ((0.7, 0.1, 0, 3.5), (0, 0.7, 0, 1 / 3), (0, 0, 2.5, -7), (0, 0, 0, 1))
    image = source(
        spacing=(2.5, 0.7, 0.7),
        units=("millimeter",) * 3,
        origin=(0.0,) * 3,
        affine=affine,
        world="LPS",
    )

    save_labels(tmp_path / "a.ome.tif", labels(4, 31, 47), image, provenance={"model": "m"})

    assert read_image(tmp_path / "a.ome.tif").geometry == image.geometry
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert '"model": "m"' in file.ome_metadata.replace("&quot;", '"')


def test_labels_of_an_image_with_channels_have_the_other_axes(tmp_path):
    image = source(
        "TCYX", spacing=(1.0,) * 3, units=("second", "pixel", "pixel"), origin=(0.0,) * 3
    )

    save_labels(tmp_path / "a.ome.tif", labels(2, 31, 47), image)

    assert read_image(tmp_path / "a.ome.tif").axes == "TYX"


def test_an_image_made_by_hand_lends_its_pixel_size(tmp_path):
    image = ImageFile(np.zeros((31, 47)), "YX", (0.5, 0.25), tmp_path / "a.tif")

    save_labels(tmp_path / "b.tif", labels(31, 47), image)

    assert read_image(tmp_path / "b.tif").pixel_size == (0.5, 0.25)


@pytest.mark.parametrize("highest", [9, 255, 256, 65_535])
def test_a_png_comes_back_as_labels(tmp_path, highest):
    save_labels(tmp_path / "a.png", labels(31, 47, highest=highest))

    again = read_image(tmp_path / "a.png")
    assert again.is_labels
    np.testing.assert_array_equal(again.data, labels(31, 47, highest=highest))


def test_a_png_of_classes_shows_their_colours_and_keeps_their_numbers(tmp_path):
    classes = [LabelClass("background", "#000000"), LabelClass("nucleus", "#ff8000")]
    made = labels(31, 47, highest=1)

    save_labels(tmp_path / "a.png", made, classes=classes)

    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        assert tuple(np.array(picture.convert("RGB"))[made == 1][0]) == (255, 128, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, made)


def test_l15_more_objects_than_a_png_holds_are_refused_with_what_to_use(tmp_path):
    with pytest.raises(OutputError, match=r"a\.png.*65536.*OME-TIFF"):
        save_labels(tmp_path / "a.png", labels(31, 47, highest=65_536))
    assert list(tmp_path.iterdir()) == []


def test_a_stack_is_refused_as_png_with_what_to_use(tmp_path):
    with pytest.raises(OutputError, match=r"one plane.*OME-TIFF"):
        save_labels(tmp_path / "a.png", labels(4, 31, 47))


def test_a_png_tells_how_its_labels_were_made(tmp_path):
    save_labels(tmp_path / "a.png", labels(31, 47), provenance={"model": "m"})

    with Image.open(tmp_path / "a.png") as picture:
        assert json.loads(picture.info["Comment"]) == {"model": "m"}


def test_a_name_that_says_no_format_lists_those_that_there_are(tmp_path):
    with pytest.raises(OutputError, match=r"a\.xyz.*\.ome\.tif.*png"):
        save_labels(tmp_path / "a.xyz", labels(31, 47))


def test_a_format_can_be_chosen_whatever_the_name(tmp_path):
    save_labels(tmp_path / "a.labels", labels(31, 47), format="png")

    assert (tmp_path / "a.labels").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["a.ome.tif", "a.png"])
def test_numbers_below_zero_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="whole numbers"):
        save_labels(tmp_path / name, -labels(31, 47))


def test_axes_that_do_not_fit_the_labels_are_refused(tmp_path):
    with pytest.raises(ImageError, match="has 2 axes"):
        save_labels(tmp_path / "a.tif", labels(31, 47), axes="ZYX")


@pytest.mark.parametrize("shape", [(1, 31, 47), (4, 1, 31, 47), (1, 1, 31, 47)], ids=str)
def test_an_axis_of_length_one_comes_back(tmp_path, shape):
    save_labels(tmp_path / "a.ome.tif", labels(*shape))

    again = read_image(tmp_path / "a.ome.tif")
    assert (again.data.shape, len(again.axes)) == (shape, len(shape))
    assert levels(tmp_path / "a.ome.tif")[0].shape == shape
    assert open_image(tmp_path / "a.ome.tif").data.shape == shape
