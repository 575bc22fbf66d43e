"""Convolutions of RWKV-UNet with their norms, and the gate of its stem.

RWKV-UNet (Jiang et al. 2025, arXiv 2501.08458). Maps are (B, C, H, W).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .depthwise import DepthwiseConv2d
from .folding import normed_convolution, norms_can_be_folded

NormKind = Literal["batch", "layer", "none"]

_EPS = 1e-6  # of the norms on maps, as in the authors' modules; those on tokens have 1e-5


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel of a map (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=_EPS)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps (B, C, H, W); same shape out."""
        normed: Tensor = self.norm(maps.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    """A convolution without bias, then batch norm unless `norm` is False, then `activation`.

    In evaluation without gradients the norm goes into the convolution (`folding`).

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    kernel : int
        Side of the kernel in pixels, odd.
    stride : int
        Step in pixels; a side of n pixels becomes ceil(n / stride).
    depthwise : bool
        Filter each channel on its own (inputs must equal outputs).
    norm : bool
        Whether batch norm follows.
    activation : nn.Module, optional
        What is applied last; None leaves the values as they are.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        depthwise: bool = False,
        norm: bool = True,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv: nn.Conv2d
        if depthwise:
            self.conv = DepthwiseConv2d(inputs, kernel, stride=stride, bias=False)
        else:
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=_EPS) if norm else nn.Identity()
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, maps: Tensor) -> Tensor:
        """Filter maps (B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        if isinstance(self.norm, nn.BatchNorm2d) and norms_can_be_folded(self.norm):
            normed = normed_convolution(self.conv, self.norm, maps)
        else:
            normed = self.norm(self.conv(maps))
        filtered: Tensor = self.activation(normed)
        return filtered


class ChannelGate(nn.Module):
    """Squeeze and excitation: scale each channel by a gate computed from the channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels, 1)
        self.conv_expand = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Gate maps (B, C, H, W); same shape out."""
        means = maps.mean((2, 3), keepdim=True)
        return maps * torch.sigmoid(self.conv_expand(functional.silu(self.conv_reduce(means))))


def map_norm(kind: NormKind, channels: int) -> nn.Module:
    """Make what normalises maps (B, C, H, W): over the batch, over the channels, or nothing."""
    if kind == "none":
        return nn.Identity()
    return ChannelNorm(channels) if kind == "layer" else nn.BatchNorm2d(channels, eps=_EPS)
