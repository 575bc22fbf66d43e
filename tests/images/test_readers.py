import os
import struct
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images.readers import read_image


def pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8", ">u2", "?"], ids=str)
def test_a_tiff_comes_back_as_it_was_written(tmp_path, dtype):
    data = pixels(31, 47).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", data)

    image = read_image(tmp_path / "a.tif")

    np.testing.assert_array_equal(image.data, data)
    assert (image.axes, image.pixel_size) == ("YX", None)
    assert image.path == tmp_path / "a.tif"


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 31, 47), "ZYX"),
        ((9, 31, 47), "TYX"),
        ((3, 31, 47), "CYX"),
        ((2, 3, 31, 47), "TCYX"),
        ((2, 5, 3, 31, 47), "TZCYX"),
        ((31, 47, 3), "YXS"),
    ],
    ids=str,
)
def test_axes_come_from_ome_metadata(tmp_path, shape, axes):
    data = pixels(*shape)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": axes}, photometric=None)

    image = read_image(tmp_path / "a.ome.tif")

    assert image.axes == axes.replace("S", "C")
    np.testing.assert_array_equal(image.data, data)


def test_pages_without_a_meaning_are_a_stack_along_z(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(9, 31, 47), photometric="minisblack")

    assert read_image(tmp_path / "a.tif").axes == "ZYX"


def test_a_colour_tiff_has_its_channels_last(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(31, 47, 3), photometric="rgb")

    assert read_image(tmp_path / "a.tif").axes == "YXC"


def test_axes_that_do_not_fit_are_refused(tmp_path):
    data = pixels(2, 3, 31, 47, 3)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": "TCYXS"}, photometric="rgb")

    with pytest.raises(UnreadableFileError, match="do not fit T, Z, C, Y and X"):
        read_image(tmp_path / "a.ome.tif")


@pytest.mark.parametrize(("unit", "factor"), [("µm", 1), ("nm", 1e-3), ("mm", 1e3)])
def test_the_pixel_size_of_ome_is_in_micrometres(tmp_path, unit, factor):
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": unit,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels(31, 47), metadata=metadata)

    assert read_image(tmp_path / "a.ome.tif").pixel_size == pytest.approx(
        (0.5 * factor, 0.25 * factor)
    )


@pytest.mark.parametrize("escape", ["&#181;", "&#xB5;", "&#x3BC;", r"\u00B5"])
def test_a_micrometre_of_ome_may_be_escaped(tmp_path, escape):
    told = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "TimeIncrement": 30}
    told |= {"PhysicalSizeXUnit": "??m", "PhysicalSizeYUnit": "??m", "TimeIncrementUnit": "??s"}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels(2, 31, 47), metadata={"axes": "TYX"} | told)
    tifffile.tiffcomment(path, tifffile.tiffcomment(path).replace("??", escape))

    geometry = read_image(path).geometry

    assert geometry.units == ("microsecond", "micrometer", "micrometer")
    assert geometry.spacing == (30, 0.5, 0.25)


@pytest.mark.parametrize("unit", ["um", "micron", r"\u00B5m", r"\u00b5m", r"\u03BCm"])
def test_the_pixel_size_of_imagej_is_in_micrometres(tmp_path, unit):
    tifffile.imwrite(
        tmp_path / "a.tif", pixels(31, 47), imagej=True, resolution=(4, 2), metadata={"unit": unit}
    )

    assert read_image(tmp_path / "a.tif").pixel_size == pytest.approx((0.5, 0.25))


def test_a_resolution_in_centimetres_is_a_pixel_size(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", pixels(31, 47), resolution=(40_000, 20_000), resolutionunit="CENTIMETER"
    )

    assert read_image(tmp_path / "a.tif").pixel_size == pytest.approx((0.5, 0.25))


def test_a_resolution_in_dots_per_inch_is_no_pixel_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(31, 47), resolution=(72, 72), resolutionunit="INCH")

    assert read_image(tmp_path / "a.tif").pixel_size is None


