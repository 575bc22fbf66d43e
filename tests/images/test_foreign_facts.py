"""What files of other programs say of themselves is heeded, or told where it is not."""

import struct
import zlib

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_rwkv_seg import evaluate
from napari_rwkv_seg.images import ImageFile, read_image, save_labels
from napari_rwkv_seg.images.geometry import Geometry, as_matrix
from napari_rwkv_seg.images.kinds import Kind, kind_of

TURNED = "Its EXIF data say that it is to be shown turned; its pixels are used as they are stored."


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)


def save_picture(path, orientation, data=None):
    """Write a picture with EXIF data that say how it is to be shown."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels(8, 9) if data is None else data).save(path, exif=exif)
    return path


def written(path, steps):
    """Return what nibabel reads of labels with an affine of `steps` to RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    spacing = tuple(float(length) for length in np.linalg.norm(steps, axis=0)[::-1])
    place = Geometry("ZYX", spacing, ("millimeter",) * 3, (0.0,) * 3, as_matrix(matrix), "RAS")
    data = np.ones((4, 6, 7), np.uint8)
    save_labels(path, data, ImageFile(data, "ZYX", None, path, place))
    return nibabel.load(path)


@pytest.mark.parametrize("name", ["a.dcm", "a", "a.TIF", "a.ome.tiff"])
def test_a_file_that_begins_as_tiff_and_as_dicom_goes_by_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"II*\0" + bytes(124) + b"DICM")

    is_tiff = "tif" in name.lower()
    assert kind_of(tmp_path / name) is (Kind.TIFF if is_tiff else Kind.DICOM)


def test_a_sheared_volume_has_its_place_in_the_sform_alone(tmp_path):
    steps = np.array([[0.5, 0, 0], [0, 0.5, 5 * np.tan(np.radians(15))], [0, 0, 5.0]])

    file = written(tmp_path / "tilt.nii.gz", steps)

    assert (int(file.header["sform_code"]), int(file.header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(file.affine[:3, :3], steps, rtol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi - 1e-3, np.pi])
def test_a_turned_volume_has_its_place_in_both(tmp_path, angle):
    turned = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    steps = np.array(turned) * [0.1, 0.2, -5.0]

    file = written(tmp_path / "turned.nii.gz", steps)

    assert (int(file.header["sform_code"]), int(file.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(file.header.get_qform()[:3, :3], steps, atol=1e-3)


@pytest.mark.parametrize("spacing", [1.5, -1.5])
def test_the_depth_of_an_imagej_stack_has_no_sign(tmp_path, spacing):
    told = {"axes": "ZYX", "spacing": spacing, "unit": "um"}
    tifffile.imwrite(
        tmp_path / "a.tif", pixels(4, 8, 9), imagej=True, resolution=(4, 4), metadata=told
    )

    place = read_image(tmp_path / "a.tif").geometry

    assert place.spacing == (1.5, 0.25, 0.25)
    assert place.units == ("micrometer",) * 3


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_picture_that_is_to_be_shown_turned_says_so(tmp_path, name, orientation):
    stored = read_image(save_picture(tmp_path / f"plain_{name}", 1))

    turned = read_image(save_picture(tmp_path / name, orientation))

    np.testing.assert_array_equal(turned.data, stored.data)
    assert (stored.notes, turned.notes) == ((), (TURNED,))


def test_a_picture_of_16_bits_that_is_to_be_shown_turned_says_so(tmp_path):
    data = np.array(pixels(8, 9, 3), np.uint16) << 8
    (tmp_path / "a.png").write_bytes(_png16(data))

    assert TURNED in read_image(tmp_path / "a.png").notes


def _png16(data):
    """Return a PNG of 16 bits a channel with the orientation 3."""

    def chunk(name, content):
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    height, width, _ = data.shape
    exif = Image.Exif()
    exif[0x0112] = 3
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in data)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
        + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_damaged_exif_data_say_nothing(tmp_path):
    path = save_picture(tmp_path / "a.jpg", 6)
    content = path.read_bytes()
    start = content.index(b"Exif\0\0") + 6
    path.write_bytes(content[:start] + b"\xff" * 8 + content[start + 8 :])

    assert read_image(path).notes == ()


def test_labels_to_be_shown_turned_are_told_of_when_they_are_compared(tmp_path):
    mask = np.zeros((8, 9), np.uint8)
    mask[1:3, 2:5] = 1
    turned = save_picture(tmp_path / "a_mask.png", 3, mask)
    plain = save_picture(tmp_path / "a.png", 1, mask)

    assert evaluate(plain, turned).notes == (TURNED,)


@pytest.mark.parametrize(("orientation", "count"), [(1, 0), (3, 1), (6, 1)])
def test_a_tiff_that_is_to_be_shown_turned_says_so(orientation, count, tmp_path):
    path = tmp_path / "turned.tif"
    tifffile.imwrite(path, pixels(8, 9), extratags=[(274, "H", 1, orientation, True)])
    image = read_image(path)
    np.testing.assert_array_equal(image.data, pixels(8, 9))
    assert [note for note in image.notes if "shown turned" in note] == [*image.notes][:count]
