"""How kernels are loaded and launched, told to a driver that only writes it down."""

import sys

import pytest
import torch
from fake_driver import FakeDriver

from napari_rwkv_seg.errors import KernelError
from napari_rwkv_seg.inference.running import is_out_of_memory
from napari_rwkv_seg.ops import _cuda_driver
from napari_rwkv_seg.ops._cuda_plan import Call, Launch, backward_plan, forward_plan

CALL = Call(w=11, u=12, k=13, v=14, y=15, states=16, scratch=17, batch=2, tokens=300, channels=5)


@pytest.mark.parametrize("make_plan", [forward_plan, backward_plan])
def test_a_plan_is_launched_in_order_on_the_stream_with_one_argument(make_plan):
    plan = make_plan(2, 300, 5)
    fake = FakeDriver()
    module = _cuda_driver.load(fake, 3, b"code", plan)
    _cuda_driver.launch(module, plan, CALL, 77)
    assert [name for name, *_ in fake.launches] == [one.kernel for one in plan]
    for one, (_, sizes, stream, facts, context) in zip(plan, fake.launches, strict=True):
        assert sizes == (*one.grid, *one.block, one.shared_bytes)
        assert stream == 77
        assert context == 1003, "the primary context of the tensor's device"
        assert (facts["w"], facts["scratch"], facts["gy"]) == (11, 17, 0)
        assert (facts["batch"], facts["tokens"], facts["channels"]) == (2, 300, 5)
    assert fake.contexts == [], "the thread's own context is current again"


def test_much_shared_memory_is_asked_for():
    fake = FakeDriver()
    big = Launch("big", (1, 1, 1), (32, 1, 1), 60_000)
    small = Launch("small", (1, 1, 1), (32, 1, 1), 48 * 1024)
    _cuda_driver.load(fake, 0, b"code", (big, small))
    assert fake.calls.count("cuFuncSetAttribute") == 1


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("cuDeviceGet", "finding the device"),
        ("cuDevicePrimaryCtxRetain", "opening the device"),
        ("cuModuleLoadData", "loading the kernels"),
        ("cuModuleGetFunction", "finding rwkv_forward"),
    ],
)
def test_what_the_driver_refuses_while_loading_is_said(failing, said):
    fake = FakeDriver(failing)
    with pytest.raises(KernelError, match=f"failed at {said}.*: invalid argument"):
        _cuda_driver.load(fake, 0, b"code", forward_plan(1, 300, 5))
    assert fake.contexts == []


def test_what_the_driver_refuses_at_a_launch_is_said():
    fake = FakeDriver("cuLaunchKernel")
    plan = forward_plan(1, 300, 5)
    module = _cuda_driver.load(fake, 0, b"code", plan)
    said = "failed at launching rwkv_forward_sums: invalid argument"
    with pytest.raises(KernelError, match=said):
        _cuda_driver.launch(module, plan, CALL, 0)
    assert fake.contexts == []


def test_a_launch_that_lacks_memory_is_torchs_error_for_that():
    fake = FakeDriver("cuLaunchKernel", code=2)
    plan = forward_plan(1, 300, 5)
    module = _cuda_driver.load(fake, 0, b"code", plan)
    with pytest.raises(torch.OutOfMemoryError, match=r"launching rwkv_.*: out of memory") as got:
        _cuda_driver.launch(module, plan, CALL, 0)
    assert is_out_of_memory(got.value)


def test_a_machine_without_a_driver_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(_cuda_driver.ctypes, "CDLL", _not_there)
    _cuda_driver.driver.cache_clear()
    with pytest.raises(KernelError, match=r"driver cannot be loaded.*install NVIDIA's driver"):
        _cuda_driver.driver()


def _not_there(name):
    raise OSError(f"{name}: cannot open shared object file")
