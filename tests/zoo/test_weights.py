import json
import struct

import pytest
import torch
from safetensors.torch import save

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.zoo import store
from napari_rwkv_seg.zoo.store import read_entry, read_network
from napari_rwkv_seg.zoo.weights import (
    WEIGHTS_FILE,
    load_weights,
    pack_weights,
    packed_state,
    read_header,
)


def file_of(header, numbers=b""):
    """Return a safetensors file with any header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


HEADERS = {
    "nothing": b"",
    "four bytes": b"\x01\x02\x03\x04",
    "length beyond the file": struct.pack("<Q", 500) + b"{}",
    "endless length": struct.pack("<Q", 2**63) + b"{}",
    "no json": file_of(b"not json"),
    "a list": file_of(b"[]"),
    "deep json": file_of(b"[" * 100_000),
    "no utf-8": file_of(b'{"\xff": 1}'),
    "entry is a number": file_of({"stem.bias": 3}),
    "no shape": file_of({"stem.bias": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)),
    "negative shape": file_of(
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "huge shape": file_of(
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "text as shape": file_of(
        {"a": {"dtype": "F32", "shape": "3", "data_offsets": [0, 4]}}, bytes(4)
    ),
    "offsets beyond the file": file_of(
        {"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(4)
    ),
    "offsets backwards": file_of(
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)
    ),
    "a name twice": file_of(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        bytes(1),
    ),
    "oversized header": file_of(b'{"a":"' + b"x" * 1_000_001 + b'"}'),
    "too many tensors": file_of(
        {f"{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(5001)}
    ),
    "a web page": b"<!DOCTYPE html><html><body>404 not found</body></html>",
    "a pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x94.",
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(name, id=f"{'M08' if 'too' in name or 'over' in name else 'M07'}-{name}")
        for name in HEADERS
    ],
)
def test_weights_with_a_malformed_header_are_refused(kind, model, monkeypatch, put_weights):
    monkeypatch.setattr("safetensors.torch.load", lambda _: pytest.fail("tensors were made"))
    put_weights(model, HEADERS[kind])

    with pytest.raises(ModelError, match=r"'tiny'.*cannot be used.*weights"):
        read_network(read_entry(model))


@pytest.mark.parametrize("change", ["gap", "trailing bytes"], ids=lambda name: f"M07-{name}")
def test_weights_whose_numbers_do_not_fill_the_file_are_refused(change, model, put_weights):
    content = (model / WEIGHTS_FILE).read_bytes()
    if change == "trailing bytes":
        content += b"\0\0\0\0"
    else:
        header = read_header(content)
        last = max(header.values(), key=lambda entry: entry["data_offsets"][1])
        last["data_offsets"] = [offset + 4 for offset in last["data_offsets"]]
        length = int.from_bytes(content[:8], "little")
        content = file_of(header, content[8 + length :] + bytes(4))
    put_weights(model, content)

    with pytest.raises(ModelError, match="damaged"):
        read_network(read_entry(model))


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["M09-nan", "M09-inf"])
def test_weights_that_are_not_finite_are_refused_by_name(value, model, put_weights, state_of):
    state = state_of(model)
    state["stem.weight"][0, 0, 0, 0] = value
    put_weights(model, save(state))

    with pytest.raises(ModelError, match=r"stem\.weight.*NaN or infinite"):
        read_network(read_entry(model))


def test_a_head_of_zeros_is_said_to_be_untrained(model, put_weights, state_of):  # M09
    state = state_of(model)
    state["head.weight"].zero_()
    put_weights(model, save(state))

    _, notes = store.read_network_with_notes(read_entry(model))

    assert any("untrained" in note for note in notes)


RENAMED = {
    "missing": lambda state: {key: value for key, value in state.items() if key != "stem.bias"},
    "extra": lambda state: state | {"extra": torch.zeros(1)},
    "renamed": lambda state: {key.replace("stem", "trunk"): state[key] for key in state},
    "module prefix": lambda state: {f"module.{key}": state[key] for key in state},
    "ema prefix": lambda state: {f"ema.{key}": state[key] for key in state},
}


@pytest.mark.parametrize("change", [pytest.param(name, id=f"M10-{name}") for name in RENAMED])
def test_weights_with_other_names_are_refused_with_the_first_and_the_coverage(
    change, model, put_weights, state_of
):
    put_weights(model, save(RENAMED[change](state_of(model))))

    with pytest.raises(ModelError, match=r"first '.*'.* of 9 names fit"):
        read_network(read_entry(model))


def test_m11_weights_of_another_size_are_refused_by_the_first_shape(
    model, tiny_network, put_weights
):
    put_weights(model, save(tiny_network(width=7).state_dict()))

    with pytest.raises(
        ModelError, match=r"'stem\.weight' has shape \(7, 3, 3, 3\).*\(5, 3, 3, 3\)"
    ):
        read_network(read_entry(model))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=lambda d: f"M12-{d}"
)
def test_weights_of_any_float_dtype_become_float32(dtype, model, put_weights, state_of):
    state = state_of(model)
    cast = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()
    }
    put_weights(model, save(cast))

    network, notes = store.read_network_with_notes(read_entry(model))

    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, state[key], atol=1e-2, rtol=1e-2)
    assert bool(notes) == (dtype in (torch.bfloat16, torch.float64))


def test_what_was_packed_once_stays_as_it_is(tiny_network):
    network = tiny_network()
    network.norm.running_var.fill_(1e6)  # more than half precision holds
    network.norm.weight.data.fill_(1.23456e-7)  # and where it is coarse
    content = pack_weights(network)
    state = packed_state(network)
    assert {name for name, value in state.items() if value.dtype == torch.float32} == {
        "norm.running_var",
        "norm.weight",
    }
    network.load_state_dict(state)
    assert pack_weights(network) == content


def test_weights_of_integers_are_refused_by_name(model, put_weights, state_of):  # M12
    state = state_of(model)
    put_weights(model, save(state | {"stem.bias": torch.zeros(5, dtype=torch.int8)}))

    with pytest.raises(ModelError, match=r"stem\.bias.*I8"):
        read_network(read_entry(model))


@pytest.mark.parametrize("kept", [0, 7, 100, -1], ids=lambda kept: f"M13-{kept}")
def test_truncated_weights_are_refused(kept, model):
    content = (model / WEIGHTS_FILE).read_bytes()
    (model / WEIGHTS_FILE).write_bytes(content[:kept])

    with pytest.raises(ModelError, match="SHA-256 differs"):
        read_network(read_entry(model))


@pytest.mark.parametrize("kept", [0, 7, 100, -1], ids=lambda kept: f"M13-{kept}")
def test_truncated_weights_are_refused_even_if_the_card_vouches_for_them(kept, model, put_weights):
    put_weights(model, (model / WEIGHTS_FILE).read_bytes()[:kept])

    with pytest.raises(ModelError, match="weights"):
        read_network(read_entry(model))


def test_one_changed_bit_is_noticed(model):  # M13
    content = bytearray((model / WEIGHTS_FILE).read_bytes())
    content[-3] ^= 1
    (model / WEIGHTS_FILE).write_bytes(content)

    with pytest.raises(ModelError, match="SHA-256 differs"):
        read_network(read_entry(model))


def test_missing_weights_are_a_problem_of_the_entry(model):  # M13
    (model / WEIGHTS_FILE).unlink()

    assert "holds no weights.safetensors" in read_entry(model).problem


def test_weights_that_vanish_after_listing_are_an_error(model):
    entry = read_entry(model)
    (model / WEIGHTS_FILE).unlink()

    with pytest.raises(ModelError, match="No such file"):
        read_network(entry)


def test_oversized_weights_are_not_read(model, monkeypatch):
    monkeypatch.setattr(store, "WEIGHTS_LIMIT", 100)

    with pytest.raises(ModelError, match="larger than"):
        read_network(read_entry(model))


def test_m14_weights_swapped_after_the_check_change_nothing(
    model, monkeypatch, tiny_network, state_of
):
    want = state_of(model)
    honest = load_weights

    def swap_then_load(network, content):
        (model / WEIGHTS_FILE).write_bytes(save(tiny_network().state_dict()))
        return honest(network, content)

    monkeypatch.setattr(store, "load_weights", swap_then_load)

    for key, value in state_of(model).items():
        torch.testing.assert_close(value, want[key])


@pytest.mark.parametrize(
    "change", ["truncated", "overwritten", "deleted"], ids=lambda c: f"M15-{c}"
)
def test_a_loaded_network_no_longer_needs_its_file(change, model):
    network = read_network(read_entry(model))
    images = torch.rand(1, 3, 9, 11)
    before = network(images)
    path = model / WEIGHTS_FILE
    if change == "truncated":
        path.write_bytes(b"")
    elif change == "overwritten":
        with path.open("r+b") as file:
            file.write(b"\xff" * path.stat().st_size)
    else:
        path.unlink()

    torch.testing.assert_close(network(images), before)