@pytest.mark.parametrize(
    ("mode", "shape", "axes", "dtype"),
    [
        ("L", (31, 47), "YX", np.uint8),
        ("I;16", (31, 47), "YX", np.uint16),
        ("1", (31, 47), "YX", np.bool_),
        ("RGB", (31, 47, 3), "YXC", np.uint8),
        ("RGBA", (31, 47, 4), "YXC", np.uint8),
        ("LA", (31, 47), "YX", np.uint8),
        ("P", (31, 47, 3), "YXC", np.uint8),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_png_has_its_axes(tmp_path, mode, shape, axes, dtype):
    Image.new(mode, (47, 31)).save(tmp_path / "a.png")

    image = read_image(tmp_path / "a.png")

    assert (image.data.shape, image.axes, image.data.dtype) == (shape, axes, dtype)


def test_a_png_comes_back_as_it_was_written(tmp_path):
    data = pixels(31, 47, dtype=np.uint16)
    Image.fromarray(data).save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, data)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_grey_or_colour(tmp_path, mode):
    Image.new(mode, (47, 31)).save(tmp_path / "a.jpg")

    image = read_image(tmp_path / "a.jpg")

    assert image.axes == ("YX" if mode == "L" else "YXC")
    assert image.data.shape == ((31, 47) if mode == "L" else (31, 47, 3))


def test_the_content_counts_and_not_the_name(tmp_path):
    data = pixels(31, 47)
    tifffile.imwrite(tmp_path / "a.png", data)

    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, data)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"nowhere\.tif.*No such file"):
        read_image(tmp_path / "nowhere.tif")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"PK\x03\x04 and so on", "archive"),
        (b"some,table\n1,2\n", "not a kind of file"),
    ],
    ids=["empty", "html", "zip", "csv"],
)
def test_another_kind_of_file_is_called_what_it_is(tmp_path, content, reason):
    (tmp_path / "a.tif").write_bytes(content)

    with pytest.raises(UnreadableFileError, match=f"a.tif.*{reason}.*TIFF, PNG or JPEG"):
        read_image(tmp_path / "a.tif")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UnreadableFileError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in the file system")
def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tif")

    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_image(tmp_path / "a.tif")


def test_an_impossible_name_is_refused():
    with pytest.raises(UnreadableFileError, match="Cannot read"):
        read_image("a\0b.tif")


@pytest.mark.parametrize("kind", ["tif", "png", "jpg"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_short_is_unreadable(tmp_path, kind, share):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(pixels(131, 147)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    with pytest.raises(UnreadableFileError, match=f"a.{kind}"):
        read_image(path)


def test_a_compression_that_takes_another_package_is_answered_with_its_name(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    tifffile.imwrite(tmp_path / "a.tif", pixels(31, 47))
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", refuse)

    with pytest.raises(UnreadableFileError, match=r"a\.tif.*LZW.*pip install imagecodecs"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_give_an_image_or_an_unreadable_file(tmp_path, seed):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(31, 47), compression="zlib", tile=(16, 16))
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(4, len(content), 12):
        content[place] = rng.integers(0, 256)
    path.write_bytes(content)

    with suppress(UnreadableFileError):
        assert read_image(path, limit=10**8).data.nbytes <= 10**8


def tiny_tiff(side):
    """Return a TIFF of under 200 bytes that claims to be `side` × `side` pixels."""
    entries = [
        (256, 4, side),
        (257, 4, side),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, side),
        (279, 4, 8),
    ]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + table + bytes(4)


@pytest.mark.parametrize("side", [100_000, 2**31 - 1], ids=["100k", "2^31"])
def test_a_tiff_that_claims_too_many_pixels_is_refused_before_decoding(tmp_path, side):
    (tmp_path / "bomb.tif").write_bytes(tiny_tiff(side))

    with pytest.raises(UnreadableFileError, match=r"bomb\.tif.*declares .* GB of pixels"):
        read_image(tmp_path / "bomb.tif")


def test_a_png_that_claims_too_many_pixels_is_refused_before_decoding(tmp_path):
    Image.new("L", (300, 400)).save(tmp_path / "a.png")

    with pytest.raises(UnreadableFileError, match="declares"):
        read_image(tmp_path / "a.png", limit=100_000)


def chunk(kind, content):
    checked = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checked


def deep_png(data, kind):
    """Return a PNG of 16 bits; `kind` is 2 for RGB, 4 for grey with alpha, 6 for RGBA."""
    head = struct.pack(">IIBBBBB", data.shape[1], data.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in data)
    packed = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + packed


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "LA", "RGBA"])
def test_a_png_keeps_all_of_its_16_bits(tmp_path, kind, channels):
    pytest.importorskip("imagecodecs")
    data = pixels(31, 47, channels, dtype=np.uint16) * 300
    (tmp_path / "a.png").write_bytes(deep_png(data, kind))

    image = read_image(tmp_path / "a.png")

    np.testing.assert_array_equal(image.data, data[..., 0] if kind == 4 else data)
    assert (image.axes, image.notes) == ("YX" if kind == 4 else "YXC", ())


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "LA", "RGBA"])
def test_where_only_8_of_16_bits_can_be_read_that_is_said(tmp_path, monkeypatch, kind, channels):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    data = pixels(31, 47, channels, dtype=np.uint16) * 300
    (tmp_path / "a.png").write_bytes(deep_png(data, kind))

    image = read_image(tmp_path / "a.png")

    np.testing.assert_array_equal(image.data, (data[..., 0] if kind == 4 else data) // 256)
    assert "pip install imagecodecs" in image.notes[0]


def test_ome_metadata_may_stand_in_single_quotes(tmp_path):
    told = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels(31, 47), metadata=told)
    text = tifffile.tiffcomment(tmp_path / "a.ome.tif")
    tifffile.tiffcomment(tmp_path / "a.ome.tif", text.replace('"', "'"))

    geometry = read_image(tmp_path / "a.ome.tif").geometry

    assert geometry.spacing == (0.5, 0.25)
    assert geometry.units == ("nanometer", "micrometer")
