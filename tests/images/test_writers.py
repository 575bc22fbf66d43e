import json

import numpy as np
import pytest
import tifffile

from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.images.readers import open_image, read_image
from napari_rwkv_seg.images.writers import write_labels, write_overlay


def labels(*shape, highest=9):
    made = np.random.default_rng(0).integers(0, highest + 1, shape)
    made.flat[0] = highest
    return made.astype(np.int32)


@pytest.mark.parametrize(
    ("highest", "dtype"), [(1, "u1"), (255, "u1"), (256, "u2"), (65_536, "u4")], ids=str
)
def test_labels_come_back_in_the_smallest_dtype(tmp_path, highest, dtype):
    made = labels(31, 47, highest=highest)

    write_labels(tmp_path / "a.tif", made)

    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, made)
    assert image.data.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("shape", "axes"), [((31, 47), "YX"), ((9, 31, 47), "TYX"), ((2, 9, 31, 47), "TZYX")], ids=str
)
def test_axes_and_pixel_size_are_kept(tmp_path, shape, axes):
    write_labels(tmp_path / "a.tif", labels(*shape), (0.5, 0.25), axes=axes)

    image = read_image(tmp_path / "a.tif")
    assert image.axes == axes
    assert image.pixel_size == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize("shape", [(9, 31, 3), (3, 31, 4), (2, 9, 31, 3), (31, 4)], ids=str)
def test_a_narrow_plane_is_not_taken_for_colours(tmp_path, shape):
    made = labels(*shape)

    write_labels(tmp_path / "a.tif", made)

    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, made)


def test_labels_are_compressed(tmp_path):
    write_labels(tmp_path / "a.tif", np.zeros((500, 700), dtype=np.int32))

    assert (tmp_path / "a.tif").stat().st_size < 10_000


def test_provenance_can_be_read_from_the_file(tmp_path):
    provenance = {"model": "fake <µ> & co", "settings": {"threshold": 0.5}}

    write_labels(tmp_path / "a.tif", labels(31, 47), provenance=provenance)

    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        metadata = tifffile.xml2dict(file.ome_metadata)
    assert json.loads(metadata["OME"]["Image"]["Description"]) == provenance


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((5, 7)), np.full((5, 7), -1), np.full((5, 7), 2**32)],
    ids=["float", "negative", "too large"],
)
def test_what_are_no_labels_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="Labels"):
        write_labels(tmp_path / "a.tif", wrong)
    assert not list(tmp_path.iterdir())


def test_axes_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="axes 'ZYX'"):
        write_labels(tmp_path / "a.tif", labels(31, 47), axes="ZYX")


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match=r"a\.tif"):
        write_labels(tmp_path / "nowhere" / "a.tif", labels(31, 47))


def test_a_file_in_place_of_the_folder_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="Cannot write"):
        write_overlay(tmp_path / "file" / "a.png", np.zeros((5, 7)), labels(5, 7))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_labels(tmp_path / "a.tif", labels(31, 47))
    before = (tmp_path / "a.tif").read_bytes()

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(OutputError, match="No space left"):
        write_labels(tmp_path / "a.tif", labels(31, 47, highest=2))

    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == before


def test_an_overlay_tints_classes_in_their_colours_and_nothing_else(tmp_path):
    made = np.zeros((31, 47), dtype=np.uint8)
    made[5:20, 5:30] = 1
    image = np.zeros((31, 47), dtype=np.uint16)

    write_overlay(tmp_path / "a.png", image, made, ["#000000", "#ff0000"])

    picture = read_image(tmp_path / "a.png").data
    assert picture.shape == (31, 47, 3)
    assert not picture[made == 0].any()
    assert picture[5, 5].tolist() == [255, 0, 0]
    assert 0 < picture[12, 15, 0] < 255


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_an_overlay_takes_any_number_of_channels(tmp_path, channels):
    image = np.random.default_rng(0).random((31, 47, channels))
    image[3, 3] = np.nan

    write_overlay(tmp_path / "a.png", image, labels(31, 47))

    assert read_image(tmp_path / "a.png").data.shape == (31, 47, 3)


def test_neighbouring_objects_get_different_colours(tmp_path):
    made = np.tile(np.arange(1, 7).repeat(5), (9, 1))

    write_overlay(tmp_path / "a.png", np.zeros((9, 30)), made)

    picture = read_image(tmp_path / "a.png").data.astype(int)
    assert np.abs(picture[4, 2:-5:5] - picture[4, 7::5]).sum(axis=1).min() > 40


def test_an_overlay_of_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="do not fit"):
        write_overlay(tmp_path / "a.png", np.zeros((31, 47)), labels(31, 46))


@pytest.mark.long
def test_l15_labels_above_4_gb_become_a_tiff_that_can_hold_them(tmp_path):
    labels = np.zeros((65_600, 65_600), dtype=np.uint8)  # which takes memory only where it is not 0
    labels[-1, -1] = 7
    path = tmp_path / "large.tif"
    write_labels(path, labels)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.pages.first.shape == labels.shape
    last = open_image(path).data[-1:, -2:]
    assert np.asarray(last).tolist() == [[0, 7]]
