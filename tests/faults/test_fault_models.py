"""Rows M: model files and archives from strangers."""

import copy
import hashlib
import json
import stat
import struct
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.zoo import archives, store, transfer
from napari_rwkv_seg.zoo.card import read_card, write_card
from napari_rwkv_seg.zoo.encoders import read_encoder_card
from napari_rwkv_seg.zoo.store import (
    DEFAULT_MODEL,
    find_model,
    list_models,
    read_network,
    shipped_folder,
)
from napari_rwkv_seg.zoo.weights import WEIGHTS_FILE

SHIPPED = shipped_folder() / DEFAULT_MODEL


@pytest.fixture
def home(user_data, monkeypatch) -> Path:
    """Return where the user's models lie."""
    monkeypatch.setattr(store, "user_folder", lambda: user_data / "models")
    return user_data


def zipped(path: Path, **entries: bytes) -> Path:
    """Write a zip of a model folder with more entries."""
    archives.pack_folder(SHIPPED, path)
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(f"{DEFAULT_MODEL}/{name}.txt")
            if name == "device":
                entry.external_attr = (stat.S_IFCHR | 0o666) << 16
            archive.writestr(entry, content)
    return path


def change_directory(path: Path, name: bytes, place: int, value: bytes) -> None:
    """Change bytes of the entry of a zip's directory that has this name."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(f"{DEFAULT_MODEL}/".encode() + name) - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + place : entry + place + len(value)] = value
    path.write_bytes(content)


def refused(path: Path, home: Path, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        transfer.import_folder(path)
    assert "\n" not in str(caught.value)
    assert not [item for item in home.rglob("*") if item.is_file()]


def test_an_encrypted_entry_is_refused(tmp_path, home):
    path = zipped(tmp_path / "a.zip", secret=b"x")
    change_directory(path, b"secret.txt", 8, b"\x01\x00")
    refused(path, home, "is encrypted")


def test_an_entry_without_a_name_is_refused(tmp_path, home):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(SHIPPED / "model.toml", "model.toml")
        archive.writestr(zipfile.ZipInfo("/x"), b"")
    path.write_bytes(path.read_bytes().replace(b"/x", b"\0x"))  # cut at the zero by the reader
    refused(path, home, "has no name")


def test_a_damaged_compressed_entry_is_refused_in_one_line(tmp_path, home):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(SHIPPED / "model.toml", "model.toml")
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(range(170, 200))
    path.write_bytes(content)
    refused(path, home, "damaged")


def test_a_device_is_refused(tmp_path, home):
    refused(zipped(tmp_path / "a.zip", device=b""), home, "is a link or a device")


def test_an_entry_larger_than_it_claims_is_refused(tmp_path, home):
    path = zipped(tmp_path / "a.zip", short=b"x" * 5000)
    change_directory(path, b"short.txt", 24, struct.pack("<I", 10))
    refused(path, home, "damaged|larger than it claims")


def test_an_archive_in_an_archive_is_refused(tmp_path, home):
    archives.pack_folder(SHIPPED, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr(f"{DEFAULT_MODEL}/more.zip", b"PK\x05\x06" + bytes(18))
    refused(tmp_path / "a.zip", home, "of a kind that no model folder holds")


def test_a_hundred_thousand_entries_are_refused(tmp_path, home):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(SHIPPED / "model.toml", "m/model.toml")
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"m/{number}.txt"), b"")
    refused(tmp_path / "a.zip", home, "neither a model folder nor a zip file")


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_a_tar_archive_is_refused_whatever_it_holds(tmp_path, home, ending):
    path = tmp_path / f"a.{ending}"
    with tarfile.open(path, "w:gz" if ending.endswith("gz") else "w") as archive:
        archive.add(SHIPPED, "m")
    refused(path, home, "neither a model folder nor a zip file")


def test_a_folder_with_a_name_like_ours_is_not_touched_by_an_import(home):
    mine = home / ".making.mine"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")
    transfer.import_folder(SHIPPED)
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F4", "BF32", ""])
def test_numbers_of_a_dtype_to_come_are_refused(tmp_path, dtype):
    folder = tmp_path / "new"
    folder.mkdir()
    header = {"head.weight": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(4)
    (folder / WEIGHTS_FILE).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    card = read_card(SHIPPED).model_copy(update={"name": "new", "weights_sha256": digest})
    write_card(folder, card)
    with pytest.raises(ModelError, match=r"'new'.*cannot be used"):
        read_network(find_model(folder))


@pytest.mark.parametrize("architecture", ["net.py", "os:system", "!!python/object:os.system"])
def test_a_card_that_names_code_is_refused_and_runs_none(tmp_path, architecture, monkeypatch):
    folder = tmp_path / "new"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    (folder / "net.py").write_text("open('ran', 'w').close()")
    (folder / WEIGHTS_FILE).write_bytes((SHIPPED / WEIGHTS_FILE).read_bytes())
    card = read_card(SHIPPED).model_copy(update={"name": "new", "architecture": architecture})
    write_card(folder, card)
    with pytest.raises(ModelError, match="no architecture"):
        read_network(find_model(folder))
    assert not (folder / "ran").exists()


LATER = r"toml' is of format {}.*a newer version reads it\. Update the plugin"


@pytest.mark.parametrize("version", [2, 7, 10**4000], ids=["2", "7", "endless"])
def test_a_card_of_a_later_format_names_what_reads_it(tmp_path, version):
    text = (SHIPPED / "model.toml").read_text()
    text = text.replace("format_version = 1", f"format_version = {version}\nsurprise = 1")
    (tmp_path / "model.toml").write_text(text.replace("tile_size = ", "tile_sizes = "))

    with pytest.raises(ModelError, match=LATER.format(str(version)[:19])) as caught:
        read_card(tmp_path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("version", ["0", "-1", "'2'", "1.5", "nan"])
def test_a_format_that_there_never_was_is_refused(tmp_path, version):
    text = (SHIPPED / "model.toml").read_text()
    text = text.replace("format_version = 1", f"format_version = {version}")
    (tmp_path / "model.toml").write_text(text)

    with pytest.raises(ModelError, match=r"model\.toml.*format_version"):
        read_card(tmp_path)


def test_an_encoder_of_a_later_format_names_what_reads_it(tmp_path):
    (tmp_path / "encoder.toml").write_text("format_version = 2\nsurprise = 1\n")

    with pytest.raises(ModelError, match=LATER.format(2)):
        read_encoder_card(tmp_path)


def test_every_shipped_model_is_readable_by_this_version():
    entries = [entry for entry in list_models() if entry.folder.parent == shipped_folder()]
    assert entries
    for entry in entries:
        assert entry.problem == ""
        assert entry.card.format_version == 1
        read_network(entry)


def test_a_copied_network_and_first_calls_in_two_threads_give_the_same_numbers():
    torch.manual_seed(0)
    network = build_network("med_urwkv", "T", encoder="plain").eval()
    twin, images = copy.deepcopy(network), torch.rand(1, 3, 64, 64)
    found: list[torch.Tensor] = []

    def call() -> None:
        with torch.inference_mode():
            found.append(network(images))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with torch.inference_mode():
        torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)
        torch.testing.assert_close(twin.train().eval()(images), found[0], atol=0, rtol=0)


def test_another_models_weights_in_the_same_network_leave_no_trace_of_the_first():
    torch.manual_seed(0)
    first, second = (build_network("med_urwkv", "T", encoder="plain").eval() for _ in range(2))
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        first(images)
        want = second(images)
        first.load_state_dict(second.state_dict())
        torch.testing.assert_close(first(images), want, atol=0, rtol=0)
