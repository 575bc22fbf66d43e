"""Our operators in standard operations, for exports to programs that do not know ours.

`DECOMPOSITIONS` is what `torch.export` takes to replace each of them in a graph.
Bi-WKV becomes two cumulative sums in float64, without branches: a dozen
operations, where the chunked reference has hundreds.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import bi_wkv as _bi_wkv  # noqa: F401 - registers the operator
from ._library import state_rows
from .read_points import read_points_reference


def bi_wkv_standard(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Evaluate `bi_wkv` by cumulative sums over all tokens.

    Weights are relative to each channel's largest key, and the decay to the middle
    of the sequence. In float64 that holds for ``abs(w) * T`` up to several hundred;
    trained networks, whose decay is divided by T, have less than ten.

    Parameters
    ----------
    w, u : Tensor, shape (C,)
        Decay per token of distance and bonus of the own token, divided by T already.
    k, v : Tensor, shape (B, T, C)
        Keys (log-weights) and values.

    Returns
    -------
    Tensor, shape (B, T, C)
        In the dtype of `v`.
    """
    decay, bonus, key, value = (x.double() for x in (w, u, k, v))
    tokens = k.shape[1]
    places = torch.arange(tokens, device=k.device, dtype=torch.float64)[:, None]
    ramp = (places - (tokens - 1) / 2) * decay
    weight = torch.exp(key - key.amax(1, keepdim=True))
    rising, falling = weight * torch.exp(ramp), weight * torch.exp(-ramp)
    own, before, after = torch.exp(bonus), torch.exp(decay - ramp), torch.exp(decay + ramp)

    def total(of: Tensor | float) -> Tensor:
        """Return the weighted sum of `of` (B, T, C) over all tokens, seen from each."""
        past = _sum_of_earlier(rising * of)
        future = _sum_of_earlier((falling * of).flip(1)).flip(1)
        return before * past + after * future + own * weight * of

    return (total(value) / total(1.0)).to(v.dtype)


def _sum_of_earlier(x: Tensor) -> Tensor:
    """Return the sums over all tokens before each; shifted, not subtracted, to stay exact."""
    return functional.pad(x[:, :-1], (0, 0, 1, 0)).cumsum(1)


def _forward(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Stand in for the operator, whose second result only the backward pass wants."""
    states = k.new_zeros(k.shape[0], state_rows(k.shape[1]), k.shape[2])
    return bi_wkv_standard(w, u, k, v), states


def _read_points(
    values: Tensor, places: Tensor, offsets: Tensor, scores: Tensor, grids: list[int]
) -> Tensor:
    """Stand in for the operator, whose grids come as one row of numbers."""
    pairs = list(zip(grids[::2], grids[1::2], strict=True))
    return read_points_reference(values, places, offsets, scores, pairs)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.napari_rwkv_seg.bi_wkv_forward.default: _forward,
    torch.ops.napari_rwkv_seg.read_points.default: _read_points,
}
