"""NIfTI is read as nibabel reads it, and written so that nibabel finds it in the same place.

How what was read is turned is held by test_orientation.py; `read_stored` is before that.
"""

import gzip
import sys

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_rwkv_seg.errors import OutputError, UnreadableFileError
from napari_rwkv_seg.images import ImageFile, read_image, save_labels
from napari_rwkv_seg.images.nifti import read_nifti
from napari_rwkv_seg.images.readers import PIXEL_LIMIT, open_image

OBLIQUE = np.array(
    [[-0.7, 0.1, 0.3, 12.5], [0.1, 0.8, -0.2, -33], [0.2, 0.1, 2.5, 7], [0, 0, 0, 1]]
)


def voxels(*shape, dtype=np.int16):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def write(path, data, affine=OBLIQUE, **fields):
    image = nibabel.Nifti1Image(data, affine, dtype=data.dtype)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def read_stored(path, *, lazy=False):
    """Return an image as its file has it."""
    return read_nifti(path, PIXEL_LIMIT, lazy=lazy)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((7, 6), "YX"), ((7, 6, 5), "ZYX"), ((7, 6, 5, 4), "TZYX"), ((7, 6, 1), "ZYX")],
    ids=str,
)
def test_voxels_come_back_with_their_axes(tmp_path, ending, shape, axes):
    data = voxels(*shape)

    image = read_stored(write(tmp_path / f"a{ending}", data))

    assert image.axes == axes
    np.testing.assert_array_equal(image.data, data.T)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
def test_every_kind_of_number_is_read(tmp_path, dtype):
    data = voxels(7, 6, 5).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    nibabel.save(nibabel.Nifti1Image(data, OBLIQUE, header), tmp_path / "a.nii")

    image = read_stored(tmp_path / "a.nii")

    np.testing.assert_array_equal(image.data, data.T)
    assert image.data.dtype == np.dtype(dtype).newbyteorder("=")


def test_slope_and_intercept_are_applied(tmp_path):
    nifti = nibabel.Nifti1Image(voxels(7, 6, 5), OBLIQUE)
    nifti.header.set_slope_inter(0.5, -100)
    nibabel.save(nifti, tmp_path / "a.nii")

    data = read_stored(tmp_path / "a.nii").data

    assert data.dtype == np.float32
    expected = np.asarray(nibabel.load(tmp_path / "a.nii").dataobj).T
    np.testing.assert_allclose(data, expected, rtol=1e-6)


def test_colours_become_channels(tmp_path):
    colours = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    data = np.zeros((7, 6, 5), dtype=colours)
    data["G"] = voxels(7, 6, 5)

    image = read_stored(write(tmp_path / "a.nii", data))

    assert (image.axes, image.data.shape) == ("ZYXC", (5, 6, 7, 3))
    np.testing.assert_array_equal(image.data[..., 1], voxels(7, 6, 5).T)


def test_a_vector_at_each_voxel_becomes_channels(tmp_path):
    data = voxels(7, 6, 5, 1, 3)

    image = read_stored(write(tmp_path / "a.nii", data))

    assert image.axes == "CZYX"
    np.testing.assert_array_equal(image.data, data[:, :, :, 0].T)


def test_the_place_is_that_of_nibabel(tmp_path):
    path = write(tmp_path / "a.nii.gz", voxels(7, 6, 5, 4), xyzt_units=2 + 8)
    nifti = nibabel.load(path)

    geometry = read_stored(path).geometry

    np.testing.assert_array_equal(geometry.affine_in("RAS"), nifti.affine)
    sizes = [float(v) for v in nifti.header.get_zooms()]
    assert geometry.spacing == pytest.approx(tuple(reversed(sizes)))
    assert geometry.units == ("second", "millimeter", "millimeter", "millimeter")


