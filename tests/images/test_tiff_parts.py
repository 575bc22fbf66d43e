"""A TIFF that names other files names those beside it, and no more planes than an image has."""

import os
import re
import struct
import tracemalloc

import numpy as np
import pytest
import tifffile

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images import levels, open_image, read_image

PIXELS = np.random.default_rng(0).integers(0, 200, (2, 31, 47)).astype(np.uint8)
OURS, OTHER = "urn:uuid:1", "urn:uuid:2"
WAYS = [read_image, open_image, levels]
OUTSIDE = [
    "../b.tif",
    "/tmp/b.tif",
    "part/../../b.tif",
    r"..\b.tif",
    r"C:\b.tif",
    r"\\host\s\b.tif",
]


def write_ome(path, other="b.tif", own=None, changes=()):
    """Write one plane of two, as OME-XML says: the second lies in the file `other`."""
    parts = "".join(
        f'<TiffData FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for z, (name, uuid) in enumerate(((own or path.name, OURS), (other, OTHER)))
    )
    xml = (
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="{OURS}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        f'Type="uint8" SizeX="47" SizeY="31" SizeZ="2" SizeC="1" SizeT="1">{parts}'
        f"</Pixels></Image></OME>"
    )
    for old, new in changes:
        assert old in xml
        xml = xml.replace(old, new)
    tifffile.imwrite(path, PIXELS[0], description=xml, metadata=None)
    return path


def write_part(path):
    tifffile.imwrite(path, PIXELS[1], metadata=None)
    return path


@pytest.mark.parametrize("other", ["b.tif", "part/b.tif"])
def test_parts_in_the_folder_are_one_image(tmp_path, other):
    path = write_ome(tmp_path / "a.ome.tif", other)
    (tmp_path / "part").mkdir()
    write_part(tmp_path / other)

    np.testing.assert_array_equal(read_image(path).data, PIXELS)
    np.testing.assert_array_equal(np.asarray(open_image(path).data), PIXELS)


@pytest.mark.parametrize("read", WAYS)
@pytest.mark.parametrize("other", OUTSIDE)
def test_s05_a_part_outside_of_the_folder_is_refused(tmp_path, read, other):
    (tmp_path / "in").mkdir()
    write_part(tmp_path / "b.tif")
    path = write_ome(tmp_path / "in" / "a.ome.tif", other)

    with pytest.raises(UnreadableFileError, match=r"outside of its folder.*one folder"):
        read(path)


def test_s05_signs_that_are_written_as_numbers_are_understood(tmp_path):
    (tmp_path / "in").mkdir()
    write_part(tmp_path / "b.tif")
    path = write_ome(tmp_path / "in" / "a.ome.tif", "&#46;&#x2e;/b.tif")

    with pytest.raises(UnreadableFileError, match="outside of its folder"):
        read_image(path)


def test_a_file_that_was_renamed_or_moved_is_still_its_own_part(tmp_path):
    change = ('FileName="b.tif">urn:uuid:2', 'FileName="/data/old.tif">urn:uuid:1')
    path = write_ome(tmp_path / "a.ome.tif", own="/data/old.tif", changes=[change])
    tifffile.imwrite(path, PIXELS, description=tifffile.tiffcomment(path), metadata=None)
    change = ('FirstZ="1" PlaneCount="1"', 'FirstZ="1" PlaneCount="1" IFD="1"')
    tifffile.tiffcomment(path, tifffile.tiffcomment(path).replace(*change))

    np.testing.assert_array_equal(read_image(path).data, PIXELS)


