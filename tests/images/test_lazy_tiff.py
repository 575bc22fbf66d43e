"""TIFF files opened in parts give the same pixels as those read whole."""

import pickle

import numpy as np
import pytest
import tifffile

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images import levels, open_image, read_image, tiff_regions


def pixels(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


LAYOUTS = {
    "contiguous": {},
    "tiles": {"tile": (32, 48), "compression": "zlib"},
    "strips": {"rowsperstrip": 7, "compression": "zlib"},
    "raw tiles": {"tile": (16, 16)},
    "predictor": {"tile": (32, 32), "compression": "zlib", "predictor": True},
    "big endian": {"byteorder": ">", "tile": (32, 32), "compression": "zlib"},
    "raw big endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((70, 90), "YX"), ((3, 70, 90), "ZYX"), ((2, 3, 70, 90), "TZYX"), ((2, 3, 70, 90), "TCYX")],
    ids=["YX", "ZYX", "TZYX", "TCYX"],
)
def test_a_lazy_tiff_holds_the_pixels_of_one_that_is_read_whole(tmp_path, layout, shape, axes):
    data = pixels(*shape)
    options = {"photometric": "minisblack", "metadata": {"axes": axes}} | LAYOUTS[layout]
    tifffile.imwrite(tmp_path / "a.ome.tif", data, **options)

    image = open_image(tmp_path / "a.ome.tif")

    assert image.axes == axes
    assert hasattr(image.data, "dask")
    np.testing.assert_array_equal(image.data.compute(), data)
    np.testing.assert_array_equal(image.data[..., 13:61, 5:77].compute(), data[..., 13:61, 5:77])
    np.testing.assert_array_equal(read_image(tmp_path / "a.ome.tif").data, data)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_lazy_colour_tiff_holds_the_same_pixels(tmp_path, planar, compression):
    data = pixels(70, 90, 3, dtype=np.uint8)
    stored = data if planar == "contig" else np.moveaxis(data, -1, 0)
    options = {"planarconfig": planar, "compression": compression, "tile": (32, 32)}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **options)

    image = open_image(tmp_path / "a.tif")

    assert image.axes == ("YXC" if planar == "contig" else "CYX")
    np.testing.assert_array_equal(image.data.compute(), stored)


def test_only_the_tiles_that_are_looked_at_are_decoded(tmp_path, monkeypatch):
    seen = []
    segment = tiff_regions._Segments._segment

    def watched(self, file, number, index):
        seen.append(index)
        return segment(self, file, number, index)

    monkeypatch.setattr(tiff_regions._Segments, "_segment", watched)
    tifffile.imwrite(tmp_path / "a.tif", pixels(2048, 2048), tile=(256, 256), compression="zlib")

    open_image(tmp_path / "a.tif").data[300:400, 1200:1300].compute()

    assert len(seen) <= 16  # of 64: one piece of 1024 × 1024


def test_a_lazy_tiff_can_be_sent_to_another_process(tmp_path):
    data = pixels(70, 90)
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(32, 32), compression="zlib")
    reading = open_image(tmp_path / "a.tif").data

    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reading)).compute(), data)


def write_pyramid(path, data):
    with tifffile.TiffWriter(path, ome=True) as file:
        metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}
        options = {"tile": (32, 32), "compression": "zlib"}
        file.write(data, subifds=2, metadata=metadata, **options)
        file.write(data[::2, ::2], subfiletype=1, **options)
        file.write(data[::4, ::4], subfiletype=1, **options)


def test_the_levels_of_a_pyramid_have_their_own_spacing(tmp_path):
    write_pyramid(tmp_path / "a.ome.tif", pixels(130, 190))

    found = levels(tmp_path / "a.ome.tif")

    assert [level.shape for level in found] == [(130, 190), (65, 95), (33, 48)]
    assert [level.geometry.spacing for level in found] == [(0.25, 0.5), (0.5, 1.0), (1.0, 2.0)]
    assert found[1].geometry.origin == (0.125, 0.25)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_level_of_a_pyramid_opens(tmp_path, level):
    data = pixels(130, 190)
    write_pyramid(tmp_path / "a.ome.tif", data)
    step = 2**level

    image = open_image(tmp_path / "a.ome.tif", level)

    np.testing.assert_array_equal(image.data.compute(), data[::step, ::step])
    assert image.pixel_size == (0.25 * step, 0.5 * step)