def test_the_pixel_size_is_in_micrometres(tmp_path):
    image = read_image(write(tmp_path / "a.nii", voxels(7, 6, 5), np.diag([0.5, 0.25, 2, 1])))

    assert image.pixel_size == pytest.approx((250, 500))


def test_a_file_in_micrometres_lies_in_millimetres(tmp_path):
    path = write(tmp_path / "a.nii", voxels(7, 6, 5), np.diag([500.0, 250, 2000, 1]), xyzt_units=3)

    geometry = read_stored(path).geometry

    np.testing.assert_allclose(geometry.affine_in("RAS"), np.diag([0.5, 0.25, 2, 1]))
    assert geometry.spacing == pytest.approx((2, 0.25, 0.5))


PLACE = (
    *("dim", "pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 4), (2, 3)], ids=str)
@pytest.mark.parametrize(
    "shape", [(7, 6), (7, 6, 5), (7, 6, 1), (7, 6, 5, 4), (7, 6, 5, 1)], ids=str
)
def test_labels_lie_exactly_where_their_source_does(tmp_path, kind, codes, shape):
    nifti = kind(voxels(*shape), OBLIQUE)
    nifti.header["qform_code"], nifti.header["sform_code"] = codes
    nifti.header["xyzt_units"] = 2 + 16
    (tmp_path / "a.nii").write_bytes(raw_bytes(nifti))
    image = read_image(tmp_path / "a.nii")
    made = image.data.astype(np.int32) % 3
    assert image.geometry.turn is not None

    save_labels(tmp_path / "b.nii.gz", made, image)

    before, after = nibabel.load(tmp_path / "a.nii"), nibabel.load(tmp_path / "b.nii.gz")
    for field in PLACE:
        np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asarray(after.dataobj), voxels(*shape) % 3)
    again = read_image(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(again.data, made)
    assert again.geometry == image.geometry
    assert again.is_labels


def raw_bytes(nifti):
    """Return a file with exactly the header that the image has, which `save` would mend."""
    header = nifti.header.copy()
    header.set_data_offset(int(header["sizeof_hdr"]) + 4)
    data = np.asarray(nifti.dataobj)
    return header.binaryblock + bytes(4) + data.astype(header.get_data_dtype()).tobytes("F")


def test_nothing_else_of_the_header_is_taken_over(tmp_path):  # I27: these texts may name a patient
    fields = {"descrip": b"Dumbledore", "db_name": b"Dumbledore", "aux_file": b"Dumbledore"}
    image = read_image(write(tmp_path / "a.nii", voxels(7, 6, 5), **fields))

    save_labels(tmp_path / "b.nii", image.data, image, provenance={"model": "m"})

    assert b"Dumbledore" not in (tmp_path / "b.nii").read_bytes()
    assert "Dumbledore" not in repr(image)


def test_how_labels_were_made_is_a_comment_in_the_file(tmp_path):
    save_labels(tmp_path / "b.nii", voxels(5, 6, 7), provenance={"model": "m"})

    [extension] = nibabel.load(tmp_path / "b.nii").header.extensions
    assert b'"model": "m"' in extension.content
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii").data, voxels(5, 6, 7))


def test_labels_of_a_microscope_are_placed_by_spacing_and_origin(tmp_path):
    from napari_rwkv_seg.images import Geometry

    place = Geometry("ZYX", (2.0, 0.5, 0.25), ("micrometer",) * 3, (8.0, 4.0, 2.0))
    image = ImageFile(voxels(5, 6, 7), "ZYX", place.pixel_size, tmp_path / "a.tif", place)

    save_labels(tmp_path / "b.nii", voxels(5, 6, 7), image)

    affine = nibabel.load(tmp_path / "b.nii").affine
    expected = [[-25e-5, 0, 0, -2e-3], [0, -5e-4, 0, -4e-3], [0, 0, 2e-3, 8e-3], [0, 0, 0, 1]]
    np.testing.assert_allclose(affine, expected, rtol=1e-6)
    assert read_image(tmp_path / "b.nii").pixel_size == pytest.approx((0.5, 0.25))


def test_a_series_of_planes_gets_a_third_axis_of_space(tmp_path):
    save_labels(tmp_path / "b.nii", voxels(5, 6, 7), axes="TYX")

    assert nibabel.load(tmp_path / "b.nii").shape == (7, 6, 1, 5)


def test_an_axis_longer_than_nifti_1_allows_becomes_nifti_2(tmp_path):
    save_labels(tmp_path / "b.nii.gz", np.ones((1, 40_000), np.uint8))

    assert isinstance(nibabel.load(tmp_path / "b.nii.gz"), nibabel.Nifti2Image)


def test_the_same_labels_give_the_same_file(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        save_labels(tmp_path / name, voxels(5, 6, 7))

    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_an_uncompressed_file_is_read_in_parts(tmp_path):
    data = voxels(7, 6, 5, 4)

    image = read_stored(write(tmp_path / "a.nii", data), lazy=True)

    assert image.data.chunksize == (1, 1, 6, 7)
    np.testing.assert_array_equal(image.data[2, 1:4, 2:5, 3].compute(), data.T[2, 1:4, 2:5, 3])


@pytest.mark.parametrize(
    "fields",
    [
        {"pixdim": [1, 0, 0, 0, 0, 0, 0, 0]},
        {"pixdim": [1, np.nan, 1, 1, 1, 1, 1, 1]},
        {"pixdim": [1, 1e307, 1, 1, 1, 1, 1, 1]},
    ],
    ids=["I25-zero", "I25-nan", "I25-vast"],
)
def test_a_missing_voxel_size_is_told_and_taken_for_one(tmp_path, fields):
    nifti = nibabel.Nifti2Image(voxels(7, 6, 5), None)
    nifti.header["pixdim"] = fields["pixdim"]
    (tmp_path / "a.nii").write_bytes(raw_bytes(nifti))

    image = read_image(tmp_path / "a.nii")

    assert image.notes[0].startswith("The size of a voxel is not known along X")
    assert image.geometry.spacing == (1, 1, 1)


def test_i25_a_slope_that_is_no_number_scales_nothing(tmp_path):
    nifti = nibabel.Nifti1Image(voxels(7, 6, 5), OBLIQUE)
    nifti.header["scl_slope"] = np.nan
    (tmp_path / "a.nii").write_bytes(raw_bytes(nifti))

    np.testing.assert_array_equal(read_stored(tmp_path / "a.nii").data, voxels(7, 6, 5).T)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1e3), (2, 1.0)], ids=["m", "mm"])
