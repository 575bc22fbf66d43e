"""Our operators in standard operations, for exports to programs that do not know ours.

`DECOMPOSITIONS` is what `torch.export` takes to replace each of them in a graph.
Bi-WKV becomes two cumulative sums in float64, without branches: a dozen
operations, where the chunked reference has hundreds.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import bi_wkv as _bi_wkv  # noqa: F401 - registers the operator
from ._library import state_rows
from .read_points import read_points_reference
from .reference import bi_wkv_standard


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
