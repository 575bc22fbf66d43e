"""Depthwise convolutions: the gradients by quick ways against PyTorch's own in float64."""

import ctypes

import pytest
import torch
from torch.nn import functional

from napari_rwkv_seg.networks.depthwise import DepthwiseConv2d
from napari_rwkv_seg.ops import _library, depthwise, depthwise_conv2d

SIZES = ((9, 12), (10, 7), (1, 5), (23, 17))


def inputs_of(size, channels, side, batch=2):
    generator = torch.Generator().manual_seed(42)
    shapes = ((batch, channels, *size), (channels, 1, side, side), (channels,))
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def gradients_of(convolve, inputs, stride, dtype=torch.float32):
    inputs = [x.detach().to(dtype).requires_grad_() for x in inputs]
    filtered = convolve(*inputs, stride)
    generator = torch.Generator().manual_seed(7)
    direction = torch.randn(filtered.shape, generator=generator, dtype=torch.float64).to(dtype)
    return filtered.detach(), torch.autograd.grad(filtered, inputs, direction)


def plain(maps, kernel, bias, stride):
    side = kernel.shape[-1]
    return functional.conv2d(maps, kernel, bias, stride, side // 2, groups=len(kernel))


@pytest.fixture
def ways(monkeypatch):
    """Count how often our own gradients were taken."""
    taken = []
    found = depthwise._by_kernel
    monkeypatch.setattr(depthwise, "_by_kernel", lambda *x: taken.append(x) or found(*x))
    return taken


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("side", "stride"), [(1, 1), (3, 1), (3, 2), (3, 3), (5, 1), (5, 2), (7, 3), (9, 1), (9, 2)]
)
@pytest.mark.parametrize("channels", [3, 16, 40])
def test_values_and_gradients_are_pytorchs(ways, channels, side, stride, size):
    inputs = inputs_of(size, channels, side)
    got, mine = gradients_of(depthwise_conv2d, inputs, stride)
    want, theirs = gradients_of(plain, inputs, stride, torch.float64)
    assert len(ways) == 1
    for found, true in zip((got, *mine), (want, *theirs), strict=True):
        scale = float(true.abs().max().clamp_min(1))
        assert float((found - true).abs().max()) < 2e-6 * scale


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_and_autocast_keep_the_dtypes_and_the_numbers(ways, layout):
    maps, kernel, bias = inputs_of((33, 40), 24, 5)
    maps = maps.detach().to(memory_format=layout).requires_grad_()
    _, theirs = gradients_of(plain, (maps, kernel, bias), 2, torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        filtered = depthwise_conv2d(maps, kernel, bias, 2)
    assert filtered.dtype == torch.bfloat16
    generator = torch.Generator().manual_seed(7)
    direction = torch.randn(filtered.shape, generator=generator, dtype=torch.float64)
    mine = torch.autograd.grad(filtered, (maps, kernel, bias), direction.bfloat16())
    assert len(ways) == 1
    assert [x.dtype for x in mine[:2]] == [torch.float32] * 2
    for found, true in zip(mine, theirs, strict=True):
        assert float((found - true).norm() / true.norm()) < 1e-2


def test_only_what_is_asked_for_is_computed(ways):
    maps, kernel, bias = inputs_of((9, 8), 4, 3)
    (by_maps,) = torch.autograd.grad(depthwise_conv2d(maps, kernel.detach()).sum(), maps)
    assert not ways
    assert by_maps.shape == maps.shape
    (by_kernel,) = torch.autograd.grad(depthwise_conv2d(maps.detach(), kernel).sum(), kernel)
    assert len(ways) == 1
    assert by_kernel.shape == kernel.shape
    with torch.no_grad():
        assert depthwise_conv2d(maps, kernel, bias).grad_fn is None


def test_the_gradient_by_the_kernel_does_not_depend_on_the_number_of_threads():
    inputs = inputs_of((65, 33), 20, 5)
    before, results = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(gradients_of(depthwise_conv2d, inputs, 1)[1][1])
    torch.set_num_threads(before)
    assert torch.equal(*results)


def test_gradients_of_gradients_are_refused():
    inputs = inputs_of((9, 8), 4, 3)
    (slope,) = torch.autograd.grad(
        depthwise_conv2d(*inputs).square().sum(), inputs[0], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize(
    ("side", "stride", "dtype"),
    [(11, 1, torch.float32), (3, 4, torch.float32), (3, 1, torch.float64)],
)
def test_what_the_kernels_do_not_know_is_left_to_pytorch(ways, side, stride, dtype):
    inputs = inputs_of((12, 12), 4, side)
    _, mine = gradients_of(depthwise_conv2d, inputs, stride, dtype)
    _, theirs = gradients_of(plain, inputs, stride, dtype)
    assert not ways
    for found, true in zip(mine, theirs, strict=True):
        assert torch.equal(found, true)


def test_the_reference_is_pytorchs_own(ways, monkeypatch):
    monkeypatch.setenv("NAPARI_RWKV_SEG_BACKEND", "reference")
    gradients_of(depthwise_conv2d, inputs_of((9, 8), 4, 3), 1)
    assert not ways


def test_it_compiles_without_a_graph_break():
    inputs = inputs_of((9, 8), 4, 3)
    compiled = torch.compile(depthwise_conv2d, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), depthwise_conv2d(*inputs))


def test_the_module_is_a_grouped_convolution_with_its_names_and_numbers():
    torch.manual_seed(0)
    mine = DepthwiseConv2d(6, 5, stride=2)
    theirs = torch.nn.Conv2d(6, 6, 5, 2, 2, groups=6)
    theirs.load_state_dict(mine.state_dict(), strict=True)
    maps = torch.randn(2, 6, 11, 8)
    assert torch.equal(mine(maps), theirs(maps))


@pytest.mark.skipif(_library.load().functions is None, reason="no compiled kernels")
@pytest.mark.parametrize(
    "wrong",
    [{"side": 4}, {"side": 11}, {"stride": 0}, {"stride": 5}, {"rows": 2}, {"maps": 0}],
)
def test_the_library_refuses_what_it_cannot_do(wrong):
    maps, slopes, found = torch.zeros(1, 3, 3, 16), torch.zeros(1, 3, 3, 16), torch.zeros(3, 3, 16)
    sizes = {"batch": 1, "height": 3, "width": 3, "rows": 3, "columns": 3, "channels": 16}
    sizes |= {"side": 3, "stride": 1, "is_bfloat16": 0}
    arrays = {"maps": maps.data_ptr(), "by_filtered": slopes.data_ptr()}
    call = depthwise._Call(**sizes | arrays | wrong)
    assert depthwise._kernel()(ctypes.byref(call), found.data_ptr(), 1) == 1
    right = depthwise._Call(**sizes | arrays)
    assert depthwise._kernel()(ctypes.byref(right), found.data_ptr(), 1) == 0