@pytest.mark.parametrize("size", [5e-5, 1e-7])
def test_a_turned_sform_of_tiny_voxels_is_kept(tmp_path, unit, factor, size):
    affine = np.diag([size, size, size, 1]) @ OBLIQUE
    nifti = nibabel.Nifti2Image(voxels(7, 6, 5), None)
    nifti.header.set_sform(affine, code=1)
    nifti.header["xyzt_units"] = unit
    (tmp_path / "a.nii").write_bytes(raw_bytes(nifti))

    read = read_stored(tmp_path / "a.nii").geometry.affine_in("RAS")

    expected = nibabel.load(tmp_path / "a.nii").affine
    np.testing.assert_allclose(read[:3], expected[:3] * factor, rtol=1e-12)


@pytest.mark.parametrize(
    "pixdim", [[0, 2, 3, 4], [-3, 2, 3, 4], [np.nan, 2, 3, 4], [1, -2, 3, -4], [-1, -2, 3, 4]]
)
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_strange_pixdim_beside_a_qform_is_mended_as_nibabel_does(tmp_path, kind, pixdim):
    nifti = kind(voxels(7, 6, 5), OBLIQUE)
    nifti.header["qform_code"], nifti.header["sform_code"] = 1, 0
    nifti.header["pixdim"][:4] = pixdim
    (tmp_path / "a.nii").write_bytes(raw_bytes(nifti))
    expected = nibabel.load(tmp_path / "a.nii").affine

    image = read_image(tmp_path / "a.nii")
    save_labels(tmp_path / "b.nii", image.data, image)

    stored = read_stored(tmp_path / "a.nii").geometry
    np.testing.assert_array_equal(stored.affine_in("RAS"), expected)
    assert image.geometry.spacing == stored.spacing == (4, 3, 2)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "b.nii").affine, expected)


