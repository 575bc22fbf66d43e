"""What must hold of Bi-WKV on a device: each function measures one thing, or raises.

All take a torch device and return figures for the results file. They run on a CPU as
well, where that has a meaning, so that a slip does not waste the time on a lent GPU.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from napari_rwkv_seg.ops import backends, bi_wkv, bi_wkv_direct, bi_wkv_reference

sys.path.append(str(Path(__file__).resolve().parents[2] / "ops"))
import wkv_cases

BENCHMARK_SHAPES = [
    (1, 256, 192),
    (1, 1024, 192),
    (1, 4096, 192),
    (8, 1024, 192),
    (1, 196, 384),
    (1, 16384, 96),
    (4, 4096, 768),
    (16, 4096, 384),
]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BARS = {torch.float32: (1e-5, 1e-4), torch.float16: (5e-3, 2e-2), torch.bfloat16: (2e-2, 5e-2)}
Figures = dict[str, object]


def kernels_run(device: torch.device) -> Figures:
    """The compiled kernels run, not the fallback."""
    chosen = {}
    for dtype in DTYPES:
        backend, reason = backends.choose(torch.zeros(1, 2, 3, device=device, dtype=dtype))
        must(backend == device.type, f"{dtype} runs {backend}: {reason}")
        chosen[str(dtype)] = backend
    return chosen


def small_cases_agree(device: torch.device) -> Figures:
    """Every case that has broken an implementation agrees with the formula in float64."""
    worst: dict[str, float] = {}
    for case in wkv_cases.CASES:
        for shape in wkv_cases.SHAPES:
            inputs, grad = wkv_cases.make(case, shape)
            want = wkv_cases.with_gradients(bi_wkv_direct, inputs, grad, torch.float64)
            got = _on(device, inputs, grad)
            for name, error in wkv_cases.errors(got, want, grad).items():
                bar = BARS[torch.float32][name != "y"]
                must(error <= bar, f"{name} is off by {error:.1e} in {case!r} at {shape}")
                worst[name] = max(worst.get(name, 0.0), error)
    return dict(worst)


def large_shapes_agree(device: torch.device) -> Figures:
    """The shapes of the benchmark agree with the reference in float64, in every dtype."""
    worst: dict[str, float] = {}
    for shape in BENCHMARK_SHAPES:
        w, u, k, v, grad = random_inputs(shape, torch.device("cpu"))
        few = min(shape[0], 2)  # float64 takes its time
        k, v, grad = k[:few], v[:few], grad[:few]
        for dtype in DTYPES:
            rounded = [x.to(dtype).float() for x in (k, v, grad)]
            k64, v64, grad64 = (x.to(device, torch.float64) for x in rounded)
            want = _gradients(bi_wkv_reference, w, u, k64, v64, grad64, torch.float64)
            given = [x.to(device, dtype) for x in rounded]
            got = _gradients(bi_wkv, w, u, *given, torch.float32)
            for name, a, b in zip(("y", "dw", "du", "dk", "dv"), got, want, strict=True):
                error = float((a.double() - b).norm() / b.norm())
                bar = BARS[dtype][name != "y"]
                must(error <= bar, f"{name} in {dtype} is off by {error:.1e} at {shape}")
                key = f"{str(dtype).removeprefix('torch.')} {name}"
                worst[key] = max(worst.get(key, 0.0), error)
    return dict(worst)


def not_a_number_stays_in_its_channel(device: torch.device) -> Figures:
    """A NaN or an infinite key spoils its channel of its image, and nothing else."""
    w, u, k, v, _ = random_inputs((2, 300, 40), device)
    clean = bi_wkv(w, u, k, v)
    for array in (k, v):
        spoiled = [k.clone(), v.clone()]
        spoiled[0 if array is k else 1][1, 150, 7] = float("nan")
        y = bi_wkv(w, u, *spoiled)
        must(bool(y[1, :, 7].isnan().all()), "a NaN did not reach all tokens of its channel")
        keep = torch.ones_like(y, dtype=torch.bool)
        keep[1, :, 7] = False
        must(torch.equal(y[keep], clean[keep]), "a NaN reached another channel")
    return {}


def runs_give_the_same_bits(device: torch.device) -> Figures:
    """Twenty runs, on two streams where there are any, give the same bits."""
    w, u, k, v, grad = random_inputs((3, 3000, 70), device)
    first = _gradients(bi_wkv, w, u, k, v, grad, torch.float32)
    for turn in range(20):
        with _side_stream(device, turn % 2 == 1):
            again = _gradients(bi_wkv, w, u, k, v, grad, torch.float32)
            same = all(torch.equal(a, b) for a, b in zip(first, again, strict=True))  # on it, too
        must(same, f"run {turn} gave other bits")
    return {}


def threads_do_not_disturb_each_other(device: torch.device) -> Figures:
    """Four threads at once give what one gives."""
    inputs = [random_inputs((1, 500 + 100 * i, 33), device) for i in range(4)]
    want = [_gradients(bi_wkv, *one, torch.float32) for one in inputs]
    found: list[bool] = []

    def work(index: int) -> None:
        for _ in range(10):
            got = _gradients(bi_wkv, *inputs[index], torch.float32)
            same = all(torch.equal(a, b) for a, b in zip(got, want[index], strict=True))
            found.append(same)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    must(len(found) == 40 and all(found), "a thread got another's numbers, or failed")
    return {}


def layouts_do_not_matter(device: torch.device) -> Figures:
    """Transposed, sliced and expanded tensors give what their copies give."""
    w, u, k, v, _ = random_inputs((2, 100, 40), device)
    turned = k.transpose(1, 2).contiguous().transpose(1, 2)
    must(torch.equal(bi_wkv(w, u, turned, v), bi_wkv(w, u, k, v)), "a transposed key differs")
    sliced = bi_wkv(w[::2], u[::2], k[..., ::2], v[..., ::2])
    want = bi_wkv(*(x[..., ::2].contiguous() for x in (w, u, k, v)))
    must(torch.equal(sliced, want), "every other channel differs")
    wide = v[:, :1].expand(2, 100, 40)
    must(torch.equal(bi_wkv(w, u, k, wide), bi_wkv(w, u, k, wide.contiguous())), "expand differs")
    return {}


def opcheck_and_gradcheck_pass(device: torch.device) -> Figures:
    """PyTorch's own checks of the registration, and numeric gradients of the reference."""
    inputs, grad = wkv_cases.make("trained", (2, 35, 20))
    leaves = [x.to(device).requires_grad_() for x in inputs]
    torch.library.opcheck(torch.ops.napari_rwkv_seg.bi_wkv_forward.default, leaves)
    with torch.no_grad():
        y, states = torch.ops.napari_rwkv_seg.bi_wkv_forward(*leaves)
    kept = [x.detach() for x in leaves]
    arguments = (*kept, y, states, grad.to(device))
    torch.library.opcheck(torch.ops.napari_rwkv_seg.bi_wkv_backward.default, arguments)
    small, _ = wkv_cases.make("trained", (1, 9, 3))
    single = [x.to(device).requires_grad_() for x in small]
    torch.autograd.gradcheck(bi_wkv, single, eps=1e-2, atol=5e-3, rtol=5e-2, nondet_tol=0.0)
    return {}


