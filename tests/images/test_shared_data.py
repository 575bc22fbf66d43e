"""Every folder of real data opens, and labels of it are saved and come back in the same place."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_rwkv_seg.images import levels, open_image, read_image, save_labels

SHARED = Path(__file__).resolve().parents[3] / "shared"
FOLDERS = ("acdc_cardiac", "busi", "dicom_series", "dsb2018_nuclei", "glas", "isic2017")
FOLDERS += ("kvasir_seg", "msd_hippocampus", "ome_zarr_nuclei", "phc_u373_timeseries")
EXACT = ("ome.tif", "zarr")  # hold any geometry


def some_of(folder, count=3):
    """Return the first, the middle and the last image of a folder."""
    found = sorted((SHARED / "data" / folder / "images").iterdir())
    return found[:: max(1, (len(found) - 1) // (count - 1))][:count]


IMAGES = [pytest.param(path, id=path.name) for folder in FOLDERS for path in some_of(folder)]

pytestmark = pytest.mark.shared


def test_no_folder_of_data_is_left_out(shared):
    assert {path.name for path in (shared / "data").iterdir() if path.is_dir()} == set(FOLDERS)


def some_labels(image):
    """Return labels of an image without its channels."""
    data = np.asarray(image.data)
    data = data if "C" not in image.axes else data.take(0, axis=image.axes.index("C"))
    return (data > np.median(data)).astype(np.uint8) + (data > np.percentile(data, 90))


@pytest.mark.parametrize("path", IMAGES)
def test_an_image_opens_and_its_labels_come_back_in_its_place(tmp_path, path):
    image = read_image(path)
    labels = some_labels(image)
    opened = open_image(path)

    assert opened.geometry == image.geometry
    np.testing.assert_array_equal(np.asarray(opened.data[-1]), image.data[-1])
    for ending in EXACT:
        save_labels(tmp_path / f"a.{ending}", labels, image)
        again = read_image(tmp_path / f"a.{ending}")
        np.testing.assert_array_equal(again.data, labels)
        assert again.axes == image.geometry.axes
        for name in ("spacing", "units", "origin", "affine", "world"):
            assert getattr(again.geometry, name) == getattr(image.geometry, name)


@pytest.mark.parametrize("folder", ["acdc_cardiac", "msd_hippocampus"])
def test_labels_of_a_nifti_have_its_affine_bit_by_bit(tmp_path, folder):
    for path in some_of(folder):
        image = read_image(path)
        save_labels(tmp_path / "a.nii.gz", some_labels(image), image)
        before, after = nibabel.load(path), nibabel.load(tmp_path / "a.nii.gz")

        np.testing.assert_array_equal(after.affine, before.affine)
        assert after.shape == before.shape
        for name in ("pixdim", "sform_code", "qform_code", "xyzt_units"):
            np.testing.assert_array_equal(after.header[name], before.header[name])
        assert read_image(tmp_path / "a.nii.gz").geometry == image.geometry


@pytest.mark.parametrize("path", some_of("dicom_series"), ids=lambda path: path.name)
def test_labels_of_a_dicom_series_come_back_as_seg(tmp_path, path):
    image = read_image(path)
    save_labels(tmp_path / "a.dcm", some_labels(image), image, classes=["none", "low", "high"])

    again = read_image(tmp_path / "a.dcm")
    np.testing.assert_array_equal(again.data, some_labels(image))
    assert again.geometry.affine == image.geometry.affine
    content = (tmp_path / "a.dcm").read_bytes()
    assert not any(name in content for name in (b"Dumbledore", b"JANCT", b"PGBM"))


def test_a_mask_that_others_made_lies_on_the_ct(shared):
    """The NIfTI mask and the original DICOM-SEG of one liver, by the affines that we read."""
    folder = shared / "data" / "dicom_series"
    image = read_image(folder / "images" / "ct_abdomen_3slice")
    nifti = read_image(folder / "masks" / "ct_abdomen_3slice_labels.nii.gz")
    seg = read_image(folder / "masks" / "ct_abdomen_liver_SEG.dcm")

    np.testing.assert_allclose(seg.geometry.affine, image.geometry.affine, atol=1e-4)
    ours = np.linalg.inv(nifti.geometry.affine_in("LPS")) @ image.geometry.affine_in("LPS")
    z, y, x = np.nonzero(seg.data)
    places = np.rint(ours @ np.stack([x, y, z, np.ones_like(x)])).astype(int)[:3]
    assert (nifti.data[tuple(places[::-1])] == 1).mean() > 0.98


def test_the_labels_beside_an_ome_zarr_image_are_read(shared):
    path = shared / "data" / "ome_zarr_nuclei" / "images" / "cardiomyocyte_nuclei.zarr"
    labels = read_image(path / "labels" / "nuclei")
    mask = read_image(path.parents[1] / "masks" / "nuclei_labels_level0.png")

    assert labels.is_labels
    assert len(levels(path)) == 3
    np.testing.assert_array_equal(labels.data[0], mask.data)
