"""A hundred spoilt checkpoints: each is refused in its own sentence, none runs, nothing is written.

Every case is a file that the importer is given as a user would. The right files
that they are made of load, as other tests show.
"""

import argparse
import gzip
import io
import os
import pickle
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.zoo.importing import import_checkpoint

State = dict[str, Tensor]
Spoil = Callable[[dict[str, State], Path], object]

UNET, PLAIN, ADAPTER, ENCODER = "rwkv_unet", "vrwkv", "vrwkv_adapter", "rwkv_unet_encoder"
KEYS = {
    UNET: ["encoder.stage0.0.se.conv_reduce.bias", "encoder.stage4.1.att.key.weight",
           "ccm.channel.key_norm.weight", "decoder3.proj.norm.running_var"],
    PLAIN: ["patch_embed.projection.bias", "layers.0.ln0.weight", "layers.11.ffn.value.weight",
            "ln1.bias"],
    ADAPTER: ["level_embed", "spm.stem.0.weight", "interactions.3.extractor.ffn.fc1.bias",
              "up.weight"],
    ENCODER: ["stage0.0.proj.conv.weight", "stage3.2.att.output.weight"],
}  # fmt: skip
EACH_KEY = [(network, key) for network, keys in KEYS.items() for key in keys]


class Payload:
    """Calls something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def nested(depth: int) -> object:
    content: object = torch.ones(1)
    for _ in range(depth):
        content = {"state_dict": content}
    return content


def rezipped(content: bytes, compression=zipfile.ZIP_STORED, **replaced: bytes | None) -> bytes:
    """Write PyTorch's zip file again, with entries replaced, or left out (None)."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(entries)).partition("/")[0]
    names = {"data_pkl": "data.pkl", "storage": "data/0", "program": "constants.pkl"}
    entries |= {f"{root}/{names[key]}": value for key, value in replaced.items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, value in entries.items():
            if value is not None:
                archive.writestr(name, value)
    return file.getvalue()


def zipped(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    return file.getvalue()


def with_bytes(content: bytes, mark: bytes, offset: int, value: int) -> bytes:
    """Change four bytes behind the last `mark`."""
    spoilt = bytearray(content)
    place = spoilt.rfind(mark) + offset
    spoilt[place : place + 4] = value.to_bytes(4, "little")
    return bytes(spoilt)


def old_format(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def tar_file() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return file.getvalue()


def numpy_file() -> bytes:
    file = io.BytesIO()
    np.savez(file, weight=np.ones(3))
    return file.getvalue()


CASES: dict[str, tuple[str, Spoil]] = {}  # name: the sentence's part, what makes the content


def case(name: str, reason: str, spoil: Spoil) -> None:
    CASES[name] = reason, spoil


def change(network: str, key: str, make: Callable[[Tensor], object]) -> Spoil:
    return lambda good, _: good[network] | {key: make(good[network][key])}


for net, k in EACH_KEY:
    quoted = re.escape(repr(k))
    case(
        f"missing {k}",
        f"{quoted} is missing",
        lambda good, _, net=net, k=k: {a: b for a, b in good[net].items() if a != k},
    )
    case(
        f"shape of {k}",
        rf"{quoted} has shape \(3, 5\) instead of",
        change(net, k, lambda _: torch.ones(3, 5)),
    )
    case(
        f"extra beside {k}",
        f"{re.escape(repr(k + '_2'))} is unknown",
        lambda good, _, net=net, k=k: good[net] | {k + "_2": torch.ones(3)},
    )
    case(
        f"NaN in {k}",
        f"{quoted} that are not finite",
        change(net, k, lambda t: torch.full((), float("nan")).expand(t.shape)),
    )

for dtype in (torch.int8, torch.int64, torch.bool, torch.complex64):
    case(
        f"type {dtype}",
        "'ln1.bias' has numbers of type " + str(dtype).partition(".")[2],
        change(PLAIN, "ln1.bias", lambda t, dtype=dtype: torch.zeros(t.shape, dtype=dtype)),
    )
for value in (float("inf"), float("-inf"), 1e300):
    case(
        f"value {value}",
        "'final_conv.bias' that are not finite",
        change(
            UNET, "final_conv.bias", lambda t, v=value: torch.full(t.shape, v, dtype=torch.float64)
        ),
    )
case(
    "a float where counts belong",
    "'decoder1.conv.norm.num_batches_tracked' has numbers",
    change(UNET, "decoder1.conv.norm.num_batches_tracked", lambda t: torch.tensor(0.5)),
)
case(
    "a sparse tensor",
    "'ln1.bias' in a form that is not plain numbers",
    change(PLAIN, "ln1.bias", lambda t: t.contiguous().to_sparse()),
)
for label, thing in {"text": "x", "number": 3, "list": [1.0], "nothing": None}.items():
    case(
        f"a {label} for a tensor",
        "'ln1.bias', which is not a named tensor",
        change(PLAIN, "ln1.bias", lambda _, thing=thing: thing),
    )

for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999):
    case(
        f"cut at {part}",
        "damaged or incomplete",
        lambda good, _, p=part: (whole := saved(good[PLAIN]))[: int(len(whole) * p)],
    )
case("cut at 3 bytes", "not a PyTorch", lambda good, _: saved(good[PLAIN])[:3])

case(
    "a zip bomb",
    "entries are compressed",
    lambda *_: rezipped(saved({"ln1.weight": torch.zeros(300_000)}), zipfile.ZIP_DEFLATED),
)
case(
    "a lying size",
    "claim more bytes than the file has",
    lambda *_: with_bytes(saved({"a": torch.ones(9)}), b"PK\x01\x02", 24, 2**31),
)
case(
    "a lying directory",
    "damaged or incomplete",
    lambda *_: with_bytes(saved({"a": torch.ones(9)}), b"PK\x06\x06", 40, 2**31),
)
case(
    "a storage too short",
    "refused or damaged",
    lambda *_: rezipped(saved({"a": torch.ones(99)}), storage=b"\0" * 8),
)
case(
    "a storage left out",
    "refused or damaged",
    lambda *_: rezipped(saved({"a": torch.ones(99)}), storage=None),
)
case(
    "a tensor of terabytes",
    r"has shape \(1000000, 1000000\) instead",
    change(UNET, "final_conv.weight", lambda _: torch.ones(1).expand(10**6, 10**6)),
)
case(
    "very many classes",
    r"has shape \(1000000, 24, 1, 1\) instead",
    change(UNET, "final_conv.weight", lambda _: torch.ones(1).expand(10**6, 24, 1, 1)),
)
case(
    "very many image channels",
    r"has shape \(192, 1000000, 16, 16\) instead",
    change(
        PLAIN, "patch_embed.projection.weight", lambda _: torch.ones(1).expand(192, 10**6, 16, 16)
    ),
)
case(
    "very many positions",
    r"'pos_embed' has shape \(1, 1000000, 192\)",
    change(PLAIN, "pos_embed", lambda _: torch.ones(1).expand(1, 10**6, 192)),
)
case(
    "very many tensors",
    "holds 5001 named tensors",
    lambda *_: {str(index): torch.ones(()) for index in range(5001)},
)
case(
    "a list of names too long",
    "list of names is too long",
    lambda *_: rezipped(saved({"a": torch.ones(1)}), data_pkl=b"\0" * 8_000_001),
)

case("nesting to 100", "'state_dict', which is not a named tensor", lambda *_: nested(100))
case(
    "nesting to 10 000 lists",
    "holds a list, not named tensors",
    lambda *_: rezipped(saved({}), data_pkl=b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b"."),
)
case(
    "nesting to 10 000 tuples",
    "refused or damaged|not named tensors",
    lambda *_: rezipped(saved({}), data_pkl=b"\x80\x02)" + b"\x85" * 10_000 + b"."),
)


def payload_case(name: str, wrap: Callable[[object], object], function, *arguments: str) -> None:
    """Add a case that would make the folder `canary` in the test's own folder."""

    def spoil(_: object, folder: Path) -> object:
        filled = [text.format(canary=folder / "canary") for text in arguments]
        return wrap(Payload(function, *filled))

    case(name, "could run code", spoil)


payload_case("os.system", lambda p: p, os.system, "mkdir {canary}")
payload_case("os.mkdir", lambda p: p, os.mkdir, "{canary}")
payload_case("os.makedirs as a tensor", lambda p: {"ln1.weight": p}, os.makedirs, "{canary}")
payload_case("eval", lambda p: {"state_dict": p}, eval, "__import__('os').mkdir('{canary}')")
payload_case("exec", lambda p: [p], exec, "import os; os.mkdir('{canary}')")
payload_case("open", lambda p: {"meta": {"config": p}}, open, "{canary}", "w")
payload_case("subprocess", lambda p: {"optimizer": p}, subprocess.check_output, "mkdir {canary}")
payload_case("in options", lambda p: {"args": argparse.Namespace(x=p)}, os.mkdir, "{canary}")
payload_case("as a key", lambda p: {(p, 1): 2}, os.mkdir, "{canary}")
payload_case("in a set", lambda p: {"a": {1, p}}, os.mkdir, "{canary}")
case(
    "a bare pickle",
    "is not a PyTorch",
    lambda _, folder: pickle.dumps(Payload(os.mkdir, str(folder / "canary"))),
)
case(
    "a payload for names",
    "could run code",
    lambda _, folder: rezipped(
        saved({}), data_pkl=pickle.dumps(Payload(os.mkdir, str(folder / "canary")), protocol=2)
    ),
)
case(
    "an old file with a payload",
    "PyTorch's old format",
    lambda _, folder: old_format({"a": Payload(os.mkdir, str(folder / "canary"))}),
)

case("an empty file", "is empty", lambda *_: b"")
case("a text", "is not a PyTorch", lambda *_: b"these are not weights\n" * 50)
case("a web page", "is a web page", lambda *_: b"<!DOCTYPE html><title>404</title>")
case("zeros", "is not a PyTorch", lambda *_: bytes(5000))
case("a picture", "is not a PyTorch", lambda *_: b"\x89PNG\r\n\x1a\n" + bytes(99))
case("a gzip file", "is not a PyTorch", lambda good, _: gzip.compress(saved(good[PLAIN])))
case("a tar file", "is not a PyTorch", lambda *_: tar_file())
case("the old format", "PyTorch's old format", lambda good, _: old_format(good[PLAIN]))
case(
    "a TorchScript program",
    "TorchScript program",
    lambda good, _: rezipped(saved(good[PLAIN]), program=b"\x80\x02)."),
)
case("NumPy's file", "not one with PyTorch weights", lambda *_: numpy_file())
case("a zip of something", "not one with PyTorch weights", lambda *_: zipped(photo=b"x"))
case("an empty zip", "is not a PyTorch", lambda *_: zipped())
case("a bare tensor", "holds a Tensor, not named tensors", lambda *_: torch.ones(3))
case("a list of tensors", "holds a list, not named tensors", lambda *_: [torch.ones(3)])
case("nothing in it", "holds 0 named tensors", lambda *_: {})
case("a key of number", "'3', which is not a named tensor", lambda *_: {3: torch.ones(3)})
case(
    "a key twice",
    "'ln1.bias' twice",
    lambda good, _: good[PLAIN] | {"module.ln1.bias": torch.ones(192)},
)
case("another network", "none of VRWKV", lambda *_: {"layer1.0.conv1.weight": torch.ones(3)})
case(
    "Tiny in Base's clothes",
    "looks like VRWKV B but does not fit",
    change(PLAIN, "patch_embed.projection.weight", lambda _: torch.ones(768, 3, 16, 16)),
)
case(
    "an unheard-of width",
    "tokens of 200 channels",
    change(PLAIN, "patch_embed.projection.weight", lambda _: torch.ones(200, 3, 16, 16)),
)
case(
    "an unheard-of RWKV-UNet",
    "a second stage of 0 channels",
    lambda *_: {"encoder.stage0.0.x": torch.ones(3)},
)


class Good(dict[str, State]):
    """The right states, each made when it is first asked for."""

    def __missing__(self, network: str) -> State:
        self[network] = self.make(network, "T")
        return self[network]


GOOD = Good()


@pytest.fixture
def good(stand_ins) -> Good:
    GOOD.make = stand_ins
    return GOOD


def test_there_are_more_than_a_hundred_cases():
    assert len(CASES) > 100


@pytest.mark.parametrize(("reason", "spoil"), CASES.values(), ids=CASES)
def test_it_is_refused_in_a_sentence_and_leaves_nothing(reason, spoil, good, home, tmp_path):
    content = spoil(good, tmp_path)
    file = tmp_path / "net.pth"
    file.write_bytes(content if isinstance(content, bytes) else saved(content))
    with pytest.raises(ModelError, match=reason) as caught:
        import_checkpoint(file)
    text = str(caught.value)
    assert text.startswith(repr(str(file)))
    assert text.endswith(".")
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == [file]
