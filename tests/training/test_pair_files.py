import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_rwkv_seg.errors import ImageError, TrainingDataError, UnreadableFileError
from napari_rwkv_seg.images import read_image, save_labels
from napari_rwkv_seg.training.pair_files import match_files, read_pair, read_pairs
from tests.images.nifti_files import save_stored_as

LABELS = np.zeros((20, 30), np.uint8)
LABELS[5:10, 5:12] = 3


def save(path, array=LABELS):
    path.parent.mkdir(exist_ok=True)
    array = np.asarray(array)
    if path.suffix == ".tif":
        tifffile.imwrite(
            path, array, photometric="minisblack", metadata={"axes": "ZYX"[-array.ndim :]}
        )
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "images", tmp_path / "masks"


def test_images_and_masks_are_matched_by_name_whatever_their_endings(folders):
    images, masks = folders
    for image, mask in (
        ("a.png", "a.tif"), ("b.jpg", "b_mask.png"), ("c.tif", "c-labels.png"),
        ("d.ome.tif", "d_seg.tif"), ("e.png", "e_masks.png"),
    ):  # fmt: skip
        save(images / image)
        save(masks / mask)
    found = read_pairs(images, masks)
    assert [pair.name for pair in found.pairs] == ["a.png", "b.jpg", "c.tif", "d.ome.tif", "e.png"]
    assert all(np.array_equal(pair.labels, LABELS) for pair in found.pairs)
    assert all(pair.checked.all() and pair.group == "" for pair in found.pairs)
    assert found.notes == ()


def test_images_and_masks_may_lie_in_one_folder(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "a_mask.png")
    (pair,) = match_files(tmp_path, tmp_path).matched
    assert [path.name for path in pair] == ["a.png", "a_mask.png"]


def test_files_without_a_partner_are_named(folders):
    images, masks = folders
    for name in ("a", "b", "c", "d", "e"):
        save(images / f"{name}.png")
    for name in ("a", "z"):
        save(masks / f"{name}.png")
    save(masks / "notes.txt.png").rename(masks / "notes.txt")
    assert read_pairs(images, masks).notes == (
        "4 images have no mask and are left out: b.png, c.png, d.png, ….",
        "1 mask has no image and is left out: z.png.",
    )


def test_two_masks_for_one_image_are_refused(folders):
    images, masks = folders
    save(images / "a.png")
    save(masks / "a.png")
    save(masks / "a_mask.png")
    with pytest.raises(ImageError, match=r"Both 'a\.png' and 'a_mask\.png'"):
        read_pairs(images, masks)


def test_folders_that_share_no_name_are_refused_with_an_example(folders):
    images, masks = folders
    save(images / "a.png")
    save(masks / "b.png")
    with pytest.raises(TrainingDataError, match=r"the first are 'a\.png' and 'b\.png'"):
        read_pairs(images, masks)
    with pytest.raises(UnreadableFileError, match="Cannot look into"):
        read_pairs(images, images / "missing")


def test_each_plane_of_a_stack_is_a_pair_of_one_group(tmp_path):
    stack = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((20, 30), np.uint8)
    image, labels = save(tmp_path / "vol.tif", stack), save(tmp_path / "lab.tif", stack)
    checked = save(tmp_path / "checked.png", (LABELS > 0).astype(np.uint8))
    pairs = read_pair(image, labels, checked).pairs
    assert [pair.name for pair in pairs] == [f"vol.tif {index}" for index in range(5)]
    assert {pair.group for pair in pairs} == {"vol.tif"}
    assert [int(pair.labels.max()) for pair in pairs] == [0, 1, 2, 3, 4]
    assert all(np.array_equal(pair.checked, LABELS > 0) for pair in pairs)


def test_a_mask_of_0_and_255_is_read_as_0_and_1(tmp_path):
    image, labels = save(tmp_path / "a.png"), save(tmp_path / "b.png", (LABELS > 0) * np.uint8(255))
    found = read_pair(image, labels)
    assert np.array_equal(found.pairs[0].labels, LABELS > 0)
    assert found.notes == ("Masks of 0 and 255 were read as 0 and 1.",)


