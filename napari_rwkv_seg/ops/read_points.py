"""Reading points of maps, the inner part of deformable attention, registered with PyTorch.

`read_points` is for everyone: it chooses between the compiled kernels and the plain form,
`read_points_reference`. The kernels make no array of what was read at each point, which
for an image of 512 x 512 pixels is 17 MB several times over.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import _library
from .backends import choose

Grid = tuple[int, int]  # height and width, in tokens

_FORWARD = "napari_rwkv_seg::read_points"
_BACKWARD = "napari_rwkv_seg::read_points_backward"
_MOST_POINTS = 128  # per head, of the kernels; as in csrc/cpu/read_points.h


def read_points(
    values: Tensor, places: Tensor, offsets: Tensor, scores: Tensor, grids: Sequence[Grid]
) -> Tensor:
    """Return for every query and head the weighted sum of what it reads on the maps.

    Deformable DETR, equation 3 (Zhu et al. 2021, arXiv 2010.04159). Reading is bilinear
    between the centres of tokens, and a map is zero outside.

    Parameters
    ----------
    values : Tensor, shape (B, N, C)
        Tokens of all maps, row by row, one map after another; C = heads * channels of a head.
    places : Tensor, shape (Q, 2)
        Where the queries are, (x, y); -1 and 1 are the outer edges of a map. The kernels take
        them for constants: if their gradient is wanted, `read_points_reference` runs.
    offsets : Tensor, shape (B, Q, heads, levels, points, 2)
        How far from there to read, (x, y) in tokens of the level.
    scores : Tensor, shape (B, Q, heads, levels, points)
        A softmax over levels and points makes them the weights.
    grids : sequence of (height, width)
        The levels' maps; their areas add up to N.

    Returns
    -------
    Tensor, shape (B, Q, C)
        In the dtype of `values`; sums run in float32, or in float64 if `values` is.

    Raises
    ------
    ValueError
        If the shapes do not agree.
    DeviceError, SettingsError
        If NAPARI_RWKV_SEG_BACKEND asks for what cannot be had.
    """
    _check_shapes(values, places, offsets, scores, grids)
    has_kernels = scores.shape[3] * scores.shape[4] <= _MOST_POINTS
    has_kernels = has_kernels and not (places.requires_grad and torch.is_grad_enabled())
    if values.device.type != "meta" and choose(values)[0] != "cpu":
        has_kernels = False
    if not has_kernels or not values.numel() or not scores.numel():
        return read_points_reference(values, places, offsets, scores, grids)
    sizes = [side for grid in grids for side in grid]
    arrays = (values.float(), places.float(), offsets.float(), scores.float())
    read: Tensor = torch.ops.napari_rwkv_seg.read_points(*arrays, sizes)
    return read.to(values.dtype)


def read_points_reference(
    values: Tensor, places: Tensor, offsets: Tensor, scores: Tensor, grids: Sequence[Grid]
) -> Tensor:
    """Do what `read_points` does in plain PyTorch: `grid_sample`, on any device."""
    batch, count, heads, levels, points = scores.shape
    channels = values.shape[2]
    weights = scores.flatten(3).softmax(-1).view(scores.shape)
    # Heads go to the batch, as grid_sample reads all channels of a map at the same places.
    offsets = offsets.permute(3, 0, 2, 4, 1, 5).reshape(levels, batch * heads, points, count, 2)
    weights = weights.permute(3, 0, 2, 4, 1).reshape(levels, batch * heads, points, count)
    parts = torch.split(values, [height * width for height, width in grids], 1)
    reads = []
    for level, (part, grid) in enumerate(zip(parts, grids, strict=True)):
        features = part.transpose(1, 2).reshape(batch * heads, channels // heads, *grid)
        reads.append(_read(features, places, offsets[level], weights[level]))
    read = torch.stack(reads).sum(0).view(batch, channels, count).transpose(1, 2)
    return read.to(values.dtype)


def _read(features: Tensor, places: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Read one map (S, D, h, w) at places (Q, 2) with offsets (S, points, Q, 2).

    S counts samples and heads. Returns the sum over the points (S, D, Q), in the dtype of
    the places.
    """
    height, width = features.shape[-2:]
    # Not one product with (2 / width, 2 / height): a constant tensor could not be exported.
    steps = torch.stack((offsets[..., 0] * (2 / width), offsets[..., 1] * (2 / height)), -1)
    grid = places + steps
    # Places in half precision would be off by whole tokens, so the map follows them, not they it.
    found = functional.grid_sample(features.to(grid.dtype), grid, align_corners=False)
    return (found * weights[:, None]).sum(2)


def _check_shapes(
    values: Tensor, places: Tensor, offsets: Tensor, scores: Tensor, grids: Sequence[Grid]
) -> None:
    """Raise unless the shapes agree."""
    fits = values.dim() == 3 and scores.dim() == 5 and offsets.shape == (*scores.shape, 2)
    fits = fits and places.shape == (scores.shape[1], 2) and values.shape[0] == scores.shape[0]
    fits = fits and values.shape[2] % max(scores.shape[2], 1) == 0
    fits = fits and len(grids) == scores.shape[3]
    fits = fits and sum(height * width for height, width in grids) == values.shape[1]
    if not fits:
        shapes = [tuple(x.shape) for x in (values, places, offsets, scores)]
        raise ValueError(
            "read_points takes values (B, N, C), places (Q, 2), offsets (B, Q, heads, levels, "
            "points, 2), scores (B, Q, heads, levels, points) and a grid for each level whose "
            f"areas add up to N, got {shapes} and grids {list(grids)}."
        )


