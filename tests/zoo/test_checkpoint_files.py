"""Bad and hostile weights files: each is refused in a sentence, and nothing in it runs."""

import io
import json
import os
import pickle
import random
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from napari_rwkv_seg.errors import ModelError, UnreadableFileError
from napari_rwkv_seg.zoo import checkpoint_files
from napari_rwkv_seg.zoo.checkpoints import load_checkpoint


def assert_refused(path: Path, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: {"state_dict": a}, lambda a: {"ln1": a}])
@pytest.mark.parametrize("function", [os.system, os.mkdir, eval], ids=lambda f: f.__name__)
def test_code_in_a_zip_checkpoint_is_not_run(wrap, function, save, tmp_path):
    canary = tmp_path / "canary"
    argument = {
        "system": f"mkdir {canary}",
        "mkdir": str(canary),
        "eval": f"__import__('os').mkdir({str(canary)!r})",
    }[function.__name__]
    assert_refused(save(wrap(Attack(function, argument))), "could run code")
    assert not canary.exists()


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.bin", "net.ckpt", "net.safetensors"])
def test_code_in_a_bare_pickle_is_not_run(name, tmp_path):
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(pickle.dumps(Attack(os.mkdir, str(canary))))
    assert_refused(tmp_path / name, "is not a PyTorch|cannot be read")
    assert not canary.exists()


def test_one_unknown_class_is_enough_to_refuse_and_its_module_is_not_imported(
    tmp_path, save, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "canary_module.py").write_text("class Thing:\n    pass\n")
    module = __import__("canary_module")
    file = save({"state_dict": {"ln1.weight": torch.ones(3)}, "meta": module.Thing()})
    monkeypatch.delitem(sys.modules, "canary_module")
    assert_refused(file, "could run code")
    assert "canary_module" not in sys.modules


