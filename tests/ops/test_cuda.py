"""From tensors to launches: what the kernels are given, and what is said if they cannot be had."""

import sys
from types import SimpleNamespace

import pytest
import torch
from fake_driver import FakeDriver

from napari_rwkv_seg.errors import KernelError
from napari_rwkv_seg.ops import _cuda, _cuda_driver, _nvrtc
from napari_rwkv_seg.ops._cuda_plan import backward_plan, forward_plan, state_rows

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Forget what other tests loaded, and stand in for torch's CUDA half."""
    monkeypatch.setattr(_cuda, "_modules", {})
    monkeypatch.setattr(_cuda, "cached_code", lambda parts, make: make())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


@pytest.fixture
def driver(monkeypatch):
    fake = FakeDriver()
    plans = forward_plan(1, 2**20, 1) + backward_plan(1, 2**20, 1)
    module = _cuda_driver.load(fake, 0, b"code", plans)
    monkeypatch.setattr(_cuda, "_module", lambda device, dtype: module)
    stream = SimpleNamespace(cuda_stream=55)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    return fake


def random_call(dtype, shape=(2, 300, 5)):
    w, u = torch.randn(2, shape[2])
    k, v, gy = torch.randn(3, *shape).to(dtype)
    return w, u, k, v, gy


@pytest.mark.parametrize("dtype", list(_cuda.DTYPES))
def test_forward_hands_over_the_tensors_and_keeps_the_states_in_float32(driver, dtype):
    w, u, k, v, _ = random_call(dtype)
    y, states = _cuda.forward(w, u, k, v)
    assert (y.shape, y.dtype) == (k.shape, dtype)
    assert (states.shape, states.dtype) == ((2, state_rows(300), 5), torch.float32)
    given = {"w": w, "u": u, "k": k, "v": v, "y": y, "states": states}
    for name, _, stream, facts, _ in driver.launches:
        assert name.startswith("rwkv_forward")
        assert stream == 55
        assert {x: facts[x] for x in given} == {x: t.data_ptr() for x, t in given.items()}
        assert (facts["gy"], facts["dk"]) == (0, 0)
        assert facts["scratch"] != 0
        assert (facts["batch"], facts["tokens"], facts["channels"]) == (2, 300, 5)
    assert len(driver.launches) == len(forward_plan(2, 300, 5))


def test_backward_hands_over_what_forward_made_and_returns_the_gradients_shapes(driver):
    w, u, k, v, gy = random_call(torch.bfloat16)
    y, states = _cuda.forward(w, u, k, v)
    driver.launches.clear()
    slopes = _cuda.backward(w, u, k, v, y, states, gy)
    names = ("dw", "du", "dk", "dv")
    for one, like in zip(slopes, (w, u, k, v), strict=True):
        assert (one.shape, one.dtype) == (like.shape, like.dtype)
    for _, _, _, facts, _ in driver.launches:
        assert [facts[x] for x in names] == [one.data_ptr() for one in slopes]
        assert (facts["y"], facts["states"]) == (y.data_ptr(), states.data_ptr())
        assert facts["gy"] == gy.data_ptr()
    assert len(driver.launches) == len(backward_plan(2, 300, 5))


@pytest.mark.parametrize("shape", [(0, 300, 5), (2, 300, 0)], ids=str)
def test_nothing_is_launched_for_nothing(driver, shape):
    w, u, k, v, gy = random_call(torch.float32, shape)
    y, states = _cuda.forward(w, u, k, v)
    dw, du, *_ = _cuda.backward(w, u, k, v, y, states, gy)
    assert driver.launches == []
    assert not dw.any()
    assert not du.any()


def test_kernels_are_compiled_and_loaded_once_for_a_device_and_a_type(monkeypatch):
    made = []
    monkeypatch.setattr(_cuda, "compiled", lambda *facts: made.append(facts) or b"code")
    monkeypatch.setattr(_cuda_driver, "driver", FakeDriver)
    for dtype in (torch.float32, torch.float32, torch.float16):
        assert _cuda.obstacle(CUDA, dtype) == ""
    assert made == [(90, "float32"), (90, "float16")]


def test_a_failure_is_told_each_time_and_tried_once(monkeypatch):
    tries = []

    def fail(*facts):
        tries.append(facts)
        raise KernelError("There is no compiler.")

    monkeypatch.setattr(_cuda, "compiled", fail)
    assert [_cuda.obstacle(CUDA, torch.float32) for _ in range(2)] == ["There is no compiler."] * 2
    assert len(tries) == 1
    with pytest.raises(KernelError, match="There is no compiler"):
        _cuda._module(CUDA, torch.float32)


@pytest.mark.parametrize("failing", ["cuDevicePrimaryCtxRetain", "cuModuleLoadData"])
def test_a_lack_of_memory_while_loading_is_not_remembered(monkeypatch, failing):
    monkeypatch.setattr(_cuda, "compiled", lambda *facts: b"code")
    monkeypatch.setattr(_cuda_driver, "driver", lambda: FakeDriver(failing, code=2))
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        _cuda.obstacle(CUDA, torch.float32)
    monkeypatch.setattr(_cuda_driver, "driver", FakeDriver)
    assert _cuda.obstacle(CUDA, torch.float32) == ""


def test_a_first_use_inside_a_graphs_capture_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(KernelError, match="call it once on this device and dtype before"):
        _cuda.obstacle(CUDA, torch.float32)
    assert _cuda._modules == {}


def test_a_device_that_is_too_old_is_told_so():
    with pytest.raises(
        KernelError, match=r"need compute capability 7\.0, and this device has 6\.1"
    ):
        _cuda.compiled(61, "float32")


@pytest.mark.skipif(sys.platform != "linux", reason="NVIDIA's wheel is installed on Linux only")
def test_the_sources_of_this_installation_compile():
    assert b"rwkv_forward_means" in _cuda.compiled(90, "float32")


def test_an_installation_without_sources_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setattr(_cuda, "files", lambda package: tmp_path)
    monkeypatch.setattr(_nvrtc, "find_compiler", lambda: SimpleNamespace(version=(13, 0)))
    _cuda.sources.cache_clear()
    with pytest.raises(KernelError, match=r"not in this installation.*install again"):
        _cuda.compiled(90, "float32")
