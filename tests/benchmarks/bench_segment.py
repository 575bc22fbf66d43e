"""Time one image of 512 x 512 on the CPU: the shipped Med-URWKV-T beside a MONAI U-Net.

    python tests/benchmarks/bench_segment.py [--threads 2] [--repeats 15] [--model NAME|FOLDER]

Both networks have about as many parameters (counts are printed), are warm, and
take turns, so that what else the machine does meets both. Timed are the network
alone, (1, 3, 512, 512) to logits, the whole way from a uint8 image to labels,
which is the same code for both, and the forward and backward pass of two crops of
256 x 256. Prints median seconds, ratios and where the time of our network goes, and
writes them to tests/benchmarks/results/segment_cpu.json.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import monai
import numpy as np
import torch
from monai.networks.nets import UNet
from network_parts import parts_of_block, parts_of_network
from torch import nn

from napari_rwkv_seg.inference import LabelSettings, Model, load_model
from napari_rwkv_seg.inference.segment import segment
from napari_rwkv_seg.ops import backend_status
from napari_rwkv_seg.zoo import DEFAULT_MODEL

SIDE = 512
RESULTS = Path(__file__).with_name("results") / "segment_cpu.json"


def main() -> None:
    options = parse()
    torch.manual_seed(42)
    torch.set_num_threads(options.threads)
    ours = load_model(options.model, "cpu")
    theirs = replace(ours, network=unet_like(ours))
    check_against_reference(ours)
    image = sample_image()
    pixels = torch.rand(1, ours.card.input_channels, SIDE, SIDE)
    runs = {
        "network": {name: forward(m.network, pixels) for name, m in both(ours, theirs)},
        "image to labels": {name: whole(m, image) for name, m in both(ours, theirs)},
        "training step": {name: training_step(m.network) for name, m in both(ours, theirs)},
    }
    medians = {name: medians_of(pair, options.repeats) for name, pair in runs.items()}
    block = ours.network.encoder.layers[6]
    parts = {
        "network": parts_of_network(ours.network, pixels, options.repeats),
        "block, 1024 tokens": parts_of_block(block, SIDE // 16, options.repeats),
    }
    report(ours, theirs, medians, parts, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def both(ours: Model, theirs: Model) -> list[tuple[str, Model]]:
    return [("Med-URWKV", ours), ("MONAI UNet", theirs)]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def unet_like(model: Model) -> nn.Module:
    """Return MONAI's residual U-Net with channels chosen to meet our number of parameters."""
    wanted = parameters(model.network)

    def build(width: int) -> nn.Module:
        return UNet(
            spatial_dims=2,
            in_channels=model.card.input_channels,
            out_channels=len(model.card.classes),
            channels=tuple(width * 2**level for level in range(5)),
            strides=(2, 2, 2, 2),
            num_res_units=2,
        )

    width = min(range(8, 97), key=lambda width: abs(parameters(build(width)) - wanted))
    network = build(width).eval()
    ratio = parameters(network) / wanted
    if not 0.9 <= ratio <= 1.1:
        raise SystemExit(
            f"No U-Net within 10 % of {wanted} parameters; the nearest has {ratio:.0%}."
        )
    return network


def check_against_reference(model: Model) -> None:
    """What is timed must be right: the network with compiled kernels, and without."""
    pixels = torch.rand(1, model.card.input_channels, 96, 128)
    fast = forward(model.network, pixels)()
    os.environ["NAPARI_RWKV_SEG_BACKEND"] = "reference"
    slow = forward(model.network, pixels)()
    del os.environ["NAPARI_RWKV_SEG_BACKEND"]
    torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-3)


def sample_image() -> np.ndarray:
    """Return noise with blobs: what is in an image does not change the time of the network."""
    generator = np.random.default_rng(42)
    y, x = np.mgrid[:SIDE, :SIDE]
    blobs = np.cos(y / 9) * np.cos(x / 11) * 90 + 128
    return np.clip(blobs + generator.normal(0, 8, (SIDE, SIDE)), 0, 255).astype(np.uint8)


def forward(network: nn.Module, pixels: torch.Tensor) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        with torch.inference_mode():
            return network(pixels)

    return run


def whole(model: Model, image: np.ndarray) -> Callable[[], object]:
    settings = LabelSettings.for_model(model.card, "classes")
    return lambda: segment(image, model, axes="YX", settings=settings)


def training_step(network: nn.Module) -> Callable[[], None]:
    trained = copy.deepcopy(network).train().requires_grad_()
    crops = torch.rand(2, 3, SIDE // 2, SIDE // 2)

    def run() -> None:
        trained.zero_grad(set_to_none=True)
        trained(crops).square().mean().backward()

    return run


def medians_of(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return median seconds; the runs take turns after two rounds to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(
    ours: Model,
    theirs: Model,
    medians: dict[str, dict[str, float]],
    parts: dict[str, dict[str, float]],
    options: argparse.Namespace,
) -> None:
    status = backend_status()
    counts = {name: parameters(model.network) for name, model in both(ours, theirs)}
    for name, count in counts.items():
        print(f"{name:<12} {count:>12,} parameters")
    for what, pair in medians.items():
        first, second = pair.values()
        print(f"{what}: {first:.3f} s and {second:.3f} s, ratio {first / second:.2f}")
    for what, table in parts.items():
        print(what)
        for name, milliseconds in table.items():
            print(f"  {name:<30} {milliseconds:8.2f} ms")
    facts = {
        "image": [SIDE, SIDE],
        "model": ours.card.name,
        "parameters": counts,
        "median_seconds": medians,
        "ratio": {what: pair["Med-URWKV"] / pair["MONAI UNet"] for what, pair in medians.items()},
        "parts_ms": parts,
        "repeats": options.repeats,
        "threads": options.threads,
        "wkv": {"backend": status.backend, "instruction_set": status.instruction_set},
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
    }
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"Written to {options.results}")


if __name__ == "__main__":
    main()
