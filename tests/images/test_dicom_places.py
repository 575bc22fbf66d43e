"""Planes of DICOM lie where their positions say, however small or uneven their distances are."""

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from napari_rwkv_seg.images import read_image, save_labels

from .dicom_files import make, save, voxels, write_series

FLAT = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def write_at(folder, heights, volume=None, **tags):
    """Write an axial series with its planes at `heights`, which are put down as they are."""
    folder.mkdir(exist_ok=True)
    volume = voxels(len(heights), 6, 7) if volume is None else volume
    for number, height in enumerate(heights, 1):
        told = {
            "ImagePositionPatient": ["0", "0", str(height)],
            "ImageOrientationPatient": FLAT,
            "PixelSpacing": [0.5, 0.5],
            "SliceThickness": 2.5,
        }
        save(folder / f"{number:04}.dcm", make(volume[number - 1], number, **(told | tags)))
    return folder


def write_sparse(folder, drawn, *, gap):
    """Write a segmentation of 12 planes, 2.5 mm apart, that holds those with something only."""
    series = write_at(folder / "s", [2.5 * place for place in range(12)])
    files = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    mask = np.zeros((12, 6, 7), np.uint8)
    mask[drawn, 2:5, 2:5] = 1
    what = codes.SCT.AnatomicalStructure
    segment = highdicom.seg.SegmentDescription(1, "liver", what, what, "MANUAL")
    made = highdicom.seg.Segmentation(
        files, mask, "BINARY", [segment], highdicom.UID(), 1, highdicom.UID(), 1, "m", "m", "1", "0"
    )
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if gap is None:
        del measures.SpacingBetweenSlices
    else:
        measures.SpacingBetweenSlices = gap
    made.save_as(folder / "seg.dcm")
    return folder / "seg.dcm", mask[min(drawn) : max(drawn) + 1]


def saved_again(folder, series):
    """Return labels on a series, and what is read of the DICOM-SEG that they are saved as."""
    image = read_image(series)
    labels = np.zeros(image.data.shape, np.uint8)
    labels[::2, 1:3, 1:4], labels[1::3, 4] = 1, 2
    save_labels(folder / "seg.dcm", labels, image)
    return image, labels, read_image(folder / "seg.dcm")


@pytest.mark.parametrize(
    "heights",
    [
        [f"{0.0875 * place:.10g}" for place in range(100)],
        [f"{0.0347 * place:.10g}" for place in range(60)],
        [f"{5 / 3 * place:.2f}" for place in range(130)],
        [f"{0.625 * place:.1f}" for place in range(30)],
        [f"{0.005 * place:.10g}" for place in range(20)],
    ],
    ids=["0.0875 mm", "0.0347 mm", "5/3 mm in hundredths", "0.625 mm in tenths", "0.005 mm"],
)
def test_a_saved_segmentation_has_the_planes_of_its_image(tmp_path, heights):
    image, labels, again = saved_again(tmp_path, write_at(tmp_path / "s", heights))

    np.testing.assert_array_equal(again.data, labels)
    np.testing.assert_allclose(again.geometry.affine, image.geometry.affine, atol=1e-9)
    assert again.notes == image.notes


@pytest.mark.parametrize("drawn", [[2, 5, 8], [2, 6], [1, 2, 4, 9]], ids=str)
def test_planes_that_a_segmentation_leaves_out_are_empty(tmp_path, drawn):
    path, mask = write_sparse(tmp_path, drawn, gap=2.5)

    read = read_image(path)

    np.testing.assert_array_equal(read.data, mask)
    assert read.geometry.spacing == (2.5, 0.5, 0.5)
    assert read.geometry.affine[2][3] == 2.5 * drawn[0]
    assert read.notes == (
        "The file leaves out planes between those that it holds; they are read as empty.",
    )


@pytest.mark.parametrize("gap", [None, 0, 1.7, 1e-300], ids=str)
def test_a_gap_that_fits_no_planes_is_not_believed(tmp_path, gap):
    path, mask = write_sparse(tmp_path, [1, 2, 3, 6], gap=gap)

    read = read_image(path)

    np.testing.assert_array_equal(read.data, mask)
    assert read.geometry.spacing == (2.5, 0.5, 0.5)


def test_a_plane_left_out_of_a_tilted_stack_lies_between_its_neighbours(tmp_path):
    path, _ = write_sparse(tmp_path, [1, 2, 4], gap=2.5)
    file = pydicom.dcmread(path)
    for group in file.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        x, _, z = place.ImagePositionPatient
        place.ImagePositionPatient = [x, 0.3 * z, z]
    file.save_as(path)

    read = read_image(path)

    assert read.data.shape == (4, 6, 7)
    assert not any("evenly" in note for note in read.notes)
    np.testing.assert_allclose(np.array(read.geometry.affine)[:3, 2], [0, 0.75, 2.5])


@pytest.mark.parametrize("shift", [0.0004, 0.002, -0.004], ids=str)
def test_volumes_in_time_may_lie_a_little_beside_each_other(tmp_path, shift):
    first = [1.2345 * place for place in range(6)]
    heights = [f"{height:.6f}" for height in (*first, *(height + shift for height in first))]
    volume = voxels(12, 6, 7)

    image = read_image(write_at(tmp_path / "s", heights, volume))

    assert image.axes == "TZYX"
    assert image.geometry.spacing == (1.0, 1.2345, 0.5, 0.5)
    np.testing.assert_array_equal(image.data, volume.reshape(2, 6, 6, 7))


def test_planes_in_one_place_may_lie_a_little_beside_each_other(tmp_path):
    image = read_image(write_at(tmp_path / "s", ["0.0003", "-0.0001", "0"]))

    assert (image.axes, len(image.data)) == ("TYX", 3)


@pytest.mark.parametrize(
    "heights",
    [
        [0.005 * place for place in range(8)],
        [0.001 * place for place in range(8)],
        [*(0.005 * place for place in range(8)), 0.05],
        [0, 1, 2, 3, 500, 501, 502, 503],
    ],
    ids=["micro-CT", "nano-CT", "micro-CT with a gap", "two blocks"],
)
def test_near_planes_are_not_taken_for_one(tmp_path, heights):
    image = read_image(write_at(tmp_path / "s", [f"{height:.6f}" for height in heights]))

    assert (image.axes, len(image.data)) == ("ZYX", len(heights))


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*"], ids=["GE", "big-endian"])
def test_a_file_with_the_head_of_a_tiff_before_it_is_dicom(tmp_path, start):
    volume = voxels(1, 6, 7)
    path = write_series(tmp_path / "s", volume) / "1_001.dcm"
    path.write_bytes(start + path.read_bytes()[4:])

    np.testing.assert_array_equal(read_image(path).data, volume[0])


def test_a_wrong_gap_of_the_series_does_not_get_into_what_is_saved(tmp_path):
    series = write_at(tmp_path / "s", [3.0 * place for place in range(8)], SpacingBetweenSlices=1.0)
    image, labels, again = saved_again(tmp_path, series)

    np.testing.assert_array_equal(again.data, labels)
    np.testing.assert_allclose(again.geometry.affine, image.geometry.affine, atol=1e-9)
