"""Which CUDA kernels a call of Bi-WKV launches, in which order, and what they share.

Plain numbers only: neither torch nor a driver is needed to plan. The kernels are
`extern "C"` functions of one translation unit, ``csrc/cuda/bi_wkv.cu``, which is
compiled once per element type (``-DRWKV_ELEMENT=`` and a value of `ELEMENTS`).
Every kernel takes one `Call` by value. Launches of a plan run one after another
on one stream; each sees what the ones before it wrote.

The numbers here and those of ``csrc/cuda/layout.h`` are the same; a test compares them.
"""

import ctypes
from dataclasses import dataclass

ELEMENTS = {"float32": 0, "float16": 1, "bfloat16": 2}
"""Values of the macro RWKV_ELEMENT: the type of k, v, y, gy, dk and dv."""

SOURCE = "cuda/bi_wkv.cu"
"""The translation unit, below csrc/."""

HEADERS = (
    "constants.h",
    "recurrence.h",
    "cuda/layout.h",
    "cuda/lane.h",
    "cuda/element.h",
    "cuda/span.h",
    "cuda/forward.h",
    "cuda/slopes.h",
    "cuda/backward.h",
    "cuda/steep.h",
)
"""What it includes, below csrc/; each by its file name alone, without the folder."""

COMPILE_OPTIONS = ("--std=c++17", "--prec-div=false")
"""For NVRTC and nvcc alike, beside the architecture and RWKV_ELEMENT."""

_CHUNK = 16  # tokens of a warp
_SPAN = 128  # tokens of a block: 8 warps of one chunk of 16 tokens each
_LANES = 32  # channels of a block: one per lane
_MOST_SPANS = 128  # that each block joins for itself; more of them are scanned first
_TOTAL_WARPS = 32  # that share the sums over images and spans
_CARRY_ROWS = 6  # of a span: a carry from the past and one from the future
_SCAN_WARPS = 32  # that share the spans, where there are so many
_STEEP_ROWS = 22  # of a span, in the backward pass: 11 float64
_PARTIAL_ROWS = 2  # of a span: what it adds to dw and du
_THREADS = 256


class Call(ctypes.Structure):
    """What every kernel gets: addresses on the device, then sizes.

    Shapes: w, u, dw, du (C,); k, v, y, gy, dk, dv (B, T, C); states (B, R, C) with R of
    `state_rows`; scratch of `scratch_floats`. All contiguous. w, u, dw, du, states and
    scratch are float32. `scratch` need not be cleared. What a pass does not use is 0:
    gy, dw, du, dk, dv in the forward pass.
    """

    _fields_ = (
        ("w", ctypes.c_uint64),
        ("u", ctypes.c_uint64),
        ("k", ctypes.c_uint64),
        ("v", ctypes.c_uint64),
        ("y", ctypes.c_uint64),
        ("states", ctypes.c_uint64),
        ("gy", ctypes.c_uint64),
        ("dw", ctypes.c_uint64),
        ("du", ctypes.c_uint64),
        ("dk", ctypes.c_uint64),
        ("dv", ctypes.c_uint64),
        ("scratch", ctypes.c_uint64),
        ("batch", ctypes.c_int64),
        ("tokens", ctypes.c_int64),
        ("channels", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Launch:
    """One kernel launch: name, blocks (x, y, z), threads of a block (x, y, z), dynamic memory."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int


def state_rows(tokens: int) -> int:
    """Return how many rows of C floats per image the forward pass keeps for the backward pass."""
    return _CARRY_ROWS * _spans(tokens)


def scratch_floats(batch: int, tokens: int, channels: int, *, is_backward: bool) -> int:
    """Return how many floats of memory the launches of one pass need for themselves."""
    rows = _STEEP_ROWS + _PARTIAL_ROWS if is_backward else _CARRY_ROWS
    return batch * _spans(tokens) * rows * channels


def forward_plan(batch: int, tokens: int, channels: int) -> tuple[Launch, ...]:
    """Return the launches of the forward pass; all sizes are at least 1."""
    spans = _spans(tokens)
    sums = _over_spans("rwkv_forward_sums", batch, tokens, channels)
    scan = _over_groups("rwkv_forward_scan", batch, channels, _LANES * _SCAN_WARPS)
    means = _over_spans("rwkv_forward_means", batch, tokens, channels)
    steep = _over_groups("rwkv_forward_steep", batch, channels, _SPAN)
    if spans == 1:
        return (means, steep)
    if spans <= _MOST_SPANS:
        return (sums, means, steep)
    return (sums, scan, means, steep)


def backward_plan(batch: int, tokens: int, channels: int) -> tuple[Launch, ...]:
    """Return the launches of the backward pass; all sizes are at least 1."""
    spans = _spans(tokens)
    sums = _over_spans("rwkv_backward_sums", batch, tokens, channels)
    scan = _over_groups("rwkv_backward_scan", batch, channels, _LANES * _SCAN_WARPS)
    slopes = _over_spans("rwkv_backward_slopes", batch, tokens, channels)
    steep = _over_groups("rwkv_backward_steep", batch, channels, _SPAN)
    total = _over_groups("rwkv_backward_total", 1, channels, _LANES * _TOTAL_WARPS)
    if spans == 1:
        return (slopes, steep, total)
    if spans <= _MOST_SPANS:
        return (sums, slopes, steep, total)
    return (sums, scan, slopes, steep, total)


_SHARED_BYTES = {
    "rwkv_forward_sums": 2 * 3 * 9 * _LANES * 4,
    "rwkv_forward_scan": 2 * 3 * _SCAN_WARPS * _LANES * 4,
    "rwkv_forward_means": (2 * 3 * 8 + 2 * 3 * 9) * _LANES * 4,
    "rwkv_forward_steep": 2 * 5 * _SPAN * 8,
    "rwkv_backward_sums": 2 * 3 * 9 * _LANES * 4,
    "rwkv_backward_scan": 2 * 3 * _SCAN_WARPS * _LANES * 4,
    "rwkv_backward_slopes": (4 * 3 * 9 * _LANES + 2 * 17 * _THREADS) * 4,
    "rwkv_backward_steep": 2 * 5 * _SPAN * 8,
    "rwkv_backward_total": 2 * _TOTAL_WARPS * _LANES * 8,
}


KERNELS = tuple(_SHARED_BYTES)
"""All kernels of the translation unit."""


def _spans(tokens: int) -> int:
    """Return into how many spans the sequence is cut."""
    return -(-tokens // _SPAN)


def _groups(channels: int) -> int:
    """Return how many groups of lanes the channels fill."""
    return -(-channels // _LANES)


def _over_spans(kernel: str, batch: int, tokens: int, channels: int) -> Launch:
    """Return a launch with one block for each image, span and group of channels."""
    blocks = batch * _spans(tokens) * _groups(channels)
    return Launch(kernel, (blocks, 1, 1), (_THREADS, 1, 1), _SHARED_BYTES[kernel])


def _over_groups(kernel: str, batch: int, channels: int, threads: int) -> Launch:
    """Return a launch with one block for each image and group of channels."""
    blocks = batch * _groups(channels)
    return Launch(kernel, (blocks, 1, 1), (threads, 1, 1), _SHARED_BYTES[kernel])
