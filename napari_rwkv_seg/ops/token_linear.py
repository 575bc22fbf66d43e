"""Linear layers over tokens, through oneDNN where that is faster than what PyTorch calls.

PyTorch hands a float32 linear layer to MKL, which on CPUs that are not Intel's stays with
256-bit vectors. oneDNN, which comes with PyTorch too, uses what the machine has: measured
twice as fast on an AMD CPU with AVX-512. What it computes is the same sum.
"""

import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .backends import choose


def token_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``, as `torch.nn.functional.linear` does.

    While compiling or exporting, under autocast, in a transform of `torch.func`, for other dtypes
    than float32, on other devices than an x86 CPU and where the reference was asked for, it is
    that function.

    Parameters
    ----------
    x : Tensor, shape (..., I)
        Tokens, contiguous or not.
    weight : Tensor, shape (O, I)
        What each output makes of the inputs.
    bias : Tensor, shape (O,), optional
        What is added.

    Returns
    -------
    Tensor, shape (..., O)

    Raises
    ------
    RuntimeError
        By PyTorch, if the shapes do not fit.
    """
    if not _suits(x, weight):
        return functional.linear(x, weight, bias)
    needs_gradient = x.requires_grad or weight.requires_grad
    needs_gradient = needs_gradient or (bias is not None and bias.requires_grad)
    if needs_gradient and torch.is_grad_enabled():
        differentiable: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return differentiable
    return _linear(x, weight, bias)


def _suits(x: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN may compute on these."""
    if torch.compiler.is_compiling() or not _has_onednn() or not x.numel():
        return False
    if not (x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"):
        return False
    if not torch.backends.mkldnn.enabled or torch.is_autocast_enabled("cpu"):
        return False
    return choose(x)[0] == "cpu"


@cache
def _has_onednn() -> bool:
    """Return whether this PyTorch has the operator, which is not part of its public face."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return is_x86 and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _Linear(torch.autograd.Function):
    """`_linear` and its gradients, which are linear layers again, so can be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_x = token_linear(gradient, weight.t())
        if ctx.needs_input_grad[1]:
            by_weight = token_linear(rows.t(), x.reshape(-1, x.shape[-1]).t())
        if ctx.needs_input_grad[2]:
            by_bias = rows.sum(0)
        return by_x, by_weight, by_bias
