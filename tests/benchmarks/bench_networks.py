"""Time one image on the CPU through our networks and through those that others use; their memory.

    python tests/benchmarks/bench_networks.py [--threads 2] [--rounds 3] [--passes 5]
    python tests/benchmarks/bench_networks.py --table          # Markdown of what was measured

Every visit to a network is a process of its own: it builds the network with random weights (which
cost as much as trained ones), warms up with one pass, and times `--passes` passes of one image
(1, 3, side, side) to logits of two classes, float32, inference mode. The networks take turns,
once a round, so that what else the machine does meets all of them. Memory is the process's peak
above what it held when everything was imported and nothing built: weights and activations. What
has been measured is kept at once, and a second call goes on from there; `--fresh` begins anew.

BasicUNet, UNet and SwinUNETR are MONAI's with its defaults for two dimensions (UNet with the
channels of its tutorials). "nnU-Net 2D" is MONAI's DynUNet with what nnU-Net's planner gives images
of 512 x 512: eight stages of two 3 x 3 convolutions, 32 features doubled to at most 512.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results") / "networks_cpu.json"
CHANNELS, CLASSES = 3, 2
Run = dict[str, Any]


def ours(architecture: str, variant: str, **config: str) -> Any:
    """Return a network of this package."""
    from napari_rwkv_seg.networks import build_network

    return build_network(architecture, variant, in_channels=CHANNELS, classes=CLASSES, **config)


def basic_unet() -> Any:
    """Return MONAI's BasicUNet."""
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=CHANNELS, out_channels=CLASSES)


def unet() -> Any:
    """Return MONAI's UNet with residual units, as its tutorials make it."""
    from monai.networks.nets import UNet

    return UNet(
        spatial_dims=2,
        in_channels=CHANNELS,
        out_channels=CLASSES,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )


def swin_unetr() -> Any:
    """Return MONAI's SwinUNETR in two dimensions, with einops or without."""
    from importlib.util import find_spec

    from monai.networks.nets import SwinUNETR, swin_unetr

    if find_spec("einops") is None:  # it is asked for nothing but to permute axes
        swin_unetr.rearrange = permuted

    return SwinUNETR(in_channels=CHANNELS, out_channels=CLASSES, spatial_dims=2)


def permuted(tensor: Any, pattern: str) -> Any:
    """Return what `einops.rearrange` does with a pattern such as "n c h w -> n h w c"."""
    before, after = (side.split() for side in pattern.split("->"))
    return tensor.permute([before.index(axis) for axis in after])


def nnunet() -> Any:
    """Return a plain U-Net of the size that nnU-Net gives images of 512 x 512."""
    from monai.networks.nets import DynUNet

    strides = [1, 2, 2, 2, 2, 2, 2, 2]
    return DynUNet(
        spatial_dims=2,
        in_channels=CHANNELS,
        out_channels=CLASSES,
        kernel_size=[3] * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[32, 64, 128, 256, 512, 512, 512, 512],
    )


NETWORKS: dict[str, Callable[[], Any]] = {
    "Med-URWKV-T": lambda: ours("med_urwkv", "T"),
    "Med-URWKV-T as shipped": lambda: ours("med_urwkv", "T", encoder="adapter", decoder="slim"),
    "Med-URWKV-S": lambda: ours("med_urwkv", "S"),
    "RWKV-UNet-T": lambda: ours("rwkv_unet", "T"),
    "RWKV-UNet-S": lambda: ours("rwkv_unet", "S"),
    "RWKV-UNet-B": lambda: ours("rwkv_unet", "B"),
    "MONAI BasicUNet": basic_unet,
    "MONAI UNet": unet,
    "MONAI SwinUNETR 2D": swin_unetr,
    "nnU-Net 2D (DynUNet)": nnunet,
}


def visit(name: str, side: int, threads: int, passes: int) -> Run:
    """Return seconds of each pass, peak memory and parameters; in a process that does only this."""
    import monai.networks.nets  # noqa: F401 - memory is counted from here on
    import torch

    import napari_rwkv_seg.networks  # noqa: F401

    torch.set_num_threads(threads)
    torch.manual_seed(42)
    image = torch.randn(1, CHANNELS, side, side)
    idle = memory_mb(peak=False)
    forget_peak()
    network = NETWORKS[name]().eval()
    with torch.inference_mode():
        logits = network(image)
        if logits.shape != (1, CLASSES, side, side) or not torch.isfinite(logits).all():
            raise SystemExit(f"{name} gives {tuple(logits.shape)}, or no finite numbers.")
        del logits
        seconds = []
        for _ in range(passes):
            started = time.perf_counter()
            network(image)
            seconds.append(round(time.perf_counter() - started, 4))
    return {
        "network": name,
        "side": side,
        "threads": threads,
        "seconds": seconds,
        "memory_mb": round(memory_mb(peak=True) - idle, 1),
        "idle_mb": round(idle, 1),
        "parameters": sum(each.numel() for each in network.parameters()),
        "backend": backend(),
        "torch": torch.__version__,
    }


