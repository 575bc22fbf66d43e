"""Time Bi-WKV on the CPU: ours, the plain PyTorch form, and a copy of the same bytes.

    python tests/benchmarks/bench_bi_wkv.py [--threads N] [--quick] [--output FILE]

Every shape first agrees with the reference in float64, or there is no table. All columns
come from one run; times are medians in microseconds. A copy moves as many bytes as the
pass must at least: 12 an element forward (k, v, y), 20 backward (k, v, gy, dk, dv).
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from napari_rwkv_seg.ops import backend_status, bi_wkv, bi_wkv_reference

SHAPES = [  # B, T, C, as in csrc's design notes
    (1, 256, 192),
    (1, 1024, 192),
    (1, 4096, 192),
    (8, 1024, 192),
    (1, 196, 384),
    (1, 16384, 96),
    (4, 4096, 768),
    (16, 4096, 384),
]
COLUMNS = ("copy", "ours", "reference")
RESULTS = Path(__file__).parent / "results" / "bi_wkv_cpu.json"
Shape = tuple[int, int, int]


def microseconds(call: Callable[[], object], least_s: float) -> float:
    """Return the median time of a call, over at least `least_s` seconds and 5 calls."""
    call()
    times: list[float] = []
    while len(times) < 5 or sum(times) < least_s:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def make(shape: Shape) -> list[Tensor]:
    """Return w, u, k, v and a gradient by y, of the size that trained networks have."""
    torch.manual_seed(42)
    batch, tokens, channels = shape
    w, u = torch.randn(2, channels) * 4 / tokens
    return [w, u, *torch.randn(3, batch, tokens, channels)]


def gate(w: Tensor, u: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> None:
    """Raise if the operator does not agree with the reference in float64, on one image."""
    k, v, grad = k[:1], v[:1], grad[:1]
    ours = [x.clone().requires_grad_() for x in (w, u, k, v)]
    exact = [x.double().requires_grad_() for x in (w, u, k, v)]
    got, want = bi_wkv(*ours), bi_wkv_reference(*exact)
    pairs = [("y", got, want)]
    slopes = torch.autograd.grad(got, ours, grad), torch.autograd.grad(want, exact, grad.double())
    pairs += zip(("dw", "du", "dk", "dv"), *slopes, strict=True)
    for name, a, b in pairs:
        error = float((a.detach().double() - b.detach()).norm() / b.detach().norm())
        if error > (1e-5 if name == "y" else 1e-4):
            raise SystemExit(f"{name} is off by {error:.1e} at {tuple(k.shape)}: nothing is timed.")


def measure(shape: Shape, least_s: float) -> dict[str, dict[str, float]]:
    """Return forward and backward times of all columns, side by side."""
    *inputs, grad = make(shape)
    gate(*inputs, grad)
    copied = {}
    for name, arrays in (("forward", 3), ("backward", 5)):
        source = torch.randn(grad.numel() * arrays // 2)  # read and written: half of the bytes each
        copied[name] = microseconds(partial(torch.empty_like(source).copy_, source), least_s)
    figures = {"forward": {"copy": copied["forward"]}, "backward": {"copy": copied["backward"]}}
    for column, function in (("ours", bi_wkv), ("reference", bi_wkv_reference)):
        with torch.no_grad():
            figures["forward"][column] = microseconds(partial(function, *inputs), least_s)
        leaves = [x.clone().requires_grad_() for x in inputs]
        y = function(*leaves)
        slopes = partial(torch.autograd.grad, y, leaves, grad, retain_graph=True)
        figures["backward"][column] = microseconds(slopes, least_s)
    return figures


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    status = backend_status()
    model = platform.processor()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = facts.read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return {
        "processor": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "backend": status.backend,
        "instruction_set": status.instruction_set,
    }


def row(shape: Shape, figures: dict[str, dict[str, float]]) -> str:
    """Return a line of the table: times, and ours as a multiple of the copy."""
    cells = [f"{shape!s:<16}"]
    for times in figures.values():
        cells += [f"{times[column]:11.0f}" for column in COLUMNS]
        cells.append(f"{times['ours'] / times['copy']:7.1f} x")
    return "".join(cells)


def main() -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="small shapes, few repeats, no file")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = machine()
    if facts["backend"] != "cpu":
        raise SystemExit("The compiled kernels are missing: there is nothing to compare.")
    print(json.dumps(facts))
    heads = "".join(f"{x:>11}" for x in COLUMNS) + f"{'ours/copy':>9}"
    print(f"{'B, T, C':<16}{heads}{heads}   (forward | backward, microseconds)")
    rows = []
    for shape in SHAPES[:2] if options.quick else SHAPES:
        figures = measure(shape, 0.05 if options.quick else 0.5)
        rows.append({"shape": shape, "microseconds": figures})
        print(row(shape, figures), flush=True)
    if not options.quick:
        options.output.parent.mkdir(exist_ok=True)
        text = json.dumps({"machine": facts, "rows": rows}, indent=2)
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
