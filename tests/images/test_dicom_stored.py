"""How the pixels of DICOM are stored is asked of every file, not only of the first."""

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images import open_image, read_image

from .dicom_files import make, pydicom, save, voxels, write_series

WHOLE = ("BitsStored", "HighBit", "PixelRepresentation")  # which floats do without
FLOATS = {np.float32: "FloatPixelData", np.float64: "DoubleFloatPixelData"}


def parametric(dtype, **tags):
    """Return a map of small numbers on both sides of 0, and its dataset."""
    pixels = np.linspace(-0.001, 0.003, 42).reshape(6, 7).astype(dtype)
    told = dict.fromkeys((*WHOLE, "PixelData")) | {FLOATS[dtype]: pixels.tobytes()}
    return pixels, make(pixels, **(told | tags))


def change(path, **tags):
    """Change tags of a file."""
    file = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(file, keyword, value)
    file.save_as(path)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_parametric_map_of_floats_keeps_its_numbers(tmp_path, dtype, photometric):
    pixels, file = parametric(dtype, PhotometricInterpretation=photometric)
    path = save(tmp_path / "a.dcm", file)

    image = read_image(path)

    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.data, pixels)
    np.testing.assert_array_equal(open_image(path).data.compute(), pixels)


def test_the_slope_of_a_parametric_map_is_applied(tmp_path):
    pixels, file = parametric(np.float32, RescaleSlope=2, RescaleIntercept=1)

    image = read_image(save(tmp_path / "a.dcm", file))

    np.testing.assert_allclose(image.data, pixels * 2.0 + 1, rtol=1e-6)


def test_floats_that_are_called_whole_numbers_are_refused(tmp_path):
    _, file = parametric(np.float32, BitsStored=32, HighBit=31, PixelRepresentation=0)

    with pytest.raises(UnreadableFileError, match=r"'a.dcm' holds floats.*0028,0101"):
        read_image(save(tmp_path / "a.dcm", file))


@pytest.mark.parametrize("changed", [1, 2])
def test_files_that_use_more_bits_than_others_keep_their_numbers(tmp_path, changed):
    volume = voxels(2, 6, 7, dtype=np.uint16)
    volume[changed - 1] += 40_000
    folder = write_series(tmp_path / "s", volume, BitsStored=12, HighBit=11)
    change(folder / f"1_00{changed}.dcm", BitsStored=16, HighBit=15)

    image = read_image(folder)

    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.data, volume)
    np.testing.assert_array_equal(open_image(folder).data.compute(), volume)


def test_signed_files_beside_unsigned_ones_keep_their_numbers(tmp_path):
    volume = voxels(2, 6, 7, dtype=np.int16)
    volume[1] -= 500
    folder = write_series(tmp_path / "s", volume)
    change(folder / "1_001.dcm", PixelRepresentation=0)

    np.testing.assert_array_equal(read_image(folder).data, volume)


def test_every_file_says_for_itself_whether_it_is_inverted(tmp_path):
    volume = np.stack([np.full((6, 7), 100, np.uint8), np.full((6, 7), 155, np.uint8)])
    folder = write_series(tmp_path / "s", volume)
    change(folder / "1_002.dcm", PhotometricInterpretation="MONOCHROME1")

    assert (read_image(folder).data == 100).all()


def palette(pixels, table, number=1, bits=8):
    file = make(pixels, number, PhotometricInterpretation="PALETTE COLOR")
    for place, name in enumerate(("Red", "Green", "Blue")):
        setattr(file, f"{name}PaletteColorLookupTableDescriptor", [len(table), 0, bits])
        setattr(file, f"{name}PaletteColorLookupTableData", table[:, place].tobytes())
    return file


def test_every_file_has_a_palette_of_its_own(tmp_path):
    volume = voxels(2, 6, 7, dtype=np.uint8) % 4
    first = np.arange(12, dtype=np.uint8).reshape(4, 3)
    second = first.astype(np.uint16) * 1000
    save(tmp_path / "1.dcm", palette(volume[0], first, 1))
    save(tmp_path / "2.dcm", palette(volume[1], second, 2, bits=16))

    image = read_image(tmp_path)

    assert image.axes == "ZYXC"
    np.testing.assert_array_equal(image.data, [first[volume[0]], second[volume[1]]])


def test_grey_planes_beside_coloured_ones_are_refused_with_their_tag(tmp_path):
    pixels, table = voxels(6, 7, dtype=np.uint8) % 4, np.zeros((4, 3), np.uint8)
    rgb = make(pixels, 2, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    rgb.PlanarConfiguration, rgb.PixelData = 0, bytes(6 * 7 * 3)
    save(tmp_path / "1.dcm", make(pixels))

    for coloured in (palette(pixels, table, 2), rgb):
        save(tmp_path / "2.dcm", coloured)
        with pytest.raises(UnreadableFileError, match=r"different Photo\w+ \(0028,0004\)"):
            read_image(tmp_path)


@pytest.mark.parametrize("packed", [0, 1])
def test_a_deflated_file_lies_among_others(tmp_path, packed):
    volume = voxels(2, 6, 7)
    for number, plane in enumerate(volume):
        syntax = {"syntax": DeflatedExplicitVRLittleEndian} if number == packed else {}
        save(tmp_path / f"{number}.dcm", make(plane, number, **syntax))

    np.testing.assert_array_equal(read_image(tmp_path).data, volume)