def compile_and_export_go_through(device: torch.device) -> Figures:
    """One graph by torch.compile and by torch.export, T dynamic, same numbers."""
    w, u, k, v, _ = random_inputs((1, 100, 40), device)
    want = bi_wkv(w, u, k, v)
    compiled = torch.compile(bi_wkv, fullgraph=True, backend="aot_eager")
    must(torch.equal(compiled(w, u, k, v), want), "the compiled operator differs")

    class Mix(torch.nn.Module):
        def forward(self, w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return bi_wkv(w, u, k, v)

    tokens = torch.export.Dim("tokens", min=2, max=100_000)
    shapes = (None, None, {1: tokens}, {1: tokens})
    program = torch.export.export(Mix(), (w, u, k, v), dynamic_shapes=shapes)
    k, v = torch.randn(2, 1, 333, 40, device=device)
    must(torch.equal(program.module()(w, u, k, v), bi_wkv(w, u, k, v)), "the export differs")
    return {}


def graphs_replay(device: torch.device) -> Figures:
    """A captured CUDA graph of forward and backward replays on new numbers."""
    if device.type != "cuda":
        return {"not run": "CUDA graphs need a CUDA device"}
    w, u, k, v, grad = random_inputs((1, 1000, 70), device)
    leaves = [x.clone().requires_grad_() for x in (w, u, k, v)]
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        torch.autograd.grad(bi_wkv(*leaves), leaves, grad)
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = bi_wkv(*leaves)
        slopes = torch.autograd.grad(y, leaves, grad)
    with torch.no_grad():
        leaves[2].copy_(torch.randn_like(k))
    graph.replay()
    torch.cuda.synchronize(device)
    want = _gradients(bi_wkv, *(x.detach() for x in leaves), grad, torch.float32)
    same = all(torch.equal(a, b) for a, b in zip((y, *slopes), want, strict=True))
    must(same, "the replayed graph differs")
    return {}


def devices_are_kept_apart(device: torch.device) -> Figures:
    """A tensor on a second device is computed there, whichever is current."""
    if device.type != "cuda" or torch.cuda.device_count() < 2:
        return {"not run": "there is no second CUDA device"}
    w, u, k, v, _ = random_inputs((1, 200, 40), torch.device("cuda", 1))
    y = bi_wkv(w, u, k, v)
    must(y.device.index == 1, "the result is on another device")
    first = bi_wkv(*(x.to("cuda:0") for x in (w, u, k, v)))
    must(torch.allclose(y.cpu(), first.cpu(), rtol=1e-6), "the devices differ")
    return {}


def shipped_model_agrees(device: torch.device) -> Figures:
    """The shipped model gives on the device what it gives on the CPU."""
    from napari_rwkv_seg.zoo import DEFAULT_MODEL, find_model, read_network

    network = read_network(find_model(DEFAULT_MODEL))
    torch.manual_seed(42)
    image = torch.randn(1, 3, 256, 320)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode():
        want = network(image)
        got = network.to(device)(image.to(device)).cpu()
    error = float((got - want).norm() / want.norm())
    must(error <= 1e-4, f"logits differ by {error:.1e}")
    return {"relative difference of logits": error}


CHECKS: tuple[Callable[[torch.device], Figures], ...] = (
    kernels_run,
    small_cases_agree,
    large_shapes_agree,
    not_a_number_stays_in_its_channel,
    runs_give_the_same_bits,
    threads_do_not_disturb_each_other,
    layouts_do_not_matter,
    opcheck_and_gradcheck_pass,
    compile_and_export_go_through,
    graphs_replay,
    devices_are_kept_apart,
    shipped_model_agrees,
)


def must(holds: bool, sentence: str) -> None:
    """Raise with the sentence unless it holds (asserts vanish under -O)."""
    if not holds:
        raise AssertionError(sentence)


def random_inputs(shape: tuple[int, int, int], device: torch.device) -> list[Tensor]:
    """Return w, u, k, v and a gradient by y, of the size that trained networks have."""
    torch.manual_seed(42)
    w, u = torch.randn(2, shape[2]) * 4 / shape[1]
    return [x.to(device) for x in (w, u, *torch.randn(3, *shape))]


def _on(device: torch.device, inputs: tuple[Tensor, ...], grad: Tensor) -> dict[str, Tensor]:
    there = tuple(x.to(device) for x in inputs)
    got = wkv_cases.with_gradients(bi_wkv, there, grad.to(device), torch.float32)
    return {name: x.cpu() for name, x in got.items()}


def _gradients(
    function: Callable[..., Tensor],
    w: Tensor,
    u: Tensor,
    k: Tensor,
    v: Tensor,
    grad: Tensor,
    vectors: torch.dtype,
) -> tuple[Tensor, ...]:
    """Return y and the gradients by w, u (in the dtype `vectors`), k and v."""
    w, u = (x.to(k.device, vectors) for x in (w, u))
    leaves = [x.detach().clone().requires_grad_() for x in (w, u, k, v)]
    y = function(*leaves)
    return (y.detach(), *torch.autograd.grad(y, leaves, grad))


def _side_stream(device: torch.device, is_wanted: bool) -> torch.cuda.StreamContext:
    """Return a context in which a second stream is current, or one that does nothing."""
    stream = None
    if is_wanted and device.type == "cuda":
        torch.cuda.synchronize(device)
        stream = torch.cuda.Stream(device)
    return torch.cuda.stream(stream)
