"""Depthwise convolutions, with gradients several times as quick as PyTorch's on CPUs.

oneDNN, to which PyTorch hands convolutions on a CPU, filters each channel on its own quickly
but has no fast way back: gradients take 20 to 70 times as long as the filter itself, and most
of a training step of RWKV-UNet (docs/decisions.md). Here the gradient by the maps is made of
quick convolutions again, and that by the kernel by a kernel of our own.
"""

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from . import _library
from .backends import choose

_CHANNELS = 16  # RWKV_DEPTHWISE_CHANNELS and
_SIDE = 9  # RWKV_DEPTHWISE_SIDE of csrc/rwkv_kernels.h


def depthwise_conv2d(
    maps: Tensor, kernel: Tensor, bias: Tensor | None = None, stride: int = 1
) -> Tensor:
    """Filter each channel on its own, as `torch.nn.functional.conv2d` does, padded with zeros.

    The result is that function's in any case; where gradients are wanted on a CPU, they are
    found in another way, unless the graph is being compiled, exported or transformed by
    `torch.func`, or the reference was asked for. They can be differentiated once only there.

    Parameters
    ----------
    maps : Tensor, shape (B, C, H, W)
        What is filtered; in channels-last memory nothing is copied.
    kernel : Tensor, shape (C, 1, K, K)
        K is odd.
    bias : Tensor, shape (C,), optional
        What is added.
    stride : int
        Step in pixels.

    Returns
    -------
    Tensor, shape (B, C, ceil(H / stride), ceil(W / stride))

    Raises
    ------
    RuntimeError
        By PyTorch, if the shapes do not fit.
    """
    if not _suits(maps, kernel, stride):
        return _filtered(maps, kernel, bias, stride)
    filtered: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
        maps, kernel, bias, stride
    )
    return filtered


def _filtered(maps: Tensor, kernel: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return functional.conv2d(
        maps, kernel, bias, stride, kernel.shape[-1] // 2, groups=kernel.shape[0]
    )


def _suits(maps: Tensor, kernel: Tensor, stride: int) -> bool:
    """Return whether the gradients are wanted, and the kernels can help with them."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    if not (maps.requires_grad or kernel.requires_grad) or not maps.numel():
        return False
    if maps.dim() != 4 or kernel.shape[:2] != (maps.shape[1], 1):
        return False
    side = kernel.shape[-1]
    if side != kernel.shape[-2] or side % 2 == 0 or not stride <= side <= _SIDE:
        return False
    if maps.device.type != "cpu" or torch.float64 in (maps.dtype, kernel.dtype):
        return False
    return choose(maps)[0] == "cpu"


class _Depthwise(torch.autograd.Function):
    """`_filtered`, and its gradients by quick ways."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernel: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(maps, kernel)
        ctx.stride = stride
        return _filtered(maps, kernel, bias, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, kernel = ctx.saved_tensors
        by_maps = by_kernel = by_bias = None
        if ctx.needs_input_grad[0]:
            by_maps = _by_maps(gradient, kernel.to(gradient.dtype), ctx.stride, maps.shape)
            by_maps = by_maps.to(maps.dtype)
        if ctx.needs_input_grad[1]:
            by_kernel = _by_kernel(maps, gradient, kernel.shape[-1], ctx.stride).to(kernel.dtype)
        if ctx.needs_input_grad[2]:
            by_bias = gradient.sum((0, 2, 3))
        return by_maps, by_kernel, by_bias, None


def _by_maps(gradient: Tensor, kernel: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """Return the gradient by the maps (B, C, H, W).

    Pixels that lie `stride` apart meet the same taps of the kernel. Each such lattice is
    filtered by its taps alone, turned round: a convolution of stride 1.
    """
    if stride == 1:
        return _filtered(gradient, kernel.flip(2, 3), None, 1)
    by_maps = torch.empty(shape, dtype=gradient.dtype, memory_format=torch.channels_last)
    for y in range(min(stride, shape[2])):
        for x in range(min(stride, shape[3])):
            rows = _taps(y, stride, shape[2], gradient.shape[2], kernel.shape[2])
            columns = _taps(x, stride, shape[3], gradient.shape[3], kernel.shape[3])
            taps = kernel[:, :, rows[0] :: stride, columns[0] :: stride].flip(2, 3)
            padded = functional.pad(gradient, (*columns[1:], *rows[1:]))
            by_maps[:, :, y::stride, x::stride] = functional.conv2d(
                padded, taps, groups=kernel.shape[0]
            )
    return by_maps


def _taps(start: int, stride: int, size: int, filtered: int, side: int) -> tuple[int, int, int]:
    """Return the first tap that pixels start, start + stride, … meet, and how to pad for them.

    Along one axis of `size` pixels, of which `filtered` came out: pixel p meets tap i of what
    came out at (p + side // 2 - i) / stride.
    """
    first = (start + side // 2) % stride
    count = len(range(first, side, stride))
    ahead = (start + side // 2 - first) // stride
    pixels = len(range(start, size, stride))
    return first, count - 1 - ahead, pixels - 1 + ahead - (filtered - 1)


class _Call(ctypes.Structure):
    """`rwkv_depthwise` of csrc/rwkv_kernels.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "height", "width", "rows", "columns")),
        *((name, ctypes.c_int64) for name in ("channels", "side", "stride", "is_bfloat16")),
        *((name, ctypes.c_void_p) for name in ("maps", "by_filtered")),
    )


@cache
def _kernel() -> Any:
    """Return the function of the library, its types declared."""
    functions = _library.load().functions
    if functions is None:
        raise RuntimeError("There are no compiled kernels in this installation.")
    by_kernel = functions.rwkv_depthwise_by_kernel
    by_kernel.argtypes = [ctypes.POINTER(_Call), ctypes.c_void_p, ctypes.c_int]
    return by_kernel


def _by_kernel(maps: Tensor, gradient: Tensor, side: int, stride: int) -> Tensor:
    """Return the gradient by the kernel (C, 1, K, K), in float32."""
    is_bfloat16 = gradient.dtype == torch.bfloat16
    dtype = torch.bfloat16 if is_bfloat16 else torch.float32
    met, slopes = (x.permute(0, 2, 3, 1).to(dtype).contiguous() for x in (maps, gradient))
    batch, height, width, channels = met.shape
    rows, columns = slopes.shape[1:3]
    found = torch.empty(side, side, -(-channels // _CHANNELS) * _CHANNELS)
    sizes = (batch, height, width, rows, columns, channels, side, stride, int(is_bfloat16))
    call = _Call(*sizes, met.data_ptr(), slopes.data_ptr())
    code = _kernel()(ctypes.byref(call), found.data_ptr(), torch.get_num_threads())
    _library._check(code, "a depthwise convolution's backward pass")
    return found[..., :channels].permute(2, 0, 1)[:, None]