def test_i34_a_part_that_is_missing_is_told(tmp_path):
    with pytest.raises(UnreadableFileError, match="Put all its parts into one folder"):
        read_image(write_ome(tmp_path / "a.ome.tif"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.timeout(30)
def test_i29_a_pipe_in_the_place_of_a_part_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "b.tif")

    with pytest.raises(UnreadableFileError, match=r"b\.tif.*no regular file"):
        read_image(write_ome(tmp_path / "a.ome.tif"))


@pytest.mark.timeout(30)
def test_i21_directories_that_lead_round_in_a_part_are_refused(tmp_path):
    one = struct.pack("<HHHII", 1, 256, 4, 1, 9)
    ends = [struct.pack("<I", place) for place in (26, 44, 26)]
    (tmp_path / "b.tif").write_bytes(
        b"II*\0" + struct.pack("<I", 8) + b"".join(one + e for e in ends)
    )

    with pytest.raises(UnreadableFileError, match=r"b\.tif.*round in a circle"):
        read_image(write_ome(tmp_path / "a.ome.tif"))


ALONG = (
    '</Image><StructuredAnnotations><XMLAnnotation ID="A" Namespace="modulo"><Value><Modulo>'
    '<ModuloAlongT Type="phase" Start="0" End="2000000000" Step="1"/></Modulo></Value>'
    "</XMLAnnotation></StructuredAnnotations>"
)


@pytest.mark.parametrize(
    "change",
    [('SizeT="1"', 'SizeT="2000000000"'), ('PlaneCount="1"', 'PlaneCount="2000000000"'),
     ("</Image>", ALONG)],
    ids=["frames", "planes", "places along an axis"],
)  # fmt: skip
def test_i21_more_planes_than_an_image_has_take_no_memory(tmp_path, change):
    write_part(tmp_path / "b.tif")
    path = write_ome(tmp_path / "a.ome.tif", changes=[change])
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFileError, match="planes in its OME-XML"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


def test_s05_words_that_stand_for_others_are_refused(tmp_path):
    doctype = ("<OME ", '<!DOCTYPE OME [<!ENTITY up "../">]><OME ')
    changes = [doctype, ('FileName="b.tif"', 'FileName="&up;b.tif"')]

    with pytest.raises(UnreadableFileError, match="DOCTYPE"):
        read_image(write_ome(tmp_path / "a.ome.tif", changes=changes))


def write_ndtiff(folder, *names):
    """Write an NDTiff of one plane of 4 × 4 pixels, and an index of the planes in `names`."""
    values = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 160, 277: 1, 278: 4, 279: 16}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    entries += struct.pack("<HHII", 51123, 2, 20, 176)
    head = struct.pack("<4sIIIII2s2x", b"II*\0", 28, 483729, 2, 2355492, 2, b"{}")
    content = head + struct.pack("<H", len(values) + 1) + entries + bytes(4)
    (folder / "a.tif").write_bytes(
        content.ljust(160, b"\0") + bytes(range(16)) + b'{"a": "long enough"}'
    )
    index = b""
    for number, name in enumerate(names):
        place = b'{"z": %d}' % number
        index += struct.pack("<I", len(place)) + place + struct.pack("<I", len(name)) + name
        index += struct.pack("<IiiiiIii", 160, 4, 4, 0, 0, 0, 0, 0)
    (folder / "NDTiff.index").write_bytes(index)
    return folder / "a.tif"


def test_the_planes_of_an_ndtiff_are_one_image(tmp_path):
    path = write_ndtiff(tmp_path, b"a.tif", b"b.tif")
    (tmp_path / "b.tif").write_bytes(path.read_bytes())

    assert read_image(path).data.shape == (2, 4, 4)


@pytest.mark.parametrize("name", OUTSIDE)
def test_s05_an_ndtiff_stays_in_its_folder(tmp_path, name):
    (tmp_path / "in").mkdir()
    path = write_ndtiff(tmp_path / "in", b"a.tif", name.encode())

    with pytest.raises(UnreadableFileError, match="outside of its folder"):
        read_image(path)


@pytest.mark.parametrize("at", [0, 13])
def test_i21_an_ndtiff_index_that_claims_gigabytes_is_refused(tmp_path, at):
    path = write_ndtiff(tmp_path, b"a.tif")
    index = (tmp_path / "NDTiff.index").read_bytes()
    claim = index[:at] + b"\xff\xff\xff\xff" + index[at + 4 :]
    (tmp_path / "NDTiff.index").write_bytes(claim)

    with pytest.raises(UnreadableFileError, match=re.escape("NDTiff.index' is damaged")):
        read_image(path)