def test_i25_a_singular_sform_gives_way_to_the_qform(tmp_path):
    nifti = nibabel.Nifti1Image(voxels(7, 6, 5), np.diag([2.0, 3, 4, 1]))
    nifti.header["sform_code"], nifti.header["qform_code"] = 1, 1
    nifti.header["srow_x"] = 0
    (tmp_path / "a.nii").write_bytes(raw_bytes(nifti))

    assert read_image(tmp_path / "a.nii").geometry.spacing == (4, 3, 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [("dim", [9, 7, 6, 5, 1, 1, 1, 1]), ("dim", [3, -7, 6, 5, 1, 1, 1, 1]), ("datatype", 12345)]
    + [("vox_offset", value) for value in (0, 1e30, np.nan)],
)
def test_i24_a_damaged_header_is_called_corrupt(tmp_path, field, value):
    nifti = nibabel.Nifti1Image(voxels(7, 6, 5), OBLIQUE)
    header = nibabel.Nifti1Header(nifti.header.binaryblock)
    header["vox_offset"] = 352
    header[field] = value
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(1000))

    with pytest.raises(UnreadableFileError, match=r"a\.nii.*truncated or corrupt"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("lazy", [False, True])
def test_i24_a_file_cut_short_is_told(tmp_path, ending, lazy):
    path = write(tmp_path / f"a{ending}", voxels(37, 36, 35))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(UnreadableFileError, match=rf"a\{ending}.*"):
        np.asarray((open_image if lazy else read_image)(path).data)


def test_i22_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30))
    header.set_data_dtype(np.float32)
    header["vox_offset"] = 352
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(10**6)))

    with pytest.raises(UnreadableFileError, match=r"a\.nii\.gz.*declares .* GB of pixels"):
        read_image(tmp_path / "a.nii.gz")


def test_another_compressed_file_is_called_an_archive(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"some text" * 100))

    with pytest.raises(UnreadableFileError, match="a compressed archive"):
        read_image(tmp_path / "a.nii.gz")


def test_without_nibabel_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii", voxels(7, 6, 5))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    sentence = r"takes a library.*pip install 'napari-rwkv-seg\[nifti\]'"

    with pytest.raises(UnreadableFileError, match=sentence):
        read_image(path)
    with pytest.raises(OutputError, match=sentence):
        save_labels(tmp_path / "b.nii", voxels(5, 6, 7))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    dtype=st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]),
    numbers=st.lists(st.floats(-100, 100, width=32), min_size=12, max_size=12),
    seed=st.integers(0, 99),
)
def test_any_affine_and_shape_makes_the_round_trip(tmp_path, shape, dtype, numbers, seed):
    affine = np.vstack([np.reshape(numbers, (3, 4)), [0, 0, 0, 1]])
    data = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    nifti = nibabel.Nifti1Image(data, None)
    nifti.header.set_sform(affine, code=2)
    (tmp_path / "a.nii").write_bytes(raw_bytes(nifti))
    image = read_image(tmp_path / "a.nii")

    save_labels(tmp_path / "b.nii.gz", image.data.astype(np.uint8), image)

    after = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(after.get_sform(), nibabel.load(tmp_path / "a.nii").get_sform())
    np.testing.assert_array_equal(np.asarray(after.dataobj), data)
    assert read_image(tmp_path / "b.nii.gz").geometry == image.geometry