def test_a_level_that_is_not_there_is_refused_with_how_many_there_are(tmp_path):
    write_pyramid(tmp_path / "a.ome.tif", pixels(130, 190))

    with pytest.raises(UnreadableFileError, match="3 resolution levels; there is no 3"):
        open_image(tmp_path / "a.ome.tif", 3)


def test_a_lazy_piece_that_is_damaged_names_the_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(70, 90), tile=(32, 32), compression="zlib")
    image = open_image(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (tmp_path / "a.tif").write_bytes(content)

    with pytest.raises(UnreadableFileError, match=r"a\.tif"):
        image.data.compute()


def test_a_lazy_piece_is_never_larger_than_allowed(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(700, 900), tile=(32, 32), compression="zlib")

    with pytest.raises(UnreadableFileError, match="declares"):
        open_image(tmp_path / "a.tif", limit=10_000).data.compute()


def test_z_and_t_of_imagej_have_their_spacing(tmp_path):
    metadata = {"axes": "TZYX", "unit": "um", "spacing": 2.5, "finterval": 30.0}
    data = pixels(2, 3, 31, 47)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, resolution=(4, 2), metadata=metadata)

    geometry = read_image(tmp_path / "a.tif").geometry

    assert geometry.spacing == pytest.approx((30.0, 2.5, 0.5, 0.25))
    assert geometry.units == ("second", "micrometer", "micrometer", "micrometer")


def test_i34_an_ome_file_with_planes_in_a_missing_file_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels(3, 31, 47), metadata={"axes": "ZYX"})
    content = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(content.replace(b'SizeZ="3"', b'SizeZ="5"'))

    with pytest.raises(UnreadableFileError, match="more planes than there are"):
        read_image(tmp_path / "a.ome.tif")


def test_i34_ome_metadata_that_does_not_fit_is_told_and_nothing_is_transposed(tmp_path):
    data = pixels(3, 31, 47)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": "ZYX"})
    content = (tmp_path / "a.ome.tif").read_bytes()
    content = content.replace(b'SizeX="47"', b'SizeX="31"').replace(b'SizeY="31"', b'SizeY="47"')
    (tmp_path / "a.ome.tif").write_bytes(content)

    image = read_image(tmp_path / "a.ome.tif")

    assert image.data.shape[-2:] == (31, 47)
    assert image.notes == (
        "Its OME-XML does not fit its pages, so the pages were read in their own order: "
        "check the axes.",
    )


@pytest.mark.parametrize("copied", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize(
    "layout", [{"tile": (32, 32)}, {"rowsperstrip": 16}], ids=["tile", "strip"]
)
@pytest.mark.parametrize("photometric", ["minisblack", "rgb", "ycbcr"])
def test_a_lazy_tiff_packed_as_jpeg_holds_the_same_pixels(tmp_path, photometric, layout, copied):
    pytest.importorskip("imagecodecs")
    path, shape = tmp_path / "a.tif", (70, 90) if photometric == "minisblack" else (70, 90, 3)
    stored = {"photometric": photometric.replace("ycbcr", "rgb"), "compression": "jpeg"}
    if photometric == "ycbcr":  # as scanners of slides write them
        stored |= {"photometric": "ycbcr", "subsampling": (2, 2)}
    tifffile.imwrite(path, pixels(*shape, dtype=np.uint8), **stored, **layout)

    lazy = open_image(path).data
    lazy = pickle.loads(pickle.dumps(lazy)) if copied else lazy

    assert hasattr(lazy, "dask")
    np.testing.assert_array_equal(lazy.compute(), read_image(path).data)


@pytest.mark.parametrize(
    ("fine", "coarse", "sizes"),
    [
        ((1000, 1500), (667, 1000), (1.5, 1.5)),
        ((1000, 1500), (400, 600), (2.5, 2.5)),
        ((1001, 1500), (500, 750), (2, 2)),
        ((1001, 1500), (126, 188), (8, 8)),
        ((1000, 1500), (1000, 500), (1, 3)),
    ],
    ids=["3/2", "5/2", "2", "8", "across"],
)
def test_a_level_may_be_coarser_by_a_factor_that_is_not_whole(tmp_path, fine, coarse, sizes):
    metadata = {"axes": "YX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(np.zeros(fine, np.uint8), subifds=1, tile=(64, 64), metadata=metadata)
        file.write(np.zeros(coarse, np.uint8), subfiletype=1, tile=(64, 64))

    found = levels(tmp_path / "a.ome.tif")[1].geometry.spacing

    assert found == pytest.approx(sizes, rel=1e-3)
