"""Rows I: images that no microscope makes."""

import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_rwkv_seg.errors import ImageError, UnreadableFileError
from napari_rwkv_seg.images.axes import guess_axes, planes
from napari_rwkv_seg.images.readers import read_image
from napari_rwkv_seg.inference.segment import segment

LENGTH = 8 + 2 + 9 * 12 + 4  # of a TIFF with one directory of nine entries


def pixels(*shape):
    return np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)


def tiff(side=64, compression=1, offset=LENGTH, count=4096, following=0) -> bytes:
    """Return the start of a TIFF that claims what it is told to."""
    values = {256: side, 257: side, 258: 8, 259: compression, 262: 1, 273: offset, 277: 1}
    values |= {278: side, 279: count}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<IH", 8, 9) + entries + struct.pack("<I", following)


@pytest.mark.parametrize("change", ["cut short", "overwritten", "deleted"])
def test_pixels_that_were_read_do_not_depend_on_their_file(tmp_path, change):
    path, before = tmp_path / "a.tif", pixels(31, 47)
    tifffile.imwrite(path, before)
    image = read_image(path)
    if change == "deleted":
        path.unlink()
    else:
        os.truncate(path, 10)
    if change == "overwritten":
        path.write_bytes(b"\xff" * 5000)
    np.testing.assert_array_equal(image.data, before)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_segmented_like_an_array():
    plain = pixels(40, 50)
    given = segment(np.matrix(plain), device="cpu")
    np.testing.assert_array_equal(given.labels, segment(plain, device="cpu").labels)


def test_strips_beyond_the_end_of_the_file_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(offset=10**9))
    with pytest.raises(UnreadableFileError, match=r"a\.tif.*damaged or cut short"):
        read_image(tmp_path / "a.tif")


@pytest.mark.timeout(30)
def test_a_circle_of_directories_ends(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(following=8) + pixels(4096).tobytes())
    assert read_image(tmp_path / "a.tif").data.shape == (64, 64)


@pytest.mark.timeout(30)
def test_a_circle_of_later_directories_is_refused(tmp_path):
    second = tiff(following=8 + LENGTH - 8)[8:]  # the second names itself as the next
    content = tiff(offset=2 * LENGTH, following=LENGTH) + second + pixels(9000).tobytes()
    assert content[LENGTH - 4 : LENGTH] == struct.pack("<I", LENGTH)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"a\.tif.*round in a circle"):
        read_image(tmp_path / "a.tif")


@pytest.mark.timeout(60)
def test_very_many_directories_end(tmp_path):
    count, content = 20_000, bytearray(tiff(side=4, count=16))
    end = 8 + count * (LENGTH - 8)
    directory = tiff(side=4, offset=end, count=16)[8:-4]
    for number in range(count):
        following = 8 + (number + 1) * (LENGTH - 8) if number < count - 1 else 0
        content[8 + number * (LENGTH - 8) :] = directory + struct.pack("<I", following)
    (tmp_path / "a.tif").write_bytes(content + bytes(16))
    assert read_image(tmp_path / "a.tif").data.shape == (count, 4, 4)


@pytest.mark.timeout(30)
def test_a_strip_that_inflates_beyond_its_claim_is_not_unpacked(tmp_path):
    strip = zlib.compress(bytes(300_000_000), 9)
    content = tiff(compression=8, count=len(strip)) + strip
    assert len(content) < 400_000
    (tmp_path / "bomb.tif").write_bytes(content)
    before = peak()
    with pytest.raises(UnreadableFileError, match=r"bomb\.tif.*cannot be decoded"):
        read_image(tmp_path / "bomb.tif")
    assert peak() - before < 100_000_000


def peak() -> int:
    """Return the most memory that this process ever had, in bytes; 0 where nobody counts it."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def test_a_large_honest_png_is_no_bomb(tmp_path, monkeypatch):
    data = pixels(31, 47)
    Image.fromarray(data).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit refuses at twice that
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, data)


@pytest.mark.skipif(os.name == "nt", reason="links and devices as on Linux and macOS")
@pytest.mark.parametrize("kind", ["device", "broken link", "link to itself"])
def test_what_is_no_file_is_refused_unread(tmp_path, kind):
    path = tmp_path / "a.tif"
    path.symlink_to({"device": Path("/dev/zero"), "broken link": Path("gone")}.get(kind, path))
    with pytest.raises(UnreadableFileError, match=r"a\.tif"):
        read_image(path)


ODD_NAMES = {
    "composed": "caf\u00e9.tif",
    "decomposed": "cafe\u0301.tif",
    "emoji": "🧫 cells.tif",
    "right to left": "a\u202egnp.tif",
    "newline": "two\nlines.tif",
    "long": "x" * 251 + ".tif",
    "trailing space": "a.tif ",
    "quotes": 'it\'s "a".tif',
    "format codes": "%s {0} $HOME.tif",
}


@pytest.mark.skipif(os.name == "nt", reason="Windows itself refuses half of these names")
@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_an_odd_name_is_read_and_an_error_about_it_is_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(tiff() + pixels(4096).tobytes())
    assert read_image(path).data.shape == (64, 64)
    path.write_bytes(b"no image")
    with pytest.raises(UnreadableFileError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["XYZZT", "QQ"])
def test_axes_in_ome_that_make_no_sense_are_refused(tmp_path, order):
    ome = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="P" DimensionOrder="{order}" Type="uint8" SizeX="8" SizeY="8" SizeZ="3" '
        'SizeC="1" SizeT="1"><TiffData/></Pixels></Image></OME>'
    )
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels(3, 8, 8), description=ome, metadata=None,
        photometric="minisblack",
    )  # fmt: skip
    with pytest.raises(UnreadableFileError, match=r"a\.ome\.tif"):
        read_image(tmp_path / "a.ome.tif")


def test_a_lazy_image_of_a_hundred_gigabytes_is_asked_for_its_planes_only():
    class Lazy:
        shape, dtype = (25_000, 2000, 2000), np.dtype(np.uint8)

        def __getitem__(self, key):
            assert key[0] == number, key
            return np.zeros((2000, 2000), np.uint8)

    number = 0
    for _, plane in planes(Lazy(), "ZYX"):
        assert plane.nbytes == 4_000_000
        number += 1
        if number == 3:
            break


def test_an_image_without_an_axis_is_refused():
    with pytest.raises(ImageError, match="axes"):
        guess_axes(())
