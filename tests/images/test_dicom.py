"""DICOM is read in the order of space, with values and places as highdicom tells them."""

import io
import struct
import sys
import zlib

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images import open_image, read_image

from .dicom_files import make, save, voxels, write_enhanced, write_series

AFFINE = [[0.6, -0.3, 0, -10], [0.45, 0.4, 0, 20], [0, 0, 2.5, 5], [0, 0, 0, 1]]


@pytest.mark.parametrize("order", [None, [3, 1, 0, 2], [3, 2, 1, 0]], ids=str)
def test_planes_are_sorted_by_where_they_lie(tmp_path, order):
    volume = voxels(4, 6, 7)
    write_series(tmp_path / "s", volume, order=order)

    image = read_image(tmp_path / "s")

    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.data, volume)
    np.testing.assert_allclose(image.geometry.affine_in("LPS"), AFFINE, atol=1e-12)
    assert image.geometry.spacing == (2.5, 0.5, 0.75)
    assert image.pixel_size == (500, 750)
    assert image.notes == ()


def test_highdicom_sees_the_same_volume_in_the_same_place(tmp_path):
    folder = write_series(tmp_path / "s", voxels(4, 6, 7), order=[3, 1, 0, 2])
    read = [pydicom.dcmread(path) for path in folder.iterdir()]
    theirs = highdicom.get_volume_from_series(read)

    image = read_image(folder)

    corner = theirs.array[0, 2, 5]
    place = (theirs.affine @ [0, 2, 5, 1])[:3]
    index = np.linalg.inv(image.geometry.affine_in("LPS")) @ [*place, 1]
    x, y, z = np.rint(index[:3]).astype(int)
    np.testing.assert_allclose(index[:3], (x, y, z), atol=1e-9)
    assert (x, y) == (5, 2)
    assert image.data[z, y, x] == corner


def test_slope_and_intercept_are_applied_in_whole_numbers(tmp_path):
    volume = voxels(4, 6, 7)
    write_series(tmp_path / "s", volume, RescaleSlope=2, RescaleIntercept=-1024, BitsStored=12)

    image = read_image(tmp_path / "s")

    np.testing.assert_array_equal(image.data, volume * 2 - 1024)
    assert image.data.dtype == np.int16


def test_a_slope_that_is_no_whole_number_gives_floats(tmp_path):
    volume = voxels(4, 6, 7)
    write_series(tmp_path / "s", volume, RescaleSlope=0.25, RescaleIntercept=0)

    np.testing.assert_allclose(read_image(tmp_path / "s").data, volume * 0.25)


