"""Any shape, dtype, spacing and affine is the same after it was saved and read again."""

import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images import Geometry, ImageFile, open_image, read_image, save_labels
from napari_rwkv_seg.images.orientation import as_stored

SETTINGS = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
sizes = st.floats(1e-6, 1e6, allow_nan=False)
places = st.floats(-1e6, 1e6, allow_nan=False)
lengths = {"micrometer", "millimeter", "nanometer", "pixel", "meter"}


@st.composite
def images(draw):
    """Return labels with a geometry of any kind."""
    axes = draw(st.sampled_from(["YX", "ZYX", "TYX", "TZYX"]))
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=len(axes), max_size=len(axes))))
    unit = draw(st.sampled_from(sorted(lengths)))
    time_unit = draw(st.sampled_from(["second", "millisecond", "frame"]))
    units = tuple(time_unit if letter == "T" else unit for letter in axes)
    spacing = tuple(draw(sizes) for _ in axes)
    origin, affine, world = tuple(draw(places) for _ in axes), None, ""
    if "Z" in axes and draw(st.booleans()):
        rows = [[draw(places) for _ in range(4)] for _ in range(3)]
        affine, world = (
            (*map(tuple, rows), (0.0, 0.0, 0.0, 1.0)),
            draw(st.sampled_from(["RAS", "LPS"])),
        )
    highest = draw(st.sampled_from([1, 255, 256, 65_536, 2**32 - 1]))
    data = np.random.default_rng(0).integers(0, highest, shape, endpoint=True)
    place = Geometry(axes, spacing, units, origin, affine, world)
    return ImageFile(data, axes, place.pixel_size, None, place)


@settings(SETTINGS, max_examples=15)
@given(image=images(), ending=st.sampled_from(["ome.tif", "zarr"]))
def test_any_geometry_makes_the_round_trip(tmp_path, image, ending):
    path = tmp_path / f"a.{ending}"

    save_labels(path, image.data, image)

    for again in (read_image(path), open_image(path)):
        data, geometry = as_stored(again.data, again.geometry)
        np.testing.assert_array_equal(np.asarray(data), image.data)
        assert replace(geometry, affine=None) == replace(image.geometry, affine=None)
        assert again.axes == image.axes
        if image.geometry.affine is None:
            assert geometry.affine is None
        else:  # rounded where it was turned and turned back
            matrix = np.array(image.geometry.affine)
            most = max(1, np.abs(matrix).max()) * 1e-12
            np.testing.assert_allclose(geometry.affine, matrix, rtol=0, atol=most)
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@SETTINGS
@given(
    shape=st.lists(st.integers(2, 70), min_size=2, max_size=3),  # of 1, tifffile's axes are odd
    dtype=st.sampled_from(["u1", "u2", "i2", "u4", "f4", "f8", ">u2", ">f4"]),
    tile=st.sampled_from([None, (16, 16), (32, 48)]),
    compression=st.sampled_from([None, "zlib"]),
)
def test_any_tiff_is_the_same_whole_and_in_parts(tmp_path, shape, dtype, tile, compression):
    data = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    options = {"photometric": "minisblack", "tile": tile, "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", data, byteorder=">" if dtype[0] == ">" else "<", **options)

    whole, opened = read_image(tmp_path / "a.tif"), open_image(tmp_path / "a.tif")

    assert (opened.axes, opened.data.shape) == (whole.axes, whole.data.shape)
    np.testing.assert_array_equal(np.asarray(opened.data), whole.data)
    rows = slice(shape[-2] // 3, shape[-2])
    np.testing.assert_array_equal(np.asarray(opened.data[..., rows, 1:]), whole.data[..., rows, 1:])


@given(
    factors=st.tuples(*[st.integers(1, 5)] * 3),
    voxel=st.tuples(*[st.integers(0, 50)] * 3),
    numbers=st.lists(st.floats(-10, 10), min_size=12, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_a_coarser_voxel_lies_in_the_middle_of_those_that_it_stands_for(factors, voxel, numbers):
    affine = (*(tuple(numbers[at : at + 4]) for at in (0, 4, 8)), (0.0, 0.0, 0.0, 1.0))
    fine = Geometry("ZYX", (1.0,) * 3, ("millimeter",) * 3, (0.0,) * 3, affine, "LPS")

    coarse = fine.coarser(factors)

    z, y, x = (f * v + (f - 1) / 2 for f, v in zip(factors, voxel, strict=True))
    there = coarse.affine_in("LPS") @ [voxel[2], voxel[1], voxel[0], 1]
    np.testing.assert_allclose(there, fine.affine_in("LPS") @ [x, y, z, 1], atol=1e-9)


def test_the_two_worlds_of_patients_are_mirrors_of_one_another():
    affine = ((1.0, 0, 0, 2), (0, 3, 0, 4), (0, 0, 5, 6), (0, 0, 0, 1))
    place = Geometry("ZYX", (5.0, 3, 1), ("millimeter",) * 3, (0.0,) * 3, affine, "RAS")

    np.testing.assert_array_equal(
        place.affine_in("LPS"), [[-1, 0, 0, -2], [0, -3, 0, -4], [0, 0, 5, 6], [0, 0, 0, 1]]
    )
    np.testing.assert_array_equal(place.affine_in("RAS"), affine)


def test_axes_that_are_new_have_an_unknown_spacing():
    place = Geometry("ZYX", (5.0, 3, 1), ("millimeter",) * 3, (7.0, 8, 9))

    made = place.of_axes("TYX")

    assert made.spacing == (1, 3, 1)
    assert made.units == ("frame", "millimeter", "millimeter")
    assert made.origin == (0, 8, 9)


def chained(count, circular):
    """Return a TIFF of `count` pages of one pixel; the last may point back to the first."""
    out = bytearray(b"II*\0" + struct.pack("<I", 16) + bytes(8))
    for number in range(count):
        start = len(out)
        entries = [(256, 1), (257, 1), (258, 8), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
        table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        end = start + 2 + len(table) + 4
        last = number == count - 1
        out += struct.pack("<H", len(entries)) + table
        out += struct.pack("<I", (16 if circular else 0) if last else end)
    return bytes(out)


@pytest.mark.parametrize("circular", [False, True])
def test_i21_pages_that_point_in_a_circle_end(tmp_path, circular):
    (tmp_path / "a.tif").write_bytes(chained(5, circular))

    try:
        shape = read_image(tmp_path / "a.tif").data.shape
    except UnreadableFileError:
        shape = None
    assert shape in (None, (5, 1, 1)) if circular else shape == (5, 1, 1)


def test_i21_very_many_pages_are_opened_without_reading_them(tmp_path):
    (tmp_path / "a.tif").write_bytes(chained(20_000, False))

    assert open_image(tmp_path / "a.tif").data.shape == (20_000, 1, 1)
