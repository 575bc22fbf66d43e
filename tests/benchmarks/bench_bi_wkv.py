"""Time Bi-WKV: ours, PyTorch's ways, the authors' scheme, and a copy of the same bytes.

    python tests/benchmarks/bench_bi_wkv.py [--quick] [--output FILE]

Every shape first agrees with the reference in float64, or there is no table. All columns
come from one run, warm, on one and on two threads, those of a shape in turns; times are the
least of many repetitions (other processes only ever add), medians are in the JSON. A copy
(`Tensor.copy_` into memory that is there) moves as many bytes as the pass must at least: 12 an
element forward (k, v, y), 20 backward (k, v, gy, dk, dv). `kernel` is the compiled function on
arrays that are there, by instruction set; `operator` is `bi_wkv` as networks call it, which also
allocates.
`reference` is `bi_wkv_reference`, `cumsum` one cumulative sum over the whole sequence, the
fastest way to say it in PyTorch (right only while |w| T stays small), `authors` the authors'
parallelisation (authors_scheme.cpp, compiled here), forward only. CUDA columns are what
gpu_check left in results/.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bi_wkv_table import table
from bi_wkv_timing import authors_scheme, in_turns, instruction_sets, machine
from torch import Tensor

from napari_rwkv_seg.ops import _library, backend_status, bi_wkv, bi_wkv_reference

SHAPES = [  # B, T, C
    (1, 256, 192),
    (1, 1024, 192),
    (1, 4096, 192),
    (8, 1024, 192),
    (1, 196, 384),
    (1, 16384, 96),
    (4, 4096, 768),
    (16, 4096, 384),
]
RESULTS = Path(__file__).parent / "results"
Shape = tuple[int, int, int]


def cumulative_sums(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return Bi-WKV by one cumulative sum in each direction, for |w| T up to about 60."""
    tokens = k.shape[1]
    place = (torch.arange(tokens, dtype=k.dtype) - (tokens - 1) / 2)[:, None] * w
    k = k - k.detach().amax(dim=1, keepdim=True)
    ahead, behind, own = torch.exp(k + place), torch.exp(k - place), torch.exp(k + u)

    def earlier(x: Tensor) -> Tensor:
        return x.cumsum(1) - x

    def later(x: Tensor) -> Tensor:
        return earlier(x.flip(1)).flip(1)

    far, near = torch.exp(w - place), torch.exp(w + place)
    num = earlier(ahead * v) * far + later(behind * v) * near + own * v
    return num / (earlier(ahead) * far + later(behind) * near + own)


def make(shape: Shape) -> list[Tensor]:
    """Return w, u, k, v and a gradient by y, of the size that trained networks have."""
    torch.manual_seed(42)
    batch, tokens, channels = shape
    w, u = torch.randn(2, channels) * 4 / tokens
    return [w, u, *torch.randn(3, batch, tokens, channels)]


def gate(inputs: list[Tensor], authors: Callable[..., Tensor] | None) -> None:
    """Raise if something that is timed does not agree with the reference in float64."""
    w, u, k, v, grad = (x[:1] if x.dim() == 3 else x for x in inputs)
    ours = [x.clone().requires_grad_() for x in (w, u, k, v)]
    exact = [x.double().requires_grad_() for x in (w, u, k, v)]
    got, want = bi_wkv(*ours), bi_wkv_reference(*exact)
    slopes = torch.autograd.grad(got, ours, grad), torch.autograd.grad(want, exact, grad.double())
    checks = [("y", got, want, 1e-5)]
    checks += [(f"d{n}", a, b, 1e-4) for n, a, b in zip("wukv", *slopes, strict=True)]
    checks.append(("cumsum", cumulative_sums(w, u, k, v), want, 1e-3))
    if authors:
        checks.append(("authors", authors(w, u, k, v), want, 1e-3))
    for name, a, b, most in checks:
        error = float((a.detach().double() - b.detach()).norm() / b.detach().norm())
        if error > most:
            raise SystemExit(f"{name} is off by {error:.1e} at {tuple(k.shape)}: nothing is timed.")