@pytest.mark.parametrize(
    ("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65535), (np.int16, -1)], ids=str
)
def test_i26_monochrome1_is_inverted_so_that_high_is_bright(tmp_path, dtype, highest):
    volume = voxels(4, 6, 7, dtype=dtype)
    write_series(tmp_path / "s", volume, PhotometricInterpretation="MONOCHROME1")

    np.testing.assert_array_equal(read_image(tmp_path / "s").data, highest - volume.astype(int))


def test_a_single_file_is_a_plane(tmp_path):
    volume = voxels(4, 6, 7)
    write_series(tmp_path / "s", volume)

    image = read_image(tmp_path / "s" / "1_003.dcm")

    assert image.axes == "YX"
    np.testing.assert_array_equal(image.data, volume[2])
    assert image.geometry.spacing == (0.5, 0.75)


@pytest.mark.parametrize("order", [None, [2, 0, 3, 1]], ids=str)
def test_an_enhanced_file_is_a_volume_in_the_order_of_space(tmp_path, order):
    volume = voxels(4, 6, 7)

    image = read_image(write_enhanced(tmp_path / "a.dcm", volume, order))

    np.testing.assert_array_equal(image.data, volume * 2 - 100)
    np.testing.assert_allclose(image.geometry.affine_in("LPS"), AFFINE, atol=1e-12)


def test_a_film_is_a_series_in_time(tmp_path):
    film = voxels(5, 6, 7, dtype=np.uint8)

    image = read_image(save(tmp_path / "a.dcm", make(film, NumberOfFrames=5, FrameTime=40)))

    assert (image.axes, image.geometry.spacing) == ("TYX", (0.04, 1, 1))
    np.testing.assert_array_equal(image.data, film)


def test_frames_without_time_and_place_are_a_stack_and_that_is_told(tmp_path):
    image = read_image(save(tmp_path / "a.dcm", make(voxels(5, 6, 7), NumberOfFrames=5)))

    assert image.axes == "ZYX"
    assert image.notes == ("Its planes do not say where they lie, only their order.",)


def test_planes_that_return_to_their_places_are_volumes_in_time(tmp_path):
    volumes = voxels(3, 4, 6, 7)
    for time, volume in enumerate(volumes):
        write_series(
            tmp_path / "s", volume, series=f"1.2.3.{time}", TemporalPositionIdentifier=time
        )
        for path in (tmp_path / "s").glob(f"{time}_*"):
            file = pydicom.dcmread(path)
            file.SeriesInstanceUID = "1.2.9"
            file.save_as(path)

    image = read_image(tmp_path / "s")

    assert image.axes == "TZYX"
    np.testing.assert_array_equal(image.data, volumes)


def test_colours_are_channels(tmp_path):
    pixels = voxels(6, 7, 3, dtype=np.uint8)
    file = make(pixels[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB")
    file.PlanarConfiguration, file.PixelData = 0, pixels.tobytes() + bytes(pixels.size % 2)

    image = read_image(save(tmp_path / "a.dcm", file))

    assert image.axes == "YXC"
    np.testing.assert_array_equal(image.data, pixels)


def test_compressed_planes_are_decoded(tmp_path):
    pixels = voxels(6, 7)
    file = make(pixels)
    file.compress(RLELossless)

    np.testing.assert_array_equal(read_image(save(tmp_path / "a.dcm", file)).data, pixels)


def test_a_lazy_series_decodes_only_what_is_looked_at(tmp_path):
    volume = voxels(4, 6, 7)
    folder = write_series(tmp_path / "s", volume)

    image = open_image(folder)
    (folder / "1_001.dcm").unlink()

    assert image.data.chunksize == (1, 6, 7)
    np.testing.assert_array_equal(image.data[2, 1:3, 4].compute(), volume[2, 1:3, 4])


def test_i26_several_series_are_listed_and_one_is_asked_for(tmp_path):
    first, second = voxels(4, 6, 7), voxels(3, 8, 9)
    write_series(tmp_path / "s", first)
    write_series(tmp_path / "s", second, series="1.2.3.4.2")

    told = r"2 series; put each into a folder of its own, or choose one.*number 1 \(CT, 4 files"
    with pytest.raises(UnreadableFileError, match=told):
        read_image(tmp_path / "s")
    with pytest.raises(UnreadableFileError, match="not one '7'"):
        read_image(tmp_path / "s", series="7")
    np.testing.assert_array_equal(read_image(tmp_path / "s", series="1").data, first)
    np.testing.assert_array_equal(read_image(tmp_path / "s", series="1.2.3.4.2").data, second)


def test_other_files_beside_a_series_are_no_hindrance(tmp_path):
    folder = write_series(tmp_path / "s", voxels(4, 6, 7))
    (folder / "notes.txt").write_text("x")
    (folder / "DICOMDIR").write_bytes((folder / "1_001.dcm").read_bytes())

    assert read_image(folder).data.shape == (4, 6, 7)


def test_i26_an_image_that_is_there_twice_is_refused(tmp_path):
    folder = write_series(tmp_path / "s", voxels(4, 6, 7))
    (folder / "copy.dcm").write_bytes((folder / "1_002.dcm").read_bytes())

    with pytest.raises(UnreadableFileError, match=r"twice, as '1_002.dcm'.*SOPInstanceUID"):
        read_image(folder)


def test_planes_of_other_sizes_are_refused_with_their_tag(tmp_path):
    folder = write_series(tmp_path / "s", voxels(4, 6, 7))
    position, turned = [0, 0, 99], [1, 0, 0, 0, 1, 0]
    told = {"ImagePositionPatient": position, "ImageOrientationPatient": turned}
    save(folder / "z.dcm", make(voxels(9, 9), 9, PixelSpacing=[1, 1], **told))

    with pytest.raises(UnreadableFileError, match=r"different Rows and Columns \(0028,0010\)"):
        read_image(folder)


def test_a_plane_that_is_missing_is_told(tmp_path):
    folder = write_series(tmp_path / "s", voxels(5, 6, 7))
    (folder / "1_003.dcm").unlink()

    assert read_image(folder).notes[0].startswith("The planes are not evenly spaced")


@pytest.mark.parametrize(
    "keyword", ["Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "SOPInstanceUID"]
)
def test_i26_a_missing_tag_is_named(tmp_path, keyword):
    file = make(voxels(6, 7))
    delattr(file, keyword)
    file.save_as(tmp_path / "a.dcm")

    with pytest.raises(UnreadableFileError, match=rf"has no {keyword} \("):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize("lazy", [False, True])
def test_i26_pixels_cut_short_are_unreadable(tmp_path, lazy):
    path = save(tmp_path / "a.dcm", make(voxels(6, 7)))
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(UnreadableFileError, match=r"a\.dcm"):
        np.asarray((open_image if lazy else read_image)(path).data)


@pytest.mark.parametrize("frames", [2_000_000_000, 100_000, -5])
@pytest.mark.parametrize("lazy", [False, True])
def test_i26_a_false_number_of_frames_is_refused_before_decoding(tmp_path, frames, lazy):
    file = make(voxels(600, 700), NumberOfFrames=frames)

    with pytest.raises(UnreadableFileError, match=r"a\.dcm.*(declares|frames|pixels)"):
        (open_image if lazy else read_image)(save(tmp_path / "a.dcm", file))


def test_i26_sequences_in_sequences_are_unreadable(tmp_path):
    item = b""
    for _ in range(3000):
        item = (
            struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
            + struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
            + item
        )
    path = save(tmp_path / "a.dcm", make(voxels(6, 7)))
    content = path.read_bytes()
    at = content.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    start = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    path.write_bytes(content[:at] + start + item)

    with pytest.raises(UnreadableFileError, match=r"a\.dcm"):
        read_image(path)


def test_i22_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path):
    path = save(tmp_path / "a.dcm", make(voxels(6, 7), syntax=DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = struct.pack("<HH2sHL", 0x0008, 0x0000, b"OB", 0, 50_000_000) + bytes(50_000_000)
    packed = packer.compress(bomb) + packer.flush()
    meta = path.read_bytes()
    start = 132 + 12 + struct.unpack("<L", meta[140:144])[0]
    path.write_bytes(meta[:start] + packed)

    with pytest.raises(UnreadableFileError, match=r"a\.dcm.*inflates to more"):
        read_image(path, limit=10_000_000)


def test_a_deflated_file_is_read(tmp_path):
    pixels = voxels(6, 7)
    path = save(tmp_path / "a.dcm", make(pixels, syntax=DeflatedExplicitVRLittleEndian))

    np.testing.assert_array_equal(read_image(path).data, pixels)


def test_i26_a_compression_without_a_decoder_is_one_sentence(tmp_path):
    file = make(voxels(6, 7))
    file.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + bytes(50)])
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = JPEGLSLossless
    path = save(tmp_path / "a.dcm", file)

    with pytest.raises(UnreadableFileError, match=r"'a\.dcm' is compressed.*pip install"):
        read_image(path)


def test_i27_the_patient_is_nowhere_in_an_image(tmp_path):
    folder = write_series(tmp_path / "s", voxels(4, 6, 7))

    assert "Dumbledore" not in repr(read_image(folder))
    assert "Dumbledore" not in repr(vars(open_image(folder).data))


def test_i27_a_list_of_series_does_not_name_the_patient(tmp_path):
    write_series(tmp_path / "s", voxels(4, 6, 7))
    write_series(tmp_path / "s", voxels(4, 6, 7), series="1.2.3.4.2")

    with pytest.raises(UnreadableFileError) as caught:
        read_image(tmp_path / "s")
    assert "Dumbledore" not in str(caught.value)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")

    with pytest.raises(UnreadableFileError, match="is a folder without a DICOM series"):
        read_image(tmp_path)


def test_without_pydicom_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = save(tmp_path / "a.dcm", make(voxels(6, 7)))
    monkeypatch.setitem(sys.modules, "pydicom", None)

    with pytest.raises(UnreadableFileError, match=r"pip install 'napari-rwkv-seg\[dicom\]'"):
        read_image(path)


def test_a_palette_becomes_colours(tmp_path):
    pixels = voxels(6, 7, dtype=np.uint8) % 4
    file = make(pixels, PhotometricInterpretation="PALETTE COLOR")
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 8, 7]], np.uint8)
    for place, name in enumerate(("Red", "Green", "Blue")):
        setattr(file, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(file, f"{name}PaletteColorLookupTableData", table[:, place].tobytes())

    image = read_image(save(tmp_path / "a.dcm", file))

    assert image.axes == "YXC"
    np.testing.assert_array_equal(image.data, table[pixels])
    np.testing.assert_array_equal(open_image(tmp_path / "a.dcm").data.compute(), image.data)


def test_a_jpeg_within_dicom_has_the_colours_of_the_picture(tmp_path):
    from PIL import Image

    pixels = np.zeros((64, 48, 3), np.uint8)
    pixels[:32, :, 0], pixels[32:, :, 2] = 200, 150
    coded = io.BytesIO()
    Image.fromarray(pixels).save(coded, "JPEG", quality=95)
    file = make(pixels[..., 0], SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422")
    file.PlanarConfiguration, file.PixelData = 0, pydicom.encaps.encapsulate([coded.getvalue()])
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit

    image = read_image(save(tmp_path / "a.dcm", file))

    assert image.axes == "YXC"
    np.testing.assert_allclose(image.data[5, 5], (200, 0, 0), atol=12)
    np.testing.assert_allclose(image.data[60, 5], (0, 0, 150), atol=12)
