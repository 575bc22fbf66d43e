"""What an image claims and its file cannot hold is refused before room is made for it."""

import io
import time
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images import open_image, read_image
from napari_rwkv_seg.images.lazy import as_dask

pytest.importorskip("dask.array")  # imported now, not while memory is measured
PIXELS = np.random.default_rng(0).integers(0, 200, (40, 48)).astype(np.uint16)
LIMIT = 10_000_000  # bytes of pixels that are asked for
MEMORY = 24_000_000  # bytes; the files claim far more
TIME_S = 5


def refused(match, *reads):
    """Check that each read is refused, soon and with little memory."""
    tracemalloc.start()
    begun = time.monotonic()
    try:
        for read in reads:
            with pytest.raises(UnreadableFileError, match=match):
                read()
        assert tracemalloc.get_traced_memory()[1] < MEMORY
        assert time.monotonic() - begun < TIME_S
    finally:
        tracemalloc.stop()


def first_pixels(path):
    return np.asarray(open_image(path, limit=LIMIT).data[..., :2, :2])


@pytest.mark.parametrize("frames", [30_000, 2**31 - 1])
def test_i28_frames_that_a_nifti_does_not_hold_are_not_cut_into_pieces(tmp_path, frames):
    header = nibabel.Nifti2Header()
    header.set_data_dtype(np.int16)
    header["dim"] = [4, 7, 6, 5, frames, 1, 1, 1]
    header["vox_offset"] = 544
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4 + 7 * 6 * 5 * 2))

    refused("truncated or corrupt", lambda: first_pixels(tmp_path / "a.nii"))


def damaged_tiff(path, tag, value, **options):
    """Write a TIFF of which one tag says something else."""
    tifffile.imwrite(path, PIXELS, metadata=None, **options)
    with tifffile.TiffFile(path, mode="r+b") as file:
        before = file.pages.first.tags[tag]
        count = before.count if isinstance(before.value, tuple) else 1
        before.overwrite((value,) * count, dtype="I")
    return path


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tag", ["ImageLength", "ImageWidth"])
def test_i21_strips_that_a_tiff_does_not_have_are_not_cut_into_pieces(tmp_path, tag, compression):
    options = {"compression": compression, "rowsperstrip": 8}
    path = damaged_tiff(tmp_path / "a.tif", tag, 1_500_000_000, **options)

    refused("damaged|corrupt|declares", lambda: first_pixels(path))


@pytest.mark.parametrize("tag", ["ImageLength", "ImageWidth"])
def test_i21_tiles_that_a_tiff_does_not_have_are_not_cut_into_pieces(tmp_path, tag):
    options = {"compression": "zlib", "tile": (16, 16)}
    path = damaged_tiff(tmp_path / "a.tif", tag, 1_500_000_000, **options)

    refused("lists fewer than", lambda: first_pixels(path))


def test_i21_a_tile_far_larger_than_its_image_is_refused(tmp_path):
    options = {"compression": "zlib", "tile": (16, 16)}
    path = damaged_tiff(tmp_path / "a.tif", "TileWidth", 2_000_000, **options)

    refused(
        "declares", lambda: first_pixels(path), lambda: read_image(path, limit=LIMIT)
    )  # fmt: skip


@pytest.mark.parametrize("options", [{"rowsperstrip": 8}, {"tile": (16, 16)}], ids=str)
def test_i21_a_strip_of_gigabytes_is_not_made_room_for(tmp_path, options):
    tag = "TileByteCounts" if "tile" in options else "StripByteCounts"
    options |= {"compression": "zlib"}
    path = damaged_tiff(tmp_path / "a.tif", tag, 4_000_000_000, **options)

    refused(
        "claims a strip or tile", lambda: first_pixels(path), lambda: read_image(path, limit=LIMIT)
    )


def test_pieces_without_end_are_refused():
    class Endless:
        shape, dtype = (10**9, 10**9), np.dtype(np.uint8)

    refused("pieces of pixels", lambda: as_dask(Path("a.zarr"), Endless(), (1, 1), LIMIT))


def test_i28_a_png_whose_pixels_claim_gigabytes_is_read_in_the_memory_of_its_file(tmp_path):
    pixels = PIXELS.astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    content = bytearray(file.getvalue())
    place = content.index(b"IDAT")
    content[place - 4 : place] = (1_500_000_000).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    tracemalloc.start()
    try:
        read = read_image(tmp_path / "a.png", limit=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(read.data, pixels)
