"""Time the gradients of depthwise convolutions on the CPU: ours beside PyTorch's own.

    python tests/benchmarks/bench_depthwise.py [--threads 2] [--repeats 5]

The filters are those of RWKV-UNet-T on one image of 384 x 384, channels last. Timed are the
convolution, and the gradients by maps and kernel by PyTorch (oneDNN) and by ours, which take
turns; then whole training steps of RWKV-UNet T and S under autocast to bfloat16. Prints
medians and ratios, and writes them to tests/benchmarks/results/depthwise_cpu.json.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from napari_rwkv_seg.training.process import settle_process

if __name__ == "__main__" and "OMP_WAIT_POLICY" not in os.environ:  # read when torch is loaded
    settle_process()
    os.execv(sys.executable, [sys.executable, *sys.argv])

import torch
from bi_wkv_timing import machine

from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.ops import depthwise, depthwise_conv2d

RESULTS = Path(__file__).with_name("results") / "depthwise_cpu.json"
SIDE = 384
FILTERS = ((96, 384, 5, 2), (64, 192, 5, 1), (64, 192, 9, 1), (288, 96, 5, 2), (288, 48, 5, 1))
"""Channels, side of the image, side and stride of the kernel."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    settle_process()
    torch.set_num_threads(options.threads)
    filters = [
        time_filter(*each, dtype, options.repeats)
        for dtype in (torch.bfloat16, torch.float32)
        for each in FILTERS
    ]
    steps = [time_step(variant, options.repeats) for variant in ("T", "S")]
    found = {"machine": machine(), "threads": options.threads, "filters": filters, "steps": steps}
    text = json.dumps(found, indent=1) + "\n"
    write_atomically(RESULTS, lambda file: file.write(text.encode("utf-8")))
    print(table(filters, steps))


@contextlib.contextmanager
def pytorchs_way() -> Iterator[None]:
    with mock.patch.object(depthwise, "_suits", return_value=False):
        yield


def medians(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each call; they take turns, and the first turn warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def time_filter(
    channels: int, size: int, side: int, stride: int, dtype: torch.dtype, repeats: int
) -> Row:
    maps = torch.randn(1, channels, size, size, dtype=dtype)
    maps = maps.to(memory_format=torch.channels_last).requires_grad_()
    kernel = torch.randn(channels, 1, side, side, dtype=dtype, requires_grad=True)
    ours = depthwise_conv2d(maps, kernel, None, stride)
    with pytorchs_way():
        pytorchs = depthwise_conv2d(maps, kernel, None, stride)
    slopes = torch.randn_like(ours)

    def back(filtered: torch.Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(filtered, (maps, kernel), slopes, retain_graph=True)

    def forward() -> object:
        with torch.no_grad():
            return depthwise_conv2d(maps, kernel, None, stride)

    calls = {"filter": forward, "pytorch": back(pytorchs), "ours": back(ours)}
    name = f"{channels} channels, {size} x {size}, {side} x {side}, stride {stride}"
    return {"filter_of": name, "dtype": str(dtype)[6:], **medians(calls, repeats)}


def time_step(variant: str, repeats: int) -> Row:
    torch.manual_seed(42)
    network = build_network("rwkv_unet", variant, in_channels=3, classes=2)
    network = network.to(memory_format=torch.channels_last).train()
    images = torch.randn(1, 3, SIDE, SIDE).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(images)
        logits.float().square().mean().backward()
        network.zero_grad(set_to_none=True)

    def pytorchs_step() -> None:
        with pytorchs_way():
            step()

    return {"network": f"RWKV-UNet-{variant}"} | medians(
        {"pytorch": pytorchs_step, "ours": step}, repeats
    )


def table(filters: list[Row], steps: list[Row]) -> str:
    lines = [
        "| filter | dtype | itself, ms | gradients, PyTorch, ms | gradients, ours, ms | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in filters:
        times = " | ".join(f"{1e3 * row[name]:.1f}" for name in ("filter", "pytorch", "ours"))
        ratio = row["pytorch"] / row["ours"]
        lines.append(f"| {row['filter_of']} | {row['dtype']} | {times} | {ratio:.0f} |")
    lines += [
        "",
        f"| training step, {SIDE} x {SIDE} | PyTorch's gradients, s | ours, s | ratio |",
        "|---|---|---|---|",
    ]
    for row in steps:
        ratio = row["pytorch"] / row["ours"]
        times = f"{row['pytorch']:.2f} | {row['ours']:.2f}"
        lines.append(f"| {row['network']} | {times} | {ratio:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
