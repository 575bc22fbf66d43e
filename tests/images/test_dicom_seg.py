"""DICOM-SEG lies on its images, names its classes, and never its patient."""

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest

from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.images import LabelClass, read_image, save_labels

from .dicom_files import voxels, write_enhanced, write_series

CLASSES = [LabelClass("background"), LabelClass("liver", "#ff0000"), LabelClass("spleen")]


@pytest.fixture(params=["series", "enhanced"])
def image(request, tmp_path):
    volume, order = voxels(4, 6, 7), [2, 0, 3, 1]
    if request.param == "series":
        return read_image(write_series(tmp_path / "s", volume, order=order))
    return read_image(write_enhanced(tmp_path / "a.dcm", volume, order))


def test_labels_come_back_where_they_were(tmp_path, image):
    labels = np.zeros((4, 6, 7), np.int32)
    labels[1:3, 2:4, 1:5], labels[3, 0, 0] = 1, 2

    save_labels(tmp_path / "seg.dcm", labels, image, classes=CLASSES)

    again = read_image(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(again.data, labels)
    assert again.is_labels
    assert again.geometry.spacing == image.geometry.spacing
    np.testing.assert_allclose(again.geometry.affine, image.geometry.affine, atol=1e-9)
    assert again.geometry.dicom.study_uid == image.geometry.dicom.study_uid
    assert again.geometry.dicom.frame_of_reference_uid == "1.2.3.5"


def test_highdicom_reads_the_segments_with_their_names(tmp_path, image):
    labels = np.zeros((4, 6, 7), np.int32)
    labels[1:3, 2:4, 1:5], labels[3, 0, 0] = 1, 2

    save_labels(tmp_path / "seg.dcm", labels, image, classes=CLASSES, provenance={"model": "m"})

    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    names = [seg.get_segment_description(number).segment_label for number in seg.segment_numbers]
    assert names == ["liver", "spleen"]
    theirs = seg.get_volume(combine_segments=True)
    for z, y, x in ((1, 2, 1), (2, 3, 4), (3, 0, 0), (0, 0, 0)):
        place = image.geometry.affine_in("LPS") @ [x, y, z, 1]
        index = np.rint(np.linalg.inv(theirs.affine) @ place)[:3].astype(int)
        assert theirs.array[tuple(index)] == labels[z, y, x]


def test_objects_keep_their_numbers(tmp_path, image):
    labels = np.zeros((4, 6, 7), np.int32)
    labels[0, 0], labels[1, 1], labels[2, 2] = 300, 7, 70_000

    save_labels(tmp_path / "seg.dcm", labels, image)

    np.testing.assert_array_equal(read_image(tmp_path / "seg.dcm").data, labels)


@pytest.mark.parametrize("highest", [255, 100, 1])
def test_a_fractional_segment_is_drawn_from_a_half_on(tmp_path, image, highest):
    labels = np.zeros((4, 6, 7), np.int32)
    labels[1:3, 2:4], labels[3] = 1, 2
    save_labels(tmp_path / "seg.dcm", labels, image, classes=CLASSES)
    shares = {1: (highest + 1) // 2, 2: (highest - 1) // 2}  # the first is half or more
    file = pydicom.dcmread(tmp_path / "seg.dcm")
    segments = [
        int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for group in file.PerFrameFunctionalGroupsSequence
    ]
    planes = zip(segments, file.pixel_array, strict=True)
    file.PixelData = b"".join((plane * shares[number]).tobytes() for number, plane in planes)
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.SegmentationType = 7, "FRACTIONAL"
    file.SegmentationFractionalType, file.MaximumFractionalValue = "PROBABILITY", highest
    file.save_as(tmp_path / "seg.dcm")

    read = read_image(tmp_path / "seg.dcm")

    np.testing.assert_array_equal(read.data, labels == 1)
    assert "FRACTIONAL" in read.notes[-1]


def test_i27_the_patient_is_left_out(tmp_path, image):
    save_labels(tmp_path / "seg.dcm", np.ones((4, 6, 7), np.uint8), image)

    assert b"Dumbledore" not in (tmp_path / "seg.dcm").read_bytes()
    written = pydicom.dcmread(tmp_path / "seg.dcm")
    assert written.PatientName == written.PatientID == written.PatientBirthDate == ""


@pytest.mark.parametrize("name", ["b.nii.gz", "b.ome.tif"])
def test_i27_the_patient_is_in_no_other_format_either(tmp_path, image, name):
    save_labels(tmp_path / name, np.ones((4, 6, 7), np.uint8), image, provenance={"model": "m"})

    assert b"Dumbledore" not in (tmp_path / name).read_bytes()
    assert b"1.2.3.4" not in (tmp_path / name).read_bytes()


def test_labels_of_a_series_lie_in_the_same_place_as_nifti(tmp_path, image):
    save_labels(tmp_path / "b.nii.gz", np.ones((4, 6, 7), np.uint8), image)

    affine = nibabel.load(tmp_path / "b.nii.gz").affine
    np.testing.assert_allclose(affine, image.geometry.affine_in("RAS"), rtol=1e-6)


def test_a_single_plane_is_a_segmentation_too(tmp_path):
    write_series(tmp_path / "s", voxels(4, 6, 7))
    image = read_image(tmp_path / "s" / "1_002.dcm")
    labels = np.eye(6, 7, dtype=np.uint8)

    save_labels(tmp_path / "seg.dcm", labels, image)

    again = read_image(tmp_path / "seg.dcm")
    assert again.axes == "YX"
    np.testing.assert_array_equal(again.data, labels)


def test_labels_without_a_series_are_refused_with_what_to_use(tmp_path):
    with pytest.raises(OutputError, match=r"seg\.dcm.*not known: save it as NIfTI"):
        save_labels(tmp_path / "seg.dcm", np.ones((4, 6, 7), np.uint8))


def test_a_series_that_has_gone_is_told(tmp_path, image):
    for path, _ in image.geometry.dicom.planes:
        path.unlink(missing_ok=True)

    with pytest.raises(OutputError, match="cannot be read any more"):
        save_labels(tmp_path / "seg.dcm", np.ones((4, 6, 7), np.uint8), image)


def test_a_number_without_a_name_is_refused(tmp_path, image):
    with pytest.raises(OutputError, match=r"the number 5.*0 to 2 only"):
        save_labels(tmp_path / "seg.dcm", np.full((4, 6, 7), 5), image, classes=CLASSES)


@pytest.mark.parametrize("highest", [0, 300])
def test_no_segment_and_too_many_are_refused(tmp_path, highest):
    image = read_image(write_series(tmp_path / "s", voxels(2, 16, 17)))
    labels = np.minimum(np.arange(2 * 16 * 17), highest).reshape(2, 16, 17)

    with pytest.raises(OutputError, match="1 to 255"):
        save_labels(tmp_path / "seg.dcm", labels, image)
