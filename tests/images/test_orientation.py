"""However a file stores a volume, it is read the same way round; labels go back as it has them."""

from dataclasses import replace
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import tifffile

from napari_rwkv_seg.images import Geometry, ImageFile, levels, open_image, read_image, save_labels
from napari_rwkv_seg.images.napari_io import SOURCE_KEY, read_layers
from napari_rwkv_seg.images.orientation import as_stored, laid_like, turned

from .dicom_files import make, save, voxels
from .nifti_files import save_stored_as

# As x, y, z run to the left, the back and the head, here with gaps of its own along each.
LPS = np.array([[-0.5, 0, 0, 10], [0, -0.75, 0, -20], [0, 0, 2.0, 30], [0, 0, 0, 1]])
STORED = [
    "".join(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in permutations(("LR", "PA", "SI"))
    for signs in product((0, 1), repeat=3)
]


@pytest.fixture
def axial(tmp_path):
    """Return a volume as radiologists hold it, of 4 × 6 × 7 voxels."""
    nibabel.save(nibabel.Nifti1Image(voxels(4, 6, 7).T, LPS), tmp_path / "axial.nii")
    return tmp_path / "axial.nii"


@pytest.mark.parametrize("codes", STORED)
def test_a_volume_is_read_the_same_however_it_is_stored(tmp_path, axial, codes):
    path = save_stored_as(axial, tmp_path / "a.nii", codes)

    for image in (read_image(path), open_image(path)):
        np.testing.assert_array_equal(np.asarray(image.data), voxels(4, 6, 7))
        assert image.geometry.spacing == (2, 0.75, 0.5)
        assert image.pixel_size == (750, 500)
        np.testing.assert_allclose(image.geometry.affine_in("RAS"), LPS)
    assert (image.geometry.turn is None) == (codes == "LPS")
    assert [one.shape for one in levels(path)] == [(4, 6, 7)]


@pytest.mark.parametrize("codes", STORED[::5])
@pytest.mark.parametrize("ending", ["nii.gz", "ome.tif", "zarr"])
def test_labels_go_back_into_the_grid_of_the_file(tmp_path, axial, codes, ending):
    path = save_stored_as(axial, tmp_path / "a.nii", codes)
    stored = np.asarray(nibabel.load(path).dataobj).T
    image = read_image(path)

    save_labels(tmp_path / f"b.{ending}", image.data.astype(np.int32), image)

    written = tmp_path / f"b.{ending}"
    if ending == "nii.gz":
        found = np.asarray(nibabel.load(written).dataobj).T
        np.testing.assert_array_equal(nibabel.load(written).affine, nibabel.load(path).affine)
    elif ending == "zarr":
        import zarr

        found = np.asarray(zarr.open_array(str(written / "labels" / "labels" / "0"), mode="r"))
    else:
        found = tifffile.imread(written)
    np.testing.assert_array_equal(found, stored)
    again = read_image(written)
    np.testing.assert_array_equal(again.data, image.data)
    np.testing.assert_allclose(again.geometry.affine_in("RAS"), LPS)


@pytest.mark.parametrize("codes", ["RAS", "ASR"])
def test_a_dock_has_the_planes_that_a_command_has(tmp_path, axial, codes):
    path = save_stored_as(axial, tmp_path / "a.nii", codes)

    [(data, keywords, _)] = read_layers(str(path))

    np.testing.assert_array_equal(np.asarray(data), read_image(path).data)
    assert keywords["scale"] == (2, 0.75, 0.5)
    assert "affine" not in keywords  # nothing is left to turn
    assert keywords["metadata"][SOURCE_KEY]["shape"] == (4, 6, 7)


def test_a_sagittal_series_is_cut_into_axial_planes_and_its_segmentation_fits_it(tmp_path):
    sagittal = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}  # to the back, and down
    sagittal |= {"PixelSpacing": [0.5, 0.75], "SliceThickness": 3.0}
    for number, plane in enumerate(voxels(4, 6, 7), 1):
        place = {"ImagePositionPatient": [10 - 3.0 * number, 20, 30]}  # to the right
        save(tmp_path / f"{number}.dcm", make(plane, number, **sagittal, **place))

    image = read_image(tmp_path)

    np.testing.assert_array_equal(image.data, voxels(4, 6, 7).transpose(1, 2, 0)[::-1, :, ::-1])
    expected = [[3, 0, 0, -2], [0, 0.75, 0, 20], [0, 0, 0.5, 27.5], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.geometry.affine_in("LPS"), expected)
    drawn = (image.data > 100).astype(np.uint8)

    save_labels(tmp_path / "seg.dcm", drawn, image, classes=["background", "x"])

    seg = read_image(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(seg.data, drawn)
    np.testing.assert_allclose(seg.geometry.affine_in("LPS"), image.geometry.affine_in("LPS"))


def test_time_and_colours_stay_where_they_are(tmp_path):
    data = voxels(7, 6, 5, 4)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 2, 3, 1])), tmp_path / "t.nii")
    colours = np.zeros((7, 6, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = voxels(7, 6, 5)
    nibabel.save(nibabel.Nifti1Image(colours, np.diag([1.0, 2, 3, 1])), tmp_path / "c.nii")

    series, coloured = read_image(tmp_path / "t.nii"), read_image(tmp_path / "c.nii")

    np.testing.assert_array_equal(series.data, data.T[:, :, ::-1, ::-1])
    np.testing.assert_array_equal(coloured.data[..., 1], voxels(7, 6, 5).T[:, ::-1, ::-1])


def test_an_oblique_volume_is_turned_by_whole_axes_and_the_rest_stays_in_its_affine(tmp_path):
    angle = np.deg2rad(20)
    oblique = np.diag([1.0, 2, 3, 1])
    oblique[:3, :3] = [
        [np.cos(angle), -2 * np.sin(angle), 0],
        [np.sin(angle), 2 * np.cos(angle), 0],
        [0, 0, 3],
    ]
    data = np.zeros((7, 6, 5), np.int16)
    data[1, 4, 2] = 9
    nibabel.save(nibabel.Nifti1Image(data, oblique), tmp_path / "a.nii")

    image = read_image(tmp_path / "a.nii")

    np.testing.assert_array_equal(image.data, data.T[:, ::-1, ::-1])
    [place] = np.argwhere(image.data == 9)
    found = image.geometry.affine_in("RAS") @ [*place[::-1], 1]
    np.testing.assert_allclose(found, nibabel.load(tmp_path / "a.nii").affine @ [1, 4, 2, 1])


@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 1)], ids=str)
def test_a_single_plane_that_is_not_axial_stays_a_plane_as_its_file_has_it(tmp_path, shape):
    upright = np.array([[0, 0, 3.0, 60], [1, 0, 0, -30], [0, 0.5, 0, -40], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels(*shape), upright), tmp_path / "a.nii")

    image = read_image(tmp_path / "a.nii")
    [(data, keywords, _)] = read_layers(str(tmp_path / "a.nii"))

    np.testing.assert_array_equal(image.data, voxels(*shape).T)
    np.testing.assert_array_equal(np.asarray(data), image.data)
    assert "affine" not in keywords
    assert keywords["scale"][-2:] == (0.5, 1)


