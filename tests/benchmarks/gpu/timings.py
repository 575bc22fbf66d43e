"""How long Bi-WKV takes on a CUDA device, beside a copy of the same bytes.

`device_us` is the time on the device: a CUDA graph of 20 calls, replayed, divided by 20.
`call_us` is the time that a program waits, 100 calls in a row, with what Python and the
launches cost. Both are medians of several turns, with everything warm; small shapes
stay in the device's cache, for the copy as well. Off CUDA only calls are timed.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from napari_rwkv_seg.ops import bi_wkv_reference

from .authors import AuthorsScheme
from .checks import random_inputs

ROUNDS, CALLS, GRAPH_CALLS = 9, 100, 20
Times = dict[str, float]


def measure(
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    authors: AuthorsScheme | None,
) -> dict[str, dict[str, Times]]:
    """Return times by pass and column; the authors' scheme is timed if given, in float32."""
    w, u, *rest = random_inputs(shape, device)
    k, v, grad = (x.to(dtype) for x in rest)
    forward = torch.ops.napari_rwkv_seg.bi_wkv_forward
    backward = torch.ops.napari_rwkv_seg.bi_wkv_backward
    with torch.no_grad():
        y, states = forward(w, u, k, v)
        columns = {
            "forward": {
                "copy": timed(copy_of(grad, 3), device),
                "ours": timed(partial(forward, w, u, k, v), device),
            },
            "backward": {
                "copy": timed(copy_of(grad, 5), device),
                "ours": timed(partial(backward, w, u, k, v, y, states, grad), device),
            },
        }
    others = {"reference": _reference(w, u, k, v, grad)}
    if authors is not None and dtype == torch.float32:
        others["authors"] = authors.calls(w, u, k, v, grad)
    for name, (ahead, back) in others.items():
        columns["forward"][name] = timed(ahead, device, has_graph=name != "reference")
        columns["backward"][name] = timed(back, device, has_graph=name != "reference")
    return columns


def copy_of(like: Tensor, arrays: int) -> Callable[[], object]:
    """Return a copy that reads and writes together as many bytes as `arrays` such tensors have."""
    source = torch.randn(like.numel() * arrays // 2, device=like.device).to(like.dtype)
    return partial(torch.empty_like(source).copy_, source)


def _reference(
    w: Tensor, u: Tensor, k: Tensor, v: Tensor, grad: Tensor
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the plain PyTorch form, forward and backward."""
    leaves = [x.clone().requires_grad_() for x in (w, u, k, v)]
    y = bi_wkv_reference(*leaves)

    def ahead() -> None:
        with torch.no_grad():
            bi_wkv_reference(w, u, k, v)

    return ahead, partial(torch.autograd.grad, y, leaves, grad, retain_graph=True)


def timed(call: Callable[[], object], device: torch.device, has_graph: bool = True) -> Times:
    """Return microseconds of one call."""
    many = max(1, min(CALLS, int(0.05 / _once(call, device))))
    times = {"call_us": statistics.median(_loop(call, device, many) for _ in range(ROUNDS))}
    if device.type == "cuda" and has_graph:
        graph = _graph(call, device)
        turns = [_loop(graph.replay, device, 3) / GRAPH_CALLS for _ in range(ROUNDS)]
        times["device_us"] = statistics.median(turns)
    return {name: round(value, 2) for name, value in times.items()}


def _once(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one warm call."""
    call()
    return _loop(call, device, 1) / 1e6


def _loop(call: Callable[[], object], device: torch.device, count: int) -> float:
    """Return microseconds a call, of `count` in a row."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count * 1e6
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()
    for _ in range(count):
        call()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / count * 1e3


def _graph(call: Callable[[], object], device: torch.device) -> torch.cuda.CUDAGraph:
    """Return a graph of `GRAPH_CALLS` calls."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        for _ in range(GRAPH_CALLS):
            call()
    return graph