class _Points(ctypes.Structure):
    """`rwkv_points` of csrc/rwkv_kernels.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "queries", "tokens", "heads", "length")),
        *((name, ctypes.c_int64) for name in ("levels", "points")),
        *((name, ctypes.c_void_p) for name in ("grids", "values", "places", "offsets", "scores")),
    )


@cache
def _kernels() -> tuple[Any, Any]:
    """Return the two functions of the library, their types declared."""
    functions = _library.load().functions
    if functions is None:
        raise RuntimeError("There are no compiled kernels in this installation.")
    forward, backward = functions.rwkv_read_points, functions.rwkv_read_points_backward
    forward.argtypes = [ctypes.POINTER(_Points), ctypes.c_void_p, ctypes.c_int]
    backward.argtypes = [ctypes.POINTER(_Points), *[ctypes.c_void_p] * 4, ctypes.c_int]
    return forward, backward


def _points_of(arrays: Sequence[Tensor], grids: Sequence[int]) -> _Points:
    """Check and describe the inputs for the library; they and the result must outlive the call."""
    values, places, offsets, scores = arrays
    pairs = list(zip(grids[::2], grids[1::2], strict=True))
    _check_shapes(values, places, offsets, scores, pairs)
    _, queries, heads, levels, points = scores.shape
    batch, tokens, channels = values.shape
    for x in arrays:
        _check_kind(x)
    sizes = (ctypes.c_int64 * len(grids))(*grids)
    described = _Points(batch, queries, tokens, heads, channels // heads, levels, points)
    described.grids = ctypes.cast(sizes, ctypes.c_void_p)
    described.kept = sizes  # ctypes does not keep what it points to
    for name, x in zip(("values", "places", "offsets", "scores"), arrays, strict=True):
        setattr(described, name, x.data_ptr())
    return described


def _check_kind(x: Tensor) -> None:
    """Raise unless it is what the library reads."""
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise TypeError(
            "The CPU kernels take float32 tensors on the CPU, "
            f"got {x.dtype} on {x.device}; call read_points instead."
        )


def _forward_cpu(
    values: Tensor, places: Tensor, offsets: Tensor, scores: Tensor, grids: list[int]
) -> Tensor:
    """Return what was read (B, Q, C)."""
    arrays = [x.contiguous() for x in (values, places, offsets, scores)]
    points = _points_of(arrays, grids)
    read = values.new_empty(values.shape[0], scores.shape[1], values.shape[2])
    code = _kernels()[0](ctypes.byref(points), read.data_ptr(), torch.get_num_threads())
    _library._check(code, "read_points")
    return read


def _backward_cpu(
    values: Tensor,
    places: Tensor,
    offsets: Tensor,
    scores: Tensor,
    grids: list[int],
    by_read: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by values, offsets and scores."""
    arrays = [x.contiguous() for x in (values, places, offsets, scores)]
    points = _points_of(arrays, grids)
    by_read = by_read.contiguous()
    _check_kind(by_read)
    shape = (values.shape[0], scores.shape[1], values.shape[2])
    if by_read.shape != shape:
        raise ValueError(
            f"read_points' backward pass takes by_read (B, Q, C) = {shape}, the shape of what was "
            f"read, got {tuple(by_read.shape)}."
        )
    results = tuple(torch.empty_like(arrays[i]) for i in (0, 2, 3))
    addresses = [x.data_ptr() for x in (by_read, *results)]
    code = _kernels()[1](ctypes.byref(points), *addresses, torch.get_num_threads())
    _library._check(code, "read_points' backward pass")
    return results[0], results[1], results[2]


def _forward_fake(
    values: Tensor, places: Tensor, offsets: Tensor, scores: Tensor, grids: list[int]
) -> Tensor:
    """Return a tensor of the right shape and no content, for tracing."""
    return values.new_empty(values.shape[0], scores.shape[1], values.shape[2])


def _backward_fake(
    values: Tensor,
    places: Tensor,
    offsets: Tensor,
    scores: Tensor,
    grids: list[int],
    by_read: Tensor,
) -> tuple[Tensor, ...]:
    """Return tensors of the right shapes and no content, for tracing."""
    layout = torch.contiguous_format
    return tuple(torch.empty_like(x, memory_format=layout) for x in (values, offsets, scores))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep for the backward pass what it needs."""
    ctx.save_for_backward(*inputs[:4])
    ctx.grids = inputs[4]


def _differentiate(ctx: Any, by_read: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients by values, offsets and scores; the places are constants."""
    by_values, by_offsets, by_scores = torch.ops.napari_rwkv_seg.read_points_backward(
        *ctx.saved_tensors, ctx.grids, by_read
    )
    return by_values, None, by_offsets, by_scores, None


def _refuse(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
    """Refuse gradients of gradients."""
    raise RuntimeError(
        "read_points' compiled kernels can be differentiated once only; "
        "use read_points_reference for gradients of gradients."
    )


def _register() -> None:
    """Tell PyTorch about both operators, once, when this module is imported."""
    inputs = "Tensor values, Tensor places, Tensor offsets, Tensor scores, SymInt[] grids"
    library = torch.library
    library.define(_FORWARD, f"({inputs}) -> Tensor")
    library.define(_BACKWARD, f"({inputs}, Tensor by_read) -> (Tensor, Tensor, Tensor)")
    library.impl(_FORWARD, "CPU", _forward_cpu)
    library.impl(_BACKWARD, "CPU", _backward_cpu)
    library.register_fake(_FORWARD, _forward_fake)
    library.register_fake(_BACKWARD, _backward_fake)
    library.register_autograd(_FORWARD, _differentiate, setup_context=_keep)
    library.register_autograd(_BACKWARD, _refuse)
    for device in ("cpu", "cuda"):
        library.register_autocast(_FORWARD, device, torch.float32)


_register()
