"""VRWKV: the plain Vision-RWKV encoder, sixteen pixels a token at every depth.

Vision-RWKV, figure 2 (Duan et al. 2024, arXiv 2403.02308): 16 x 16 pixels become
a token, a learned position is added, then come `depth` equal blocks. There is no
class token. Parameters bear the names of the authors' checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .mixing import VRWKVBlock

PATCH_PIXELS = 16


@dataclass(frozen=True)
class VRWKVConfig:
    """What distinguishes the published VRWKVs.

    Attributes
    ----------
    channels : int
        Length of a token.
    depth : int
        Number of blocks.
    post_norm, init_values, key_norm
        See `VRWKVBlock`.
    grid : int
        Side of the square of tokens that the position embedding was trained on.
    """

    channels: int
    depth: int
    post_norm: bool = False
    init_values: float | None = None
    key_norm: bool = False
    grid: int = 14

    def quarter_ends(self) -> tuple[int, ...]:
        """Return the indices of the last block of each quarter of the depth."""
        return tuple(self.depth * part // 4 - 1 for part in (1, 2, 3, 4))


VRWKV_CONFIGS = {
    "T": VRWKVConfig(192, 12),
    "S": VRWKVConfig(384, 12, post_norm=True, init_values=1.0),
    "B": VRWKVConfig(768, 12, post_norm=True, init_values=1e-5),
    "L": VRWKVConfig(1024, 24, post_norm=True, init_values=1e-5, key_norm=True, grid=12),
}


class PatchEmbed(nn.Module):
    """Turn every 16 x 16 pixels into a token; zeros fill up the right and lower edge."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, channels, PATCH_PIXELS, PATCH_PIXELS)

    def forward(self, image: Tensor) -> Tensor:
        """Return the map (B, C, ceil(H / 16), ceil(W / 16)) of an image (B, in_channels, H, W)."""
        below, right = (-size % PATCH_PIXELS for size in image.shape[-2:])
        projected: Tensor = self.projection(functional.pad(image, (0, right, 0, below)))
        return projected


class VRWKV(nn.Module):
    """The plain encoder; returns feature maps of one stride, 16.

    Parameters
    ----------
    config : VRWKVConfig
        Which VRWKV; `VRWKV_CONFIGS` holds the published ones.
    in_channels : int
        Channels of the image.
    out_indices : sequence of int, optional
        The blocks whose maps are returned, in the order of the blocks; negative ones
        are counted from the last. None means the last block of each quarter.

    Raises
    ------
    ValueError
        If there is no such block.
    """

    def __init__(
        self, config: VRWKVConfig, in_channels: int = 3, out_indices: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        indices = config.quarter_ends() if out_indices is None else out_indices
        wrong = [index for index in indices if not -config.depth <= index < config.depth]
        if wrong:
            raise ValueError(f"There is no block {wrong[0]}: this VRWKV has {config.depth} blocks.")
        self.out_indices = tuple(index % config.depth for index in indices)
        self.patch_embed = PatchEmbed(in_channels, config.channels)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid**2, config.channels))
        self.layers = encoder_blocks(config)
        self.ln1 = nn.LayerNorm(config.channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return maps (B, C, ceil(H / 16), ceil(W / 16)) of an image (B, in_channels, H, W).

        Only the map of the last block has gone through the final norm.
        """
        tokens, height, width = embed(image, self.patch_embed, self.pos_embed)
        maps = []
        for index, block in enumerate(self.layers):
            tokens = block(tokens, height, width)
            if index == len(self.layers) - 1:
                tokens = self.ln1(tokens)
            if index in self.out_indices:
                maps.append(tokens_to_map(tokens, height, width))
        return maps


def encoder_blocks(config: VRWKVConfig) -> nn.ModuleList:
    """Make the `depth` blocks of an encoder, with their depth-dependent initial values."""
    return nn.ModuleList(
        VRWKVBlock(
            config.channels,
            config.depth,
            index,
            post_norm=config.post_norm,
            init_values=config.init_values,
            key_norm=config.key_norm,
        )
        for index in range(config.depth)
    )


def embed(image: Tensor, patch_embed: nn.Module, pos_embed: Tensor) -> tuple[Tensor, int, int]:
    """Return the tokens (B, T, C) of an image, position added, and the grid's height and width."""
    patches = patch_embed(image)
    height, width = patches.shape[-2:]
    return map_to_tokens(patches) + resize_positions(pos_embed, height, width), height, width


def resize_positions(pos_embed: Tensor, height: int, width: int) -> Tensor:
    """Return the position embedding (1, height * width, C) of a grid other than the trained one.

    Parameters
    ----------
    pos_embed : Tensor, shape (1, side * side, C)
        The embedding of the square grid that it was trained on.
    height, width : int
        The grid that is wanted; bicubic interpolation leads to it.
    """
    side = round(pos_embed.shape[1] ** 0.5)
    if (side, side) == (height, width):
        return pos_embed
    square = tokens_to_map(pos_embed, side, side)
    resized = functional.interpolate(square, (height, width), mode="bicubic", align_corners=False)
    return map_to_tokens(resized)


def tokens_to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return tokens (B, height * width, C) as a map (B, C, height, width); no copy."""
    batch, _, channels = tokens.shape
    return tokens.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def map_to_tokens(features: Tensor) -> Tensor:
    """Return a map (B, C, H, W) as tokens (B, H * W, C), contiguous for the layers to come."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).contiguous()
