"""Batch norm as a part of the convolution before it, which saves a pass and an array."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def norms_can_be_folded(*norms: nn.Module) -> bool:
    """Return whether batch norms only evaluate: no training, no gradients, no graph being made."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return not any(norm.training for norm in norms)


def normed_convolution(layer: nn.Conv2d, norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    """Return what batch norm in evaluation makes of a convolution (B, C, H, W) without bias."""
    scale = norm.weight * torch.rsqrt(norm.get_buffer("running_var") + norm.eps)
    shift = norm.bias - norm.get_buffer("running_mean") * scale
    weight = layer.weight * scale[:, None, None, None]
    return functional.conv2d(maps, weight, shift, layer.stride, layer.padding, groups=layer.groups)
