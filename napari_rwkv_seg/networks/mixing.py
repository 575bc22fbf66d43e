"""The VRWKV block: spatial mixing by Bi-WKV, channel mixing by a gated squared ReLU.

Vision-RWKV, figure 3 (Duan et al. 2024, arXiv 2403.02308). Tokens are (B, T, C)
in row-major order, T = height * width; every size works, T = 1 too. Parameters
bear the names of the authors' checkpoints, so that these load strictly.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from napari_rwkv_seg.ops import bi_wkv, q_shift

from .linear import in_pieces, linear

InitMode = Literal["fancy", "local", "global"]


def mix_tokens(tokens: Tensor, shifted: Tensor, share: Tensor) -> Tensor:
    """Return ``tokens * share + shifted * (1 - share)``, all (B, T, C), the share (1, 1, C)."""
    return torch.lerp(shifted, tokens, share.to(tokens.dtype))


def squared_relu(hidden: Tensor) -> Tensor:
    """Return ``relu(hidden) ** 2``, (B, T, N); without gradients it overwrites `hidden`."""
    if torch.is_grad_enabled() and hidden.requires_grad:
        return torch.square(torch.relu(hidden))
    return torch.relu_(hidden).square_()  # the hidden layer is large, and new memory slow


class SpatialMix(nn.Module):
    """Let every token look at all others through Bi-WKV; a receptance gates what comes in.

    Parameters
    ----------
    channels : int
        C, the length of a token.
    depth, index : int
        Blocks in the encoder, and which of them this is (0-based); the 'fancy'
        initial values depend on both.
    key_norm : bool
        Normalise what Bi-WKV returns (the authors' name for it).
    init_mode : {'fancy', 'local', 'global'}
        Initial decay, bonus and mixing shares.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        index: int,
        *,
        key_norm: bool = False,
        init_mode: InitMode = "fancy",
    ) -> None:
        super().__init__()
        decay, first, shares = _initial_mixing(channels, depth, index, init_mode)
        self.spatial_decay = nn.Parameter(decay)
        self.spatial_first = nn.Parameter(first)
        self.spatial_mix_k, self.spatial_mix_v, self.spatial_mix_r = map(nn.Parameter, shares)
        self.key = linear(channels, channels)
        self.value = linear(channels, channels)
        self.receptance = linear(channels, channels)
        self.key_norm = nn.LayerNorm(channels) if key_norm else None
        self.output = linear(channels, channels)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Mix tokens (B, height * width, C) in space; same shape out."""
        shifted = q_shift(tokens, height, width)
        key = self.key(mix_tokens(tokens, shifted, self.spatial_mix_k))
        value = self.value(mix_tokens(tokens, shifted, self.spatial_mix_v))
        receptance = self.receptance(mix_tokens(tokens, shifted, self.spatial_mix_r))
        count = height * width
        mixed = bi_wkv(self.spatial_decay / count, self.spatial_first / count, key, value)
        if self.key_norm is not None:
            mixed = self.key_norm(mixed)
        gated: Tensor = self.output(torch.sigmoid(receptance) * mixed)
        return gated


class ChannelMix(nn.Module):
    """Mix the channels of each token and its four neighbours: a a wide squared ReLU, gated.

    Parameters are those of `SpatialMix`; `key_norm` normalises the hidden layer,
    whose width is `hidden_rate` times C.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        index: int,
        *,
        key_norm: bool = False,
        init_mode: InitMode = "fancy",
        hidden_rate: int = 4,
    ) -> None:
        super().__init__()
        # Both shares start like the key's share of the spatial mix.
        _, _, shares = _initial_mixing(channels, depth, index, init_mode)
        self.spatial_mix_k = nn.Parameter(shares[0])
        self.spatial_mix_r = nn.Parameter(shares[0].clone())
        hidden = hidden_rate * channels
        self.key = linear(channels, hidden)
        self.key_norm = nn.LayerNorm(hidden) if key_norm else None
        self.receptance = linear(channels, channels)
        self.value = linear(hidden, channels)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Mix tokens (B, height * width, C) across channels; same shape out."""
        shifted = q_shift(tokens, height, width)
        keys = mix_tokens(tokens, shifted, self.spatial_mix_k)
        receptance = self.receptance(mix_tokens(tokens, shifted, self.spatial_mix_r))
        values = in_pieces(self._values, keys, self.key.out_features)
        return torch.sigmoid(receptance) * values

    def _values(self, tokens: Tensor) -> Tensor:
        """Send tokens (B, T, C) through the hidden layer; same shape out."""
        hidden = squared_relu(self.key(tokens))
        if self.key_norm is not None:
            hidden = self.key_norm(hidden)
        values: Tensor = self.value(hidden)
        return values


class VRWKVBlock(nn.Module):
    """Spatial mix, then channel mix, each with a residual.

    Pre-norm: ``x + gamma1 * att(ln1(x))``; post-norm: ``x + gamma1 * ln1(att(x))``;
    the same with `ffn`, `ln2` and `gamma2`. Block 0 first applies `ln0`.

    Parameters
    ----------
    channels, depth, index, key_norm, init_mode
        See `SpatialMix`.
    post_norm : bool
        Normalise what a branch returns instead of what it is given.
    init_values : float, optional
        Initial layer scale (gamma); None means no layer scale.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        index: int,
        *,
        post_norm: bool = False,
        init_values: float | None = None,
        key_norm: bool = False,
        init_mode: InitMode = "fancy",
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.ln0 = nn.LayerNorm(channels) if index == 0 else None
        self.ln1 = nn.LayerNorm(channels)
        self.ln2 = nn.LayerNorm(channels)
        self.att = SpatialMix(channels, depth, index, key_norm=key_norm, init_mode=init_mode)
        self.ffn = ChannelMix(channels, depth, index, key_norm=key_norm, init_mode=init_mode)
        self.gamma1 = self.gamma2 = None
        if init_values is not None:
            self.gamma1 = nn.Parameter(torch.full((channels,), float(init_values)))
            self.gamma2 = nn.Parameter(torch.full((channels,), float(init_values)))

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Run the block on tokens (B, height * width, C); same shape out."""
        if self.ln0 is not None:
            tokens = self.ln0(tokens)
        if self.post_norm:
            update = self.ln1(self.att(tokens, height, width))
            tokens = tokens + _scaled(update, self.gamma1)
            update = self.ln2(self.ffn(tokens, height, width))
            return tokens + _scaled(update, self.gamma2)
        tokens = tokens + _scaled(self.att(self.ln1(tokens), height, width), self.gamma1)
        return tokens + _scaled(self.ffn(self.ln2(tokens), height, width), self.gamma2)


def _scaled(update: Tensor, gamma: Tensor | None) -> Tensor:
    return update if gamma is None else gamma * update


def _initial_mixing(
    channels: int, depth: int, index: int, mode: InitMode
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return the initial spatial_decay (C,), spatial_first (C,) and the k, v, r shares (1, 1, C).

    'fancy' spreads the decays over the channels from flat to steep, the more so
    the deeper the block, and gives later blocks less of the shifted tokens
    (Vision-RWKV, appendix; the form is that of the language model).
    """
    if mode != "fancy":
        decay = torch.ones(channels) if mode == "local" else torch.zeros(channels)
        share = 1.0 if mode == "local" else 0.5
        return decay, decay.clone(), [torch.full((1, 1, channels), share) for _ in range(3)]
    progress = index / max(depth - 1, 1)  # 0 in the first block, 1 in the last
    remaining = 1 - index / depth  # 1 in the first block, above 0 in the last
    channel = torch.arange(channels, dtype=torch.float32)
    decay = -5 + 8 * (channel / max(channels - 1, 1)) ** (0.7 + 1.3 * progress)
    first = math.log(0.3) + 0.5 * ((channel + 1) % 3 - 1)
    position = (channel / channels).reshape(1, 1, -1)
    key_share = position**remaining
    return decay, first, [key_share, key_share + 0.3 * progress, position ** (0.5 * remaining)]
