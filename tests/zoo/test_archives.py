"""The directory of a zip file: only one of a length that a model could have is read."""

import struct
import zipfile

import pytest

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.zoo import archives
from napari_rwkv_seg.zoo.checkpoints import load_checkpoint
from napari_rwkv_seg.zoo.exchange import import_any
from napari_rwkv_seg.zoo.zip_files import MAX_DIRECTORY_BYTES

ENTRY = struct.pack("<4s38xI", b"PK\x01\x02", 0)  # a file without a name, of nothing
COUNT = MAX_DIRECTORY_BYTES // len(ENTRY) + 1
FIRST = b"PK\x03\x04" + bytes(26)  # what checkpoints are known by


def ended(size: int, place: int) -> bytes:
    """Return the end record of a directory of `size` bytes that begins at `place`."""
    return struct.pack("<4s8xIIH", b"PK\x05\x06", size, place, 0)


def ended_long(size: int, place: int) -> bytes:
    """Return the same as zip64 has it; the short record says nothing."""
    long = struct.pack("<4sQ28xQQ", b"PK\x06\x06", 44, size, place)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, place + size, 1)
    return long + locator + ended(0xFFFFFFFF, 0xFFFFFFFF)


def ended_twice(size: int, place: int) -> bytes:
    """Return an end record in which another seems to begin, which names `place` as the length."""
    return struct.pack("<4s4s4xIIH", b"PK\x05\x06", b"PK\x05\x06", size, place, 0)


@pytest.fixture(params=[ended, ended_long, ended_twice], ids=lambda end: end.__name__)
def crowded(request, tmp_path, monkeypatch):
    """Return a zip file whose directory is too long; it is not to be taken apart."""
    directory = ENTRY * COUNT
    end = request.param(len(directory), len(FIRST))
    (tmp_path / "crowded.zip").write_bytes(FIRST + directory + end)
    monkeypatch.setattr(zipfile, "ZipInfo", lambda *_: pytest.fail("was taken apart"))
    return tmp_path / "crowded.zip"


def test_a_very_long_directory_is_not_taken_apart_to_see_what_a_file_is(crowded):
    assert not archives.is_folder_archive(crowded)


def test_an_archive_with_a_very_long_directory_is_refused(crowded, tmp_path):
    with pytest.raises(ModelError, match=r"crowded\.zip.*: it lists too many entries"):
        archives.unpack_folder(crowded, tmp_path)


def test_a_checkpoint_with_a_very_long_directory_is_refused(crowded):
    with pytest.raises(ModelError, match=r"crowded\.zip.*: it lists too many entries"):
        load_checkpoint(crowded)


def test_an_import_of_either_is_refused_and_leaves_nothing(crowded, home):
    with pytest.raises(ModelError, match="too many entries"):
        import_any(crowded)
    assert not home.exists()


def test_a_directory_that_may_be_read_is_read(tmp_path):
    file = tmp_path / "many.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for index in range(300):
            archive.writestr(f"tiny/{index}/model.toml", b"")
    assert archives.is_folder_archive(file)


def test_files_longer_than_a_directory_may_be_come_out_whole(tmp_path):
    (tmp_path / "long").mkdir()
    content = bytes(range(256)) * (MAX_DIRECTORY_BYTES // 250)
    (tmp_path / "long" / "notes.txt").write_bytes(content)
    archives.pack_folder(tmp_path / "long", tmp_path / "long.zip")
    (tmp_path / "out").mkdir()
    archives.unpack_folder(tmp_path / "long.zip", tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_bytes() == content
