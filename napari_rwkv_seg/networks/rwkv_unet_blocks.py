"""Building blocks of RWKV-UNet: GLSP block, decoder block and cross-channel mix.

RWKV-UNet (Jiang et al. 2025, arXiv 2501.08458). Maps are (B, C, H, W) of any
height and width. Parameters bear the names of the authors' checkpoints, less
those that their modules hold but never use. Stochastic depth, a matter of
training only, is left out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .convolutions import ChannelGate, ConvNorm, NormKind, map_norm
from .mixing import ChannelMix, SpatialMix


class GLSPBlock(nn.Module):
    """Global-local spatial perception: widen, mix globally by Bi-WKV and locally by 5 x 5, narrow.

    RWKV-UNet, section 3 (arXiv 2501.08458; "IR-RWKV" in its first version).
    Both residuals exist only where the shape is kept: as many channels out as
    in and a stride of 1.

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    hidden : int
        Channels between the two 1 x 1 convolutions.
    stride : int
        Step in pixels of the 5 x 5 filter.
    norm : {'batch', 'layer', 'none'}
        What is applied to the input.
    attention : bool
        Whether the tokens are mixed globally.
    gate : bool
        Whether channels are gated after the 5 x 5 filter (the stem, which has no skip).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: int,
        stride: int = 1,
        norm: NormKind = "batch",
        attention: bool = False,
        gate: bool = False,
    ) -> None:
        super().__init__()
        self.residual = inputs == outputs and stride == 1 and not gate  # the stem has no skip
        self.norm = map_norm(norm, inputs)
        self.conv = ConvNorm(inputs, hidden, activation=nn.ReLU())
        self.att: SpatialMix | None = None
        self.ln1: nn.LayerNorm | None = None
        if attention:
            self.att = SpatialMix(hidden, 1, 0, key_norm=True, init_mode="global")
            self.ln1 = nn.LayerNorm(hidden)
        self.conv_local = ConvNorm(
            hidden, hidden, 5, stride=stride, depthwise=True, activation=nn.SiLU()
        )
        self.se = ChannelGate(hidden) if gate else nn.Identity()
        self.proj = ConvNorm(hidden, outputs, norm=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Run (B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        hidden = self.conv(self.norm(maps))
        if self.att is not None and self.ln1 is not None:
            mixed = self.ln1(self.att(_to_tokens(hidden), *hidden.shape[2:]))
            hidden = hidden + _to_maps(mixed, hidden)
        local = self.se(self.conv_local(hidden))
        narrowed: Tensor = self.proj(hidden + local if self.residual else local)
        return maps + narrowed if self.residual else narrowed


class UpBlock(nn.Module):
    """Decoder block of RWKV-UNet: 1 x 1, depthwise 9 x 9, 1 x 1, then twice the size.

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, inputs, activation=nn.ReLU())
        self.conv_local = ConvNorm(inputs, inputs, 9, depthwise=True, activation=nn.SiLU())
        self.proj = ConvNorm(inputs, outputs, activation=nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        """Run maps (B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        narrowed: Tensor = self.proj(self.conv_local(self.conv(maps)))
        return functional.interpolate(narrowed, scale_factor=2.0, mode="bilinear")


class CrossChannelMix(nn.Module):
    """Skip connections of RWKV-UNet that exchange channels across scales.

    Every map is brought to `width` channels and to the size of the last, their
    channels are mixed together, and each goes back to its own width and size
    (RWKV-UNet, "CCM"). Bilinear resizing and a 1 x 1 convolution commute, so
    maps are resized at `width` channels both ways, whatever their own number.

    Parameters
    ----------
    channels : tuple of int
        Channels of each map.
    width : int
        Channels of each map while it is mixed.

    Raises
    ------
    ValueError
        On a call with another number of maps than there are `channels`.
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        mixed = width * len(channels)
        self.projections = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.channel = ChannelMix(mixed, 1, 0, key_norm=True, init_mode="global", hidden_rate=2)
        self.ln1 = nn.LayerNorm(mixed)
        self.final_projections = nn.ModuleList(nn.Conv2d(width, count, 1) for count in channels)

    def forward(self, *maps: Tensor) -> list[Tensor]:
        """Mix maps (B, channels[i], H_i, W_i), the finest last; the same shapes out."""
        size = maps[-1].shape[2:]
        narrowed = [layer(each) for layer, each in zip(self.projections, maps, strict=True)]
        joined = torch.cat([_resize(each, *size) for each in narrowed], 1)
        update = self.ln1(self.channel(_to_tokens(joined), *size))
        parts = (joined + _to_maps(update, joined)).chunk(len(maps), 1)
        resized = [_resize(p, *each.shape[2:]) for p, each in zip(parts, maps, strict=True)]
        return [layer(p) for layer, p in zip(self.final_projections, resized, strict=True)]


def _to_tokens(maps: Tensor) -> Tensor:
    """Return (B, C, H, W) as row-major tokens (B, H * W, C)."""
    return maps.flatten(2).transpose(1, 2)


def _to_maps(tokens: Tensor, like: Tensor) -> Tensor:
    """Return tokens (B, H * W, C) as maps of the shape of `like`."""
    return tokens.transpose(1, 2).reshape(like.shape)


def _resize(maps: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