@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 1)], ids=str)
def test_a_single_axial_plane_is_turned_as_its_volume_would_be(tmp_path, shape):
    nibabel.save(nibabel.Nifti1Image(voxels(*shape), np.diag([1.0, 2, 3, 1])), tmp_path / "a.nii")

    image = read_image(tmp_path / "a.nii")
    save_labels(tmp_path / "b.png", np.squeeze(image.data).astype(np.uint8), image, axes="YX")

    np.testing.assert_array_equal(image.data, voxels(*shape).T[..., ::-1, ::-1])
    if len(shape) == 2:
        stored = read_image(tmp_path / "b.png")
        numbers = stored.data if stored.indices is None else stored.indices
        np.testing.assert_array_equal(numbers, voxels(*shape).T)


def test_labels_whose_axes_were_stated_otherwise_stay_as_they_were_read(tmp_path, axial):
    image = read_image(save_stored_as(axial, tmp_path / "a.nii", "ASR"))

    save_labels(tmp_path / "b.ome.tif", image.data.astype(np.int32), image, axes="TYX")

    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.ome.tif"), image.data)


def test_a_place_without_a_volume_is_not_turned():
    flat = ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 1.0))
    vast = ((1e200, 0, 0, 0), (0, 1e200, 0, 0), (0, 0, 1e200, 0), (0, 0, 0, 1.0))
    for matrix in (flat, vast):
        place = Geometry("ZYX", (1.0,) * 3, ("millimeter",) * 3, (0.0,) * 3, matrix, "RAS")
        image = ImageFile(voxels(4, 6, 7), "ZYX", None, None, place)
        assert turned(image) is image


@pytest.mark.parametrize("codes", STORED[1::7])
def test_labels_that_do_not_say_where_they_lie_are_turned_as_their_image(tmp_path, axial, codes):
    path = save_stored_as(axial, tmp_path / "a.nii", codes)
    image, stored = read_image(path), np.asarray(nibabel.load(path).dataobj).T
    for axes in ("ZYX", "TYX"):
        tifffile.imwrite(
            tmp_path / "m.tif", stored, photometric="minisblack", metadata={"axes": axes}
        )
        labels = read_image(tmp_path / "m.tif")
        np.testing.assert_array_equal(laid_like(labels, image).data, image.data)
        np.testing.assert_array_equal(laid_like(image, labels).data, stored)
    moved = replace(labels, geometry=replace(labels.geometry, origin=(0, 5.0, 0)))
    assert laid_like(moved, image) is moved
    assert laid_like(image, image) is image


@pytest.mark.parametrize("codes", STORED[::11])
def test_turning_back_undoes_the_turn(tmp_path, axial, codes):
    path = save_stored_as(axial, tmp_path / "a.nii", codes)
    image = read_image(path)

    data, geometry = as_stored(image.data, image.geometry)

    np.testing.assert_array_equal(data, np.asarray(nibabel.load(path).dataobj).T)
    np.testing.assert_allclose(geometry.affine_in("RAS"), nibabel.load(path).affine)
    assert geometry.turn is None
