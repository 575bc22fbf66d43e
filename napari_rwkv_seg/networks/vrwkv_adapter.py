"""VRWKV-Adapter: VRWKV with a convolutional side path, giving maps of strides 4, 8, 16 and 32.

ViT-Adapter, figure 4 (Chen et al. 2023, arXiv 2205.08534), around Vision-RWKV
(arXiv 2403.02308). A small convolutional network, the spatial prior, makes maps
of four strides; before each quarter of the VRWKV blocks an injector brings them
in by deformable attention, and after it an extractor takes the news out.
Parameters bear the names of the authors' checkpoints.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from .deformable import Grid, MSDeformAttn, token_places
from .depthwise import DepthwiseConv2d
from .linear import TokenLinear
from .spatial_prior import SpatialPrior
from .vrwkv import (
    PatchEmbed,
    VRWKVConfig,
    embed,
    encoder_blocks,
    map_to_tokens,
    tokens_to_map,
)

STRIDE = 32
_HEADS = {192: 6, 384: 6, 768: 12, 1024: 16}  # of the published encoders, by channels
_layer_norm = partial(nn.LayerNorm, eps=1e-6)


class Injector(nn.Module):
    """Bring the spatial prior into the VRWKV tokens; closed at first, as gamma starts at zero."""

    def __init__(self, channels: int, *, heads: int, ratio: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.query_norm = _layer_norm(channels)
        self.feat_norm = _layer_norm(channels)
        self.attn = MSDeformAttn(channels, levels=3, heads=heads, ratio=ratio)

    def forward(
        self, tokens: Tensor, places: Tensor, prior: Tensor, grids: Sequence[Grid]
    ) -> Tensor:
        """Return tokens (B, T, C) that have read from the prior (B, N, C) of three levels."""
        read = self.attn(self.query_norm(tokens), places, self.feat_norm(prior), grids)
        injected: Tensor = tokens + self.gamma * read
        return injected


class Extractor(nn.Module):
    """Let the spatial prior read from the VRWKV tokens, then run a convolutional MLP on it."""

    def __init__(self, channels: int, *, heads: int, ratio: float) -> None:
        super().__init__()
        self.query_norm = _layer_norm(channels)
        self.feat_norm = _layer_norm(channels)
        self.attn = MSDeformAttn(channels, levels=1, heads=heads, ratio=ratio)
        self.ffn = ConvFFN(channels, channels // 4)
        self.ffn_norm = _layer_norm(channels)

    def forward(
        self, prior: Tensor, places: Tensor, tokens: Tensor, grids: Sequence[Grid]
    ) -> Tensor:
        """Return the prior (B, N, C) of the three `grids` after reading tokens (B, T, C).

        The tokens lie on the middle grid.
        """
        read = self.attn(self.query_norm(prior), places, self.feat_norm(tokens), grids[1:2])
        prior = prior + read
        updated: Tensor = prior + self.ffn(self.ffn_norm(prior), grids)
        return updated


class ConvFFN(nn.Module):
    """Linear, depthwise 3 x 3 convolution on each level's map, GELU, linear."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = TokenLinear(channels, hidden)
        self.dwconv = LevelwiseConv(hidden)
        self.fc2 = TokenLinear(hidden, channels)

    def forward(self, prior: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Run on tokens (B, N, C) of all levels; same shape out."""
        hidden = self.dwconv(self.fc1(prior), grids)
        updated: Tensor = self.fc2(functional.gelu(hidden))
        return updated


class LevelwiseConv(nn.Module):
    """One depthwise 3 x 3 convolution for the maps of all levels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = DepthwiseConv2d(channels, 3)

    def forward(self, prior: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Run on tokens (B, N, C) of all levels; same shape out."""
        maps = split_levels(prior, grids)
        return torch.cat([map_to_tokens(self.dwconv(level)) for level in maps], 1)


class Interaction(nn.Module):
    """One quarter of the encoder: inject, run the VRWKV blocks, extract."""

    def __init__(
        self, channels: int, *, heads: int, ratio: float, has_extra_extractors: bool
    ) -> None:
        super().__init__()
        self.injector = Injector(channels, heads=heads, ratio=ratio)
        self.extractor = Extractor(channels, heads=heads, ratio=ratio)
        self.extra_extractors = nn.ModuleList(
            Extractor(channels, heads=heads, ratio=ratio) for _ in range(2 * has_extra_extractors)
        )

    def forward(
        self, tokens: Tensor, prior: Tensor, blocks: Iterable[nn.Module], geometry: "Geometry"
    ) -> tuple[Tensor, Tensor]:
        """Return the tokens (B, T, C) and the prior (B, N, C) after this quarter's `blocks`."""
        height, width = geometry.grids[1]
        tokens = self.injector(tokens, geometry.token_places, prior, geometry.grids)
        for block in blocks:
            tokens = block(tokens, height, width)
        for extractor in (self.extractor, *self.extra_extractors):
            prior = extractor(prior, geometry.prior_places, tokens, geometry.grids)
        return tokens, prior


class Geometry:
    """The three grids of the prior (strides 8, 16, 32) and where their tokens are.

    VRWKV's own tokens are on the middle grid.
    """

    def __init__(self, height: int, width: int, like: Tensor) -> None:
        self.grids = [(height // stride, width // stride) for stride in (8, 16, 32)]
        self.token_places = token_places(self.grids[1:2], like)
        self.prior_places = token_places(self.grids, like)


class VRWKVAdapter(nn.Module):
    """The multi-scale encoder; returns maps of strides 4, 8, 16 and 32, all of C channels.

    Parameters
    ----------
    config : VRWKVConfig
        The VRWKV inside. One without layer scale gets one that starts at 1, as
        in the authors' adapter.
    in_channels : int
        Channels of the image.
    """

    def __init__(self, config: VRWKVConfig, in_channels: int = 3) -> None:
        super().__init__()
        config = with_layer_scale(config)
        channels = config.channels
        heads = _HEADS.get(channels, 1)
        ratio = 1.0 if channels < 768 else 0.5
        self.patch_embed = PatchEmbed(in_channels, channels)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid**2, channels))
        self.layers = encoder_blocks(config)
        self.level_embed = nn.Parameter(torch.randn(3, channels))
        self.spm = SpatialPrior(in_channels, channels)
        self.interactions = nn.ModuleList(
            Interaction(channels, heads=heads, ratio=ratio, has_extra_extractors=quarter == 3)
            for quarter in range(4)
        )
        self.up = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.BatchNorm2d(channels) for _ in "1234")
        _initialise_convolutions(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the four maps of an image.

        Parameters
        ----------
        image : Tensor, shape (B, in_channels, H, W)
            H and W are multiples of 32.

        Returns
        -------
        list of Tensor, shapes (B, C, H / s, W / s), s = 4, 8, 16, 32

        Raises
        ------
        ValueError
            If H or W is not a multiple of 32.
        """
        height, width = image.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"VRWKVAdapter takes images whose sides are multiples of {STRIDE}, "
                f"got {height} x {width}; pad the image."
            )
        fine, *coarse = self.spm(image)
        prior = torch.cat(
            [map_to_tokens(level) + self.level_embed[i] for i, level in enumerate(coarse)], 1
        )
        tokens, rows, columns = embed(image, self.patch_embed, self.pos_embed)
        geometry = Geometry(height, width, prior)
        quarter = len(self.layers) // 4
        stages = []
        for index, interaction in enumerate(self.interactions):
            blocks = list(self.layers)[index * quarter : (index + 1) * quarter]
            tokens, prior = interaction(tokens, prior, blocks, geometry)
            stages.append(tokens_to_map(tokens, rows, columns))
        return self._fuse(fine, split_levels(prior, geometry.grids), stages)

    def _fuse(self, fine: Tensor, coarse: list[Tensor], stages: list[Tensor]) -> list[Tensor]:
        """Add the quarters' outputs, resized, to the prior's maps, and normalise the sums."""
        resize = partial(functional.interpolate, mode="bilinear", align_corners=False)
        return [
            self.norm1(self.up(coarse[0]) + fine + resize(stages[0], scale_factor=4)),
            self.norm2(coarse[0] + resize(stages[1], scale_factor=2)),
            self.norm3(coarse[1] + stages[2]),
            self.norm4(coarse[2] + resize(stages[3], scale_factor=0.5)),
        ]


def with_layer_scale(config: VRWKVConfig) -> VRWKVConfig:
    """Return the config with a layer scale that starts at 1, unless it has one already."""
    return config if config.init_values is not None else replace(config, init_values=1.0)


def split_levels(prior: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """Return the maps (B, C, h, w) of the levels whose tokens (B, N, C) lie in one row."""
    parts = torch.split(prior, [height * width for height, width in grids], 1)
    return [tokens_to_map(part, *grid) for part, grid in zip(parts, grids, strict=True)]


def _initialise_convolutions(network: VRWKVAdapter) -> None:
    """Kaiming for the prior's convolutions and the upsampling, 0.02 for the extractors' MLPs."""
    for module in (*network.spm.modules(), network.up):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.interactions.modules():
        if isinstance(module, ConvFFN):
            for layer in (module.fc1, module.fc2):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
    nn.init.trunc_normal_(network.level_embed, std=1.0)
