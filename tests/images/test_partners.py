"""Which files and folders are images, and which of two folders belong together."""

import numpy as np
import pytest
from PIL import Image

from napari_rwkv_seg.errors import ImageError, UnreadableFileError
from napari_rwkv_seg.images import read_image
from napari_rwkv_seg.images.listing import images_in, stem_of
from napari_rwkv_seg.images.partners import by_shared_name, first_names, is_marked, without_channels

from .dicom_files import write_series


@pytest.fixture
def folder(tmp_path):
    """Return a folder with images of several kinds, and with things that are none."""
    for name in ("b.nii.gz", "a_mask.PNG", "c.ome.tif", ".hidden.tif", "notes.txt", "d.dcm"):
        (tmp_path / name).touch()
    for name in ("e.ome.zarr", "deeper"):
        (tmp_path / name).mkdir()
    write_series(tmp_path / "1.2.840", np.zeros((2, 4, 4), np.int16))
    return tmp_path


def test_files_by_their_endings_series_and_zarr_folders_are_images(folder):
    names = [path.name for path in images_in(folder)]
    assert names == ["1.2.840", "a_mask.PNG", "b.nii.gz", "c.ome.tif", "d.dcm", "e.ome.zarr"]
    with pytest.raises(UnreadableFileError, match="Cannot look into"):
        images_in(folder / "none")


def test_what_belongs_together_shares_a_name(folder):
    assert list(by_shared_name(folder)) == ["1.2.840", "a", "b", "c", "d", "e"]
    assert list(by_shared_name(folder, marked=True)) == ["a"]
    assert list(by_shared_name(folder, marked=False)) == ["1.2.840", "b", "c", "d", "e"]
    assert is_marked(folder / "x.labels.ome.zarr")
    assert not is_marked(folder / "masked.tif")
    (folder / "b_seg.nii").touch()
    with pytest.raises(ImageError, match=r"Both 'b.nii.gz' and 'b_seg.nii' .* partner of 'b'"):
        by_shared_name(folder)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.nii.gz", "a"), ("a.ome.zarr", "a"), ("1.2.840", "1.2.840"), ("a.b.png", "a.b")],
)
def test_an_ending_may_have_two_parts_and_numbers_are_none(name, stem):
    assert stem_of(name) == stem


def test_many_names_are_cut_short(folder):
    assert first_names(images_in(folder)[:3]) == "1.2.840, a_mask.PNG, b.nii.gz"
    assert first_names(images_in(folder)) == "1.2.840, a_mask.PNG, b.nii.gz, …"


def test_labels_in_a_picture_with_a_palette_are_the_numbers_behind_its_colours(tmp_path):
    labels = np.eye(20, 24, dtype=np.uint8) * 2
    picture = Image.fromarray(labels)
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "a.png")

    np.testing.assert_array_equal(without_channels(read_image(tmp_path / "a.png")), labels)