def test_what_is_said_of_the_files_of_a_pair_is_handed_on(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned
    Image.fromarray(np.zeros(LABELS.shape, np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    mask = save(tmp_path / "a.tif", LABELS)
    notes = read_pair(tmp_path / "a.jpg", mask).notes
    assert [note for note in notes if "EXIF" in note]
    assert len(notes) == len(set(notes))


def test_many_objects_may_bear_the_number_255(tmp_path):
    labels = LABELS.copy()
    labels[0] = 255
    read = read_pair(save(tmp_path / "a.png"), save(tmp_path / "b.png", labels)).pairs[0].labels
    assert np.array_equal(read, labels)


def test_a_jpeg_mask_is_read_by_half_brightness_and_a_picture_is_refused(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 20:50] = 255
    image = save(tmp_path / "a.png", mask)
    found = read_pair(image, save(tmp_path / "m.jpg", mask))
    assert np.mean(found.pairs[0].labels != (mask > 0)) < 0.01
    assert "JPEG" in found.notes[0]
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    with pytest.raises(TrainingDataError, match="save the labels as PNG or TIFF"):
        read_pair(image, save(tmp_path / "n.jpg", noise))


def test_equal_channels_are_one_and_colours_are_refused(tmp_path):
    image = save(tmp_path / "a.png")
    grey = np.stack([LABELS] * 3 + [np.full_like(LABELS, 255)], -1)
    assert np.array_equal(read_pair(image, save(tmp_path / "m.png", grey)).pairs[0].labels, LABELS)
    colour = np.stack([LABELS, LABELS, 2 * LABELS], -1)
    with pytest.raises(ImageError, match="is in colour"):
        read_pair(image, save(tmp_path / "c.png", colour))


def test_whole_floats_are_labels_and_others_are_not(tmp_path):
    image = save(tmp_path / "a.png")
    read = read_pair(image, save(tmp_path / "m.tif", LABELS.astype(np.float32)))
    assert read.pairs[0].labels.dtype.kind == "i"
    with pytest.raises(TrainingDataError, match="not whole"):
        read_pair(image, save(tmp_path / "h.tif", LABELS / np.float32(2)))


def test_labels_of_another_shape_are_refused_with_both_shapes(tmp_path):
    image, labels = save(tmp_path / "a.png"), save(tmp_path / "m.png", LABELS.T.copy())
    with pytest.raises(TrainingDataError, match=r"m\.png' is 30 × 20 .*a\.png' is 20 × 30"):
        read_pair(image, labels)
    with pytest.raises(TrainingDataError, match=r"c\.png"):
        read_pair(image, image, save(tmp_path / "c.png", LABELS.T.copy()))


VOLUME = np.arange(4 * 20 * 30).reshape(4, 20, 30) % 250  # Z, Y, X
REGIONS = (VOLUME > 200).astype(np.uint8)


def save_nifti(path, volume, affine=None):
    path.parent.mkdir(exist_ok=True, parents=True)
    affine = np.diag([1.0, 1.0, 3.0, 1.0]) if affine is None else affine
    file = nibabel.Nifti1Image(np.asarray(volume).T.astype(np.int16), affine)
    file.header.set_xyzt_units("mm")
    nibabel.save(file, path)
    return path


def test_volumes_of_medical_files_are_matched_and_cut_into_planes(folders):
    images, masks = folders
    save_nifti(images / "patient_1.nii.gz", VOLUME)
    save_nifti(masks / "patient_1_seg.nii", REGIONS)
    pairs = read_pairs(images, masks).pairs
    assert [pair.name for pair in pairs] == [f"patient_1.nii.gz {z}" for z in range(4)]
    assert {pair.group for pair in pairs} == {"patient_1.nii.gz"}
    assert {pair.pixel_size_um for pair in pairs} == {1000.0}
    assert np.array_equal([pair.image for pair in pairs], VOLUME[:, ::-1, ::-1])  # RAS is turned
    assert np.array_equal([pair.labels for pair in pairs], REGIONS[:, ::-1, ::-1])


@pytest.mark.parametrize("codes", ["LAS", "LPS", "ASR", "PIR"])
def test_a_mask_stored_another_way_than_its_image_belongs_to_it_at_the_same_place(tmp_path, codes):
    image = save_nifti(tmp_path / "a.nii", VOLUME)
    save_stored_as(save_nifti(tmp_path / "ras.nii", REGIONS), tmp_path / "mask.nii", codes)

    pairs = read_pair(image, tmp_path / "mask.nii").pairs

    assert np.array_equal([pair.labels for pair in pairs], [pair.image > 200 for pair in pairs])


def test_labels_that_were_saved_for_a_volume_in_any_format_belong_to_it(folders):
    images, masks = folders
    masks.mkdir()
    for name, ending in (("a", "_labels.nii.gz"), ("b", "_labels.ome.zarr"), ("c", ".ome.tif")):
        read = read_image(save_nifti(images / f"{name}.nii", VOLUME))
        save_labels(masks / f"{name}{ending}", REGIONS, read)
    found = read_pairs(images, masks)
    assert found.notes == ()
    for name in ("a.nii", "b.nii", "c.nii"):
        labels = [pair.labels for pair in found.pairs if pair.group == name]
        assert np.array_equal(labels, REGIONS)


def test_labels_that_lie_elsewhere_than_their_image_are_refused(tmp_path):
    image = save_nifti(tmp_path / "a.nii", VOLUME)
    flipped = np.diag([-1.0, 1.0, 3.0, 1.0])
    with pytest.raises(TrainingDataError, match=r"does not lie where .* mm apart"):
        read_pair(image, save_nifti(tmp_path / "flipped.nii", REGIONS, flipped))
    nearly = np.diag([1.0, 1.0, 3.0, 1.0])
    nearly[:3, 3] += 0.05  # as a program may round it
    assert len(read_pair(image, save_nifti(tmp_path / "nearly.nii", REGIONS, nearly)).pairs) == 4
    unplaced = save(tmp_path / "plain.tif", REGIONS)  # says nothing, so nothing contradicts
    pairs = read_pair(image, unplaced, save(tmp_path / "checked.png", REGIONS[2])).pairs
    assert np.array_equal([pair.labels for pair in pairs], REGIONS[:, ::-1, ::-1])
    assert np.array_equal(pairs[0].checked, REGIONS[2, ::-1, ::-1])
