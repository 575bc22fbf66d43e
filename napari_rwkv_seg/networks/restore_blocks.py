"""The block of Restore-RWKV: Omni-shift and Bi-WKV along rows, then along columns.

Restore-RWKV (Yang et al. 2024, arXiv 2407.11087). Maps are (B, C, H, W) of any
height and width. Parameters bear the names of the authors' checkpoints; their
`conv5x5_reparam`, a copy of the merged kernel that goes stale, is left out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_rwkv_seg.ops import bi_wkv, depthwise_conv2d

from .depthwise import DepthwiseConv2d
from .linear import linear


class OmniShift(nn.Module):
    """Blend each pixel with its 5 x 5 neighbourhood, channel by channel.

    The sum of the pixel itself and of depthwise 1 x 1, 3 x 3 and 5 x 5 filters,
    each with a learned weight (`alpha`). In training the branches run one by
    one. Otherwise one merged 5 x 5 filter gives the same; it is computed from
    the branches at each call, so that it never lags behind them.

    Parameters
    ----------
    channels : int
        C, the channels of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.randn(4))
        self.conv1x1, self.conv3x3, self.conv5x5 = (
            DepthwiseConv2d(channels, side, bias=False) for side in (1, 3, 5)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Shift maps (B, C, H, W), with zeros beyond the border; same shape out."""
        if not self.training:
            return depthwise_conv2d(maps, self.merged_kernel())
        itself, one, three, five = self.alpha.unbind()
        shifted: Tensor = itself * maps + one * self.conv1x1(maps)
        shifted = shifted + three * self.conv3x3(maps) + five * self.conv5x5(maps)
        return shifted

    def merged_kernel(self) -> Tensor:
        """Return the kernel (C, 1, 5, 5) that does the work of all the branches."""
        itself, one, three, five = self.alpha.unbind()
        kernel = five * self.conv5x5.weight
        kernel = kernel + functional.pad(three * self.conv3x3.weight, (1, 1, 1, 1))
        return kernel + functional.pad(itself + one * self.conv1x1.weight, (2, 2, 2, 2))


class RecurrentSpatialMix(nn.Module):
    """Let every pixel look at all others through Bi-WKV in row-major, then column-major order.

    Keys and receptance are computed once; the value of the second pass is what
    the first returned (Restore-RWKV, "Re-WKV").

    Parameters
    ----------
    channels : int
        C, the channels of the maps.
    passes : int
        Passes of Bi-WKV; every second one is column-major.
    """

    def __init__(self, channels: int, passes: int = 2) -> None:
        super().__init__()
        self.spatial_decay = nn.Parameter(torch.randn(passes, channels))
        self.spatial_first = nn.Parameter(torch.randn(passes, channels))
        self.omni_shift = OmniShift(channels)
        self.key = linear(channels, channels)
        self.value = linear(channels, channels)
        self.receptance = linear(channels, channels)
        self.output = linear(channels, channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Mix pixels (B, H, W, C) in space; same shape out."""
        shifted = _shift(self.omni_shift, pixels)
        key, value = self.key(shifted), self.value(shifted)
        for index, (decay, first) in enumerate(
            zip(self.spatial_decay, self.spatial_first, strict=True)
        ):
            value = _scan(decay, first, key, value, by_columns=index % 2 == 1)
        gated: Tensor = self.output(torch.sigmoid(self.receptance(shifted)) * value)
        return gated


class OmniChannelMix(nn.Module):
    """Mix the channels of each Omni-shifted pixel: a squared ReLU of width 4 C, gated.

    Parameters
    ----------
    channels : int
        C, the channels of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.omni_shift = OmniShift(channels)
        self.key = linear(channels, 4 * channels)
        self.receptance = linear(channels, channels)
        self.value = linear(4 * channels, channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Mix pixels (B, H, W, C) across channels; same shape out."""
        shifted = _shift(self.omni_shift, pixels)
        hidden = torch.square(torch.relu(self.key(shifted)))
        gated: Tensor = torch.sigmoid(self.receptance(shifted)) * self.value(hidden)
        return gated


class RestoreBlock(nn.Module):
    """Spatial mix, then channel mix, each of the normed map, scaled and with a residual.

    Parameters
    ----------
    channels : int
        C, the channels of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(channels)
        self.ln2 = nn.LayerNorm(channels)
        self.att = RecurrentSpatialMix(channels)
        self.ffn = OmniChannelMix(channels)
        self.gamma1 = nn.Parameter(torch.ones(channels))
        self.gamma2 = nn.Parameter(torch.ones(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Run the block on maps (B, C, H, W); same shape out."""
        pixels = maps.permute(0, 2, 3, 1)
        mixed: Tensor = pixels + self.gamma1 * self.att(self.ln1(pixels))
        mixed = mixed + self.gamma2 * self.ffn(self.ln2(mixed))
        return mixed.permute(0, 3, 1, 2)


def _shift(omni_shift: OmniShift, pixels: Tensor) -> Tensor:
    """Omni-shift pixels (B, H, W, C)."""
    shifted: Tensor = omni_shift(pixels.permute(0, 3, 1, 2))
    return shifted.permute(0, 2, 3, 1)


def _scan(decay: Tensor, first: Tensor, key: Tensor, value: Tensor, *, by_columns: bool) -> Tensor:
    """Run Bi-WKV over key and value (B, H, W, C), row by row or column by column."""
    if by_columns:
        turned = _scan(decay, first, key.transpose(1, 2), value.transpose(1, 2), by_columns=False)
        return turned.transpose(1, 2)
    count = key.shape[1] * key.shape[2]
    mixed: Tensor = bi_wkv(decay / count, first / count, key.flatten(1, 2), value.flatten(1, 2))
    return mixed.reshape(value.shape)