def kernel_calls(inputs: list[Tensor], threads: int) -> tuple[Callable[[], None], ...]:
    """Return the compiled forward and backward functions, bound to arrays of their own."""
    w, u, k, v, grad = inputs
    batch, tokens, channels = k.shape
    y, dk, dv, dw, du = (torch.empty_like(x) for x in (k, k, v, w, u))
    states = torch.empty(batch, _library.state_rows(tokens), channels)
    kept = (w, u, k, v, y, states)
    arrays = (*kept, grad, dw, du, dk, dv)
    addresses = tuple(x.data_ptr() for x in arrays)

    def forward(_: object = arrays) -> None:  # which keeps them alive
        _library.forward((batch, tokens, channels), addresses[: len(kept)], threads)

    def backward() -> None:
        _library.backward((batch, tokens, channels), addresses, threads)

    return forward, backward


def copies(elements: int) -> tuple[Callable[[], object], ...]:
    """Return functions that copy what the passes must read and write, half of the bytes each."""
    found = []
    for arrays in (3, 5):
        source = torch.randn(elements * arrays // 2)
        found.append(partial(torch.zeros_like(source).copy_, source))
    return tuple(found)


def function_calls(
    function: Callable[..., Tensor], inputs: list[Tensor]
) -> tuple[Callable[[], object], ...]:
    """Return a function that is called with tensors, and its gradients."""
    *inputs, grad = inputs

    def forward() -> None:
        with torch.no_grad():
            function(*inputs)

    leaves = [x.clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    return forward, partial(torch.autograd.grad, y, leaves, grad, retain_graph=True)


def on(name: str, call: Callable[[], object]) -> Callable[[], object]:
    """Return `call` on an instruction set; choosing it takes a microsecond."""

    def chosen() -> None:
        _library.use_instruction_set(name)
        call()

    return chosen


def measure(
    shape: Shape, threads: int, authors: Callable[..., Tensor] | None, least_s: float
) -> dict[str, object]:
    """Return a row: all times of a shape on so many threads, in microseconds."""
    torch.set_num_threads(threads)
    inputs = make(shape)
    gate(inputs, authors)
    calls = {"copy": copies(inputs[2].numel())}
    kernels = kernel_calls(inputs, threads)
    names = instruction_sets()
    for name in reversed(names):  # the widest last: it is what the others then run on
        calls[f"kernel {name}"] = tuple(on(name, call) for call in kernels)
    functions = {"operator": bi_wkv, "reference": bi_wkv_reference, "cumsum": cumulative_sums}
    for name, function in functions.items():
        calls[name] = function_calls(function, inputs)
    if authors:
        calls["authors"] = (partial(authors, *inputs[:4]),)
    times = {}
    for i, direction in enumerate(("forward", "backward")):
        found = in_turns({n: pair[i] for n, pair in calls.items() if len(pair) > i}, least_s)
        order = ["copy", *(f"kernel {x}" for x in names), *functions, "authors"]
        times[direction] = {name: found[name] for name in order if name in found}
    return {"shape": list(shape), "threads": threads, "microseconds": times}


def main() -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small shapes, few repeats, no file")
    parser.add_argument("--table", action="store_true", help="print what was measured last")
    parser.add_argument("--output", type=Path, default=RESULTS / "bi_wkv_cpu.json")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.output.read_text(encoding="utf-8")), RESULTS))
        return
    if backend_status().backend != "cpu":
        raise SystemExit("The compiled kernels are missing: there is nothing to compare.")
    authors = authors_scheme()
    found: dict[str, object] = {"machine": machine()}
    rows: list[dict[str, object]] = []
    for shape in SHAPES[:2] if options.quick else SHAPES:
        for threads in (1, 2):
            rows.append(measure(shape, threads, authors, 0.02 if options.quick else 0.3))
            found["rows"] = rows
            if not options.quick:  # kept at once: large shapes take minutes
                options.output.parent.mkdir(exist_ok=True)
                options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["machine"]))
    print(table(found, RESULTS))


if __name__ == "__main__":
    main()
