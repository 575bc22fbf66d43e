"""Multi-scale deformable attention.

Deformable DETR, section 4.1 (Zhu et al. 2021, arXiv 2010.04159): a query reads a
few points around its own place on every level, and weighs them itself. The reading
is `ops.read_points`, which runs wherever PyTorch runs. Places are (x, y): -1 and 1
are the outer edges of the map.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_rwkv_seg.ops import read_points

from .linear import TokenLinear

Grid = tuple[int, int]  # height and width, in tokens


def token_places(grids: Sequence[Grid], like: Tensor) -> Tensor:
    """Return the centres (T, 2) of all tokens of the grids, in order, as (x, y) in [-1, 1].

    They are on the device of `like`, in float64 if it is, else in float32.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    places = []
    for height, width in grids:
        rows = (torch.arange(height, dtype=dtype, device=like.device) * 2 + 1) / height - 1
        columns = (torch.arange(width, dtype=dtype, device=like.device) * 2 + 1) / width - 1
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        places.append(torch.stack((x, y), -1).reshape(-1, 2))
    return torch.cat(places)


class MSDeformAttn(nn.Module):
    """Read `points` places on each of `levels` maps for every query, and sum them with its weights.

    Parameters
    ----------
    channels : int
        Length of the queries and of the values' tokens.
    levels, heads, points : int
        Maps to read from; groups of channels; places per query, head and level.
    ratio : float
        Length of the projected values relative to `channels`.
    """

    def __init__(
        self, channels: int, *, levels: int, heads: int, points: int = 4, ratio: float = 1.0
    ) -> None:
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        inner = int(channels * ratio)
        self.sampling_offsets = TokenLinear(channels, heads * levels * points * 2)
        self.attention_weights = TokenLinear(channels, heads * levels * points)
        self.value_proj = TokenLinear(channels, inner)
        self.output_proj = TokenLinear(inner, channels)
        self._initialise()

    def forward(
        self, queries: Tensor, places: Tensor, values: Tensor, grids: Sequence[Grid]
    ) -> Tensor:
        """Return what the queries have read.

        Parameters
        ----------
        queries : Tensor, shape (B, Q, C)
            The tokens that look.
        places : Tensor, shape (Q, 2)
            Where each of them is, from `token_places`.
        values : Tensor, shape (B, N, C)
            The tokens that are looked at, all levels in one row.
        grids : sequence of (height, width)
            The levels' grids; their areas add up to N.

        Returns
        -------
        Tensor, shape (B, Q, C)
        """
        shape = (*queries.shape[:2], self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(queries).view(*shape, 2)
        scores = self.attention_weights(queries).view(shape)
        read = read_points(self.value_proj(values), places, offsets, scores, grids)
        attended: Tensor = self.output_proj(read)
        return attended

    def _initialise(self) -> None:
        """Let each head look in its own direction, its points 1, 2, 3 ... tokens away."""
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack((angles.cos(), angles.sin()), -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        distances = torch.arange(1, self.points + 1, dtype=torch.float32)
        ring = directions[:, None, None] * distances[:, None]  # (heads, 1, points, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(ring.expand(-1, self.levels, -1, -1).reshape(-1))
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
