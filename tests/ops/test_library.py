"""The compiled library itself, through addresses: what it writes, and when it cannot be used."""

import sys

import pytest
import torch
from wkv_cases import make

from napari_rwkv_seg.ops import _library, backend_status, bi_wkv, bi_wkv_reference


def _poisoned(*shapes):
    return [torch.full(shape, float("nan")) for shape in shapes]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 33, 21), (1, 160, 64)], ids=str)
def test_every_element_is_written(shape):
    inputs, grad = make("some channels beyond float32", shape)
    y, states = _poisoned(shape, (shape[0], _library.state_rows(shape[1]), shape[2]))
    _library.forward(shape, tuple(x.data_ptr() for x in (*inputs, y, states)), 2)
    slopes = _poisoned(*(x.shape for x in inputs))
    arrays = (*inputs, y, states, grad, *slopes)
    _library.backward(shape, tuple(x.data_ptr() for x in arrays), 2)
    for name, x in zip(("y", "states", "dw", "du", "dk", "dv"), (y, states, *slopes), strict=True):
        assert x.isfinite().all(), name


def test_nothing_beside_the_arrays_is_written():
    shape = (1, 33, 21)
    inputs, _ = make("trained", shape)
    guarded = torch.full((3, 33, 21), 7.0)
    states = torch.empty(1, _library.state_rows(33), 21)
    addresses = tuple(x.data_ptr() for x in (*inputs, guarded[1], states))
    _library.forward(shape, addresses, 2)
    assert (guarded[0] == 7).all()
    assert (guarded[2] == 7).all()


def test_states_have_the_rows_that_the_library_counts():
    functions = _library.load().functions
    for tokens in (1, 15, 16, 17, 4096):
        assert functions.rwkv_state_rows(tokens) == _library.state_rows(tokens)


def test_a_null_pointer_is_refused():
    with pytest.raises(RuntimeError, match="null pointer"):
        _library.forward((1, 1, 1), (0, 0, 0, 0, 0, 0), 1)


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(RuntimeError, match=r"'sse9'.*lacks"):
        _library.use_instruction_set("sse9")


def test_a_library_of_another_interface_is_not_used(monkeypatch):
    monkeypatch.setattr(_library, "_ABI_VERSION", 999)
    library = _library.load.__wrapped__()
    assert library.functions is None
    assert "install again" in library.problem


def test_a_file_that_is_no_library_is_not_used(monkeypatch, tmp_path):
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "librwkv_kernels.so").write_bytes(b"not a library")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(_library, "files", lambda package: tmp_path)
    library = _library.load.__wrapped__()
    assert library.functions is None
    assert "cannot be loaded" in library.problem


@pytest.fixture
def no_library(monkeypatch):
    """Let the installation have no compiled kernels."""
    missing = _library.Library(None, "", "librwkv_kernels.so was not built")
    monkeypatch.setattr(_library, "load", lambda: missing)


def test_without_the_library_the_reference_runs(no_library):
    inputs, _ = make("trained", (2, 35, 20))
    assert torch.equal(bi_wkv(*inputs), bi_wkv_reference(*inputs))


def test_without_the_library_the_status_says_so(no_library):
    status = backend_status()
    assert status.backend == "reference"
    assert "No compiled kernels in this installation" in status.reason
    assert status.library is None
    assert status.instruction_set is None


def test_without_the_library_a_kernel_cannot_be_called(no_library):
    with pytest.raises(RuntimeError, match="was not built"):
        _library.forward((1, 1, 1), (1, 1, 1, 1, 1, 1), 1)