def test_the_old_format_is_refused_with_a_way_out(tmp_path):
    file = tmp_path / "old.pth"
    torch.save({"ln1.weight": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    assert_refused(file, "PyTorch's old format.*save it again")


def test_a_tar_file_is_refused(tmp_path):
    file = tmp_path / "old.tar"
    with tarfile.open(file, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert_refused(file, "is not a PyTorch")


def rezip(file: Path, *, compression: int = zipfile.ZIP_STORED, **replace: bytes | None) -> Path:
    """Write the zip file again, with the entries called `replace` in other words."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(entries)).partition("/")[0]
    entries |= {f"{root}/{key.replace('__', '/').replace('_dot_', '.')}": value
                for key, value in replace.items()}  # fmt: skip
    with zipfile.ZipFile(file, "w", compression) as archive:
        for key, value in entries.items():
            if value is not None:
                archive.writestr(key, value)
    return file


def test_compressed_entries_are_refused_before_they_are_unpacked(save, monkeypatch):
    file = rezip(save({"ln1.weight": torch.zeros(1_000_000)}), compression=zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 100_000
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("was read"))
    assert_refused(file, "entries are compressed")


def test_entries_that_claim_more_than_the_file_has_are_refused(save, monkeypatch):
    file = save({"ln1.weight": torch.zeros(1000)})
    content = bytearray(file.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (2**31).to_bytes(4, "little")
    file.write_bytes(content)
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("was read"))
    assert_refused(file, "claim more bytes than the file has")


def test_a_torchscript_program_is_refused(save):
    assert_refused(rezip(save({"a": torch.ones(3)}), constants_dot_pkl=b""), "TorchScript program")


def test_a_zip_file_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("photo.txt", "hello")
    assert_refused(tmp_path / "a.pth", "not one with PyTorch weights")


def test_a_storage_shorter_than_its_tensor_is_refused(save):
    file = rezip(save({"ln1.weight": torch.ones(1000)}), data__0=b"\0" * 40)
    assert_refused(file, "refused or damaged")


def test_a_missing_storage_is_refused(save):
    file = rezip(save({"ln1.weight": torch.ones(1000)}), data__0=None)
    assert_refused(file, "refused or damaged")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_download_is_refused(part, save):
    file = save({"ln1.weight": torch.ones(1000)})
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    assert_refused(file, "damaged or incomplete")


def test_a_changed_byte_in_the_weights_is_noticed(save):
    file = save({"ln1.weight": torch.full((1000,), 2.0)})
    content = bytearray(file.read_bytes())
    content[content.index(torch.full((9,), 2.0).numpy().tobytes()) + 6] ^= 1
    file.write_bytes(content)
    assert_refused(file, "entry 'net/data/0' has changed")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>404", b"\n <html>"])
def test_a_web_page_is_refused_as_such(page, tmp_path):
    (tmp_path / "net.pth").write_bytes(page)
    assert_refused(tmp_path / "net.pth", "is a web page")


def test_an_empty_file_is_refused_as_such(tmp_path):
    (tmp_path / "net.pth").touch()
    assert_refused(tmp_path / "net.pth", "is empty")


@pytest.mark.parametrize("content", [[torch.ones(3)], torch.ones(3), "text", 3, None], ids=str)
def test_a_file_of_something_else_than_named_tensors_is_refused(content, save):
    assert_refused(save(content), "not named tensors")


def test_a_missing_file_is_an_unreadable_file(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"Cannot read .*nowhere\.pth"):
        load_checkpoint(tmp_path / "nowhere.pth")


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="not a usable model"):
        load_checkpoint(tmp_path)


def test_a_file_above_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "MAX_FILE_BYTES", 1000)
    (tmp_path / "net.pth").write_bytes(b"PK\x03\x04" + b"\0" * 1000)
    with pytest.raises(UnreadableFileError, match="larger than"):
        load_checkpoint(tmp_path / "net.pth")


def test_a_torch_with_a_known_hole_reads_no_pickle(save, monkeypatch):
    file = save({"ln1.weight": torch.ones(3)})
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    assert_refused(file, r"takes PyTorch 2\.10 or later, here is 2\.9\.1")


# Safetensors


def packed(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Put a safetensors file together without the library that would refuse to."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def item(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


MALFORMED = {
    "too short": b"\x01\x02\x03",
    "no header": packed(b""),
    "length beyond the file": packed({}, length=10_000),
    "huge length": packed({}, length=2**63),
    "not JSON": packed(b"{broken"),
    "not UTF-8": packed(b'{"\xff\xfe": 1}'),
    "a list": packed([1, 2]),
    "an item that is no object": packed({"a": 3}),
    "no offsets": packed({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4),
    "unknown dtype": packed({"a": item([1], [0, 4], "F31")}, b"\0" * 4),
    "negative shape": packed({"a": item([-1], [0, 4])}, b"\0" * 4),
    "overflowing shape": packed({"a": item([2**40, 2**40], [0, 4])}, b"\0" * 4),
    "shape and offsets disagree": packed({"a": item([2], [0, 4])}, b"\0" * 4),
    "offsets beyond the data": packed({"a": item([2], [0, 8])}, b"\0" * 4),
    "offsets backwards": packed({"a": item([1], [4, 0])}, b"\0" * 4),
    "overlap": packed({"a": item([1], [0, 4]), "b": item([1], [2, 6])}, b"\0" * 6),
    "hole": packed({"a": item([1], [0, 4]), "b": item([1], [8, 12])}, b"\0" * 12),
    "trailing bytes": packed({"a": item([1], [0, 4])}, b"\0" * 9),
    "one name twice": packed(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
    "deep nesting": packed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}  # fmt: skip


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_safetensors_file_is_refused(content, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(content)
    assert_refused(tmp_path / "net.safetensors", "cannot be read")


def test_a_long_header_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(json, "loads", lambda *a, **k: pytest.fail("was parsed"))
    (tmp_path / "net.safetensors").write_bytes(packed(b" " * 1_000_001))
    assert_refused(tmp_path / "net.safetensors", "oversized header")


def test_a_header_of_very_many_tensors_is_refused_before_one_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors.torch, "load", lambda *a: pytest.fail("was read"))
    header = {str(index): item([0], [0, 0]) for index in range(5001)}
    (tmp_path / "net.safetensors").write_bytes(packed(header))
    assert_refused(tmp_path / "net.safetensors", "at most 5000 are read")


def test_no_mutated_file_causes_anything_but_a_refusal(save):
    file = save({"state_dict": {"ln1.weight": torch.randn(5), "ln1.bias": torch.randn(5)}})
    good = file.read_bytes()
    chance = random.Random(42)
    for _ in range(300):
        mutant = bytearray(good)
        for _ in range(chance.choice([1, 2, 8])):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        file.write_bytes(mutant)
        with pytest.raises(ModelError):
            load_checkpoint(file)


def test_no_mutated_list_of_names_causes_anything_but_a_refusal(save):
    file = save({"state_dict": {"ln1.weight": torch.randn(5), "ln1.bias": torch.randn(5)}})
    with zipfile.ZipFile(file) as archive:
        good = archive.read("net/data.pkl")
    chance = random.Random(42)
    for _ in range(300):
        mutant = bytearray(good)
        for _ in range(chance.choice([1, 2, 8])):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        with pytest.raises(ModelError):
            load_checkpoint(rezip(file, data_dot_pkl=bytes(mutant)))