def backend() -> str:
    """Return which code runs our operator here."""
    from napari_rwkv_seg.ops import backend_status

    return str(backend_status().backend)


def memory_mb(*, peak: bool) -> float:
    """Return what this process holds, or held at most, in units of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        word = "VmHWM:" if peak else "VmRSS:"
        lines = status.read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith(word)).split()[1]) * 1024 / 1e6
    import psutil

    found = psutil.Process().memory_info()
    if not peak:
        return float(found.rss) / 1e6
    if hasattr(found, "peak_wset"):  # Windows
        return float(found.peak_wset) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def forget_peak() -> None:
    """Count the peak from now on, where the system can: imports may have needed more."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def visit_apart(name: str, side: int, options: argparse.Namespace) -> Run:
    """Return what `visit` finds in a process of its own, or why it found nothing."""
    visited = ["--visit", name, "--sides", str(side)]
    how = ["--threads", str(options.threads), "--passes", str(options.passes)]
    done = subprocess.run(
        [sys.executable, __file__, *visited, *how], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    last = (done.stderr.strip().splitlines() or ["killed"])[-1]
    failed = f"exit code {done.returncode}: {last[:200]}"
    return {"network": name, "side": side, "threads": options.threads, "failed": failed}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Visit what has not been visited yet, and keep every visit at once."""
    found = {"machine": machine(), "passes": options.passes, "runs": []}
    if options.output.exists() and not options.fresh:
        found = json.loads(options.output.read_text(encoding="utf-8"))
        found["runs"] = [run for run in found["runs"] if "seconds" in run]  # others are tried again
    wanted = [
        (number, side, name)
        for number in range(options.rounds)
        for side in options.sides
        for name in options.networks
    ]
    for number, side, name in wanted:
        key = {"round": number, "network": name, "side": side, "threads": options.threads}
        if any(key.items() <= run.items() for run in found["runs"]):
            continue
        run = {**key, **visit_apart(name, side, options)}
        found["runs"].append(run)
        options.output.parent.mkdir(exist_ok=True)
        fresh = options.output.with_suffix(".part")
        fresh.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        fresh.replace(options.output)  # a call that is interrupted loses one visit at most
        print(f"round {number + 1}, {side}: {name}: {run.get('failed') or run['seconds']}")
    return found


def table(found: dict[str, Any], threads: int) -> str:
    """Return medians in Markdown: a row a network, two columns a side."""
    runs = [run for run in found["runs"] if run["threads"] == threads]
    sides = sorted({run["side"] for run in runs})
    names = [name for name in NETWORKS if any(run["network"] == name for run in runs)]
    head = ["network", "parameters (M)"]
    for side in sides:
        head += [f"{side}², s", f"{side}², MB"]
    lines = [head, ["---"] * len(head)]
    for name in names:
        cells = [name, _millions(runs, name)]
        for side in sides:
            cells += _cells([r for r in runs if (r["network"], r["side"]) == (name, side)])
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _millions(runs: list[Run], name: str) -> str:
    counts = {run["parameters"] for run in runs if run["network"] == name and "seconds" in run}
    return f"{counts.pop() / 1e6:.2f}" if counts else "–"


def _cells(runs: list[Run]) -> list[str]:
    """Return median seconds over all passes, and the median of the peaks."""
    good = [run for run in runs if "seconds" in run]
    if not good:
        return ["failed" if runs else "not measured"] * 2
    seconds = statistics.median(each for run in good for each in run["seconds"])
    memory = statistics.median(run["memory_mb"] for run in good)
    return [f"{seconds:.3f}" if seconds < 10 else f"{seconds:.1f}", f"{memory:.0f}"]


def machine() -> dict[str, object]:
    """Return what the figures belong to."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if "model name" in line), cpu)
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.system()}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024], help="of the image")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="forget what was measured")
    parser.add_argument("--table", action="store_true", help="print what was measured, no more")
    parser.add_argument("--visit", choices=NETWORKS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure what is wanted, and print the table."""
    options = parse()
    if options.visit:
        run = visit(options.visit, options.sides[0], options.threads, options.passes)
        print(json.dumps(run))
        return
    if options.table:
        found = json.loads(options.output.read_text(encoding="utf-8"))
    else:
        found = measure(options)
        print(json.dumps(found["machine"]))
    print(table(found, options.threads))


if __name__ == "__main__":
    main()
