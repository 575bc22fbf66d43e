"""The CUDA kernels: compiled for real GPUs, and run on a model of one against the definition.

The model runs every thread of a block from barrier to barrier, in any order; it can tell
wrong numbers, races and accesses out of bounds, but nothing about a GPU's speed.
"""

import ctypes
import re
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from cuda_emulation import CSRC, DTYPES, HERE, Arrays, Emulation, Means, compile_for_cpu
from cuda_emulation.compilers import compile_by_nvcc, compile_by_nvrtc, libraries
from wkv_cases import CASES, errors, make, with_gradients

from napari_rwkv_seg.ops import _cuda_plan as plan
from napari_rwkv_seg.ops import bi_wkv_direct, bi_wkv_reference

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")

# Two blocks of 256 threads share a multiprocessor at up to 128 registers each.
MOST_REGISTERS = {"rwkv_forward_steep": 168, "rwkv_backward_steep": 168}

# Two registers, stored and read once: what ptxas leaves of one kernel up to sm_80.
MOST_SPILLED_BYTES = {"rwkv_backward_slopes": 16}

# Tokens, channels, images: around the bounds of chunks (16), spans (128) and groups (32).
SHAPES = [
    (1, 1, 1),
    (3, 2, 5),
    (1, 15, 33),
    (1, 16, 70),
    (3, 17, 32),
    (1, 100, 5),
    (1, 128, 3),
    (1, 255, 33),
    (3, 257, 1),
    (1, 1000, 3),
]


@pytest.fixture(scope="module")
def emulations(tmp_path_factory):
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler, "A C++ compiler is needed; the package is built with one, too."
    folder = tmp_path_factory.mktemp("emulation")
    source = HERE / "emulator.cpp"
    return {
        name: Emulation(compile_for_cpu(compiler, source, number, folder), DTYPES[name])
        for name, number in plan.ELEMENTS.items()
    }


@pytest.fixture(scope="module")
def emulation(emulations):
    return emulations["float32"]


def _check_usage(usage):
    assert set(usage) == set(plan.KERNELS)
    for kernel, taken in usage.items():
        assert taken.spilled_bytes <= MOST_SPILLED_BYTES.get(kernel, 0), (kernel, taken)
        assert taken.registers <= MOST_REGISTERS.get(kernel, 128), (kernel, taken)


@pytest.mark.skipif(
    libraries() is None and (sys.platform != "linux"),
    reason="The run-time compiler has no wheel for this system; there is no CUDA for it either.",
)
@pytest.mark.parametrize("element", plan.ELEMENTS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_run_time_compiler_fits_all_kernels_into_registers(arch, element):
    _check_usage(compile_by_nvrtc(arch, plan.ELEMENTS[element]))


@pytest.mark.skipif(
    libraries() is None and (sys.platform != "linux"),
    reason="The run-time compiler has no wheel for this system; there is no CUDA for it either.",
)
def test_the_run_time_compiler_takes_the_authors_scheme_for_comparison():
    source = HERE.parents[1] / "benchmarks" / "authors_scheme.cu"
    usage = compile_by_nvrtc("sm_90", plan.ELEMENTS["float32"], source=source)
    assert all(x.spilled_bytes == 0 for x in usage.values()), usage
    assert set(usage) == {"authors_forward", "authors_backward"}


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on the PATH.")
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_nvcc_fits_all_kernels_into_registers(arch, tmp_path):
    _check_usage(compile_by_nvcc(shutil.which("nvcc"), arch, 0, tmp_path))


def test_plan_and_kernels_agree_about_sizes(emulation):
    layout = (CSRC / "cuda" / "layout.h").read_text() + (CSRC / "constants.h").read_text()
    numbers = dict(re.findall(r"constexpr int k(\w+) = (\d+);", layout))
    names = {"Span": "_SPAN", "Lanes": "_LANES", "MostSpans": "_MOST_SPANS"}
    names |= {"ScanWarps": "_SCAN_WARPS", "TotalWarps": "_TOTAL_WARPS", "Chunk": "_CHUNK"}
    names |= {"CarryRows": "_CARRY_ROWS", "SteepRows": "_STEEP_ROWS"}
    names |= {"PartialRows": "_PARTIAL_ROWS"}
    for ours, theirs in names.items():
        assert int(numbers[ours]) == getattr(plan, theirs), ours
    assert emulation.library.size_of_call() == ctypes.sizeof(plan.Call)


def test_every_launch_is_within_what_all_gpus_allow():
    for sizes in ((1, 1, 1), (3, 128, 33), (16, 4096, 384), (1, 1_000_000, 96)):
        for launch in (*plan.forward_plan(*sizes), *plan.backward_plan(*sizes)):
            assert launch.shared_bytes <= 48 * 1024
            assert launch.block[0] <= 1024
            assert 1 <= launch.grid[0] < 2**31


def _differentiated(emulation, inputs, grad):
    return with_gradients(lambda *x: Means.apply(emulation, *x), inputs, grad, torch.float32)


def _check(got, want, grad, largest=1e-4):
    found = errors(got, want, grad)
    assert found.pop("y") <= 5e-6
    # dw is a difference of large terms where keys are far apart; see recurrence.h.
    assert found.pop("dw") <= largest, found
    assert max(found.values()) <= 3e-5, found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", ["trained", "limit of float32", "some channels beyond float32"])
def test_kernels_agree_with_the_definition_in_every_shape(emulation, case, shape):
    inputs, grad = make(case, shape)
    want = with_gradients(bi_wkv_direct, inputs, grad, torch.float64)
    _check(_differentiated(emulation, inputs, grad), want, grad)


@pytest.mark.parametrize("case", CASES)
def test_kernels_agree_with_the_definition_in_every_case(emulation, case):
    inputs, grad = make(case, (1, 300, 7))
    want = with_gradients(bi_wkv_direct, inputs, grad, torch.float64)
    _check(_differentiated(emulation, inputs, grad), want, grad)


@pytest.mark.parametrize("case", ["growth 20 over the image", "decay 20 over the image", "ramp"])
def test_kernels_agree_over_3000_tokens(emulation, case):
    inputs, grad = make(case, (1, 3000, 2))
    want = with_gradients(bi_wkv_reference, inputs, grad, torch.float64)
    _check(_differentiated(emulation, inputs, grad), want, grad)


def test_kernels_agree_when_spans_are_scanned_first(emulation):
    shape = (1, 128 * plan._MOST_SPANS + 700, 1)
    assert "rwkv_forward_scan" in [x.kernel for x in plan.forward_plan(*shape)]
    assert "rwkv_backward_scan" in [x.kernel for x in plan.backward_plan(*shape)]
    inputs, grad = make("growth 20 over the image", shape)
    want = with_gradients(bi_wkv_reference, inputs, grad, torch.float64)
    _check(_differentiated(emulation, inputs, grad), want, grad)


def test_steep_and_mild_channels_lie_side_by_side(emulation):
    (_, _, k, v), grad = make("trained", (3, 140, 40))
    w = torch.where(torch.arange(40) % 5 == 0, 3.0, -0.002)
    w[7] = -2.0
    u = torch.where(torch.arange(40) % 7 == 3, -30.0, 0.5)
    inputs = (w, u, k, v)
    want = with_gradients(bi_wkv_direct, inputs, grad, torch.float64)
    _check(_differentiated(emulation, inputs, grad), want, grad)


@pytest.mark.parametrize("element", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", ["trained", "keys to 80", "some channels beyond float32"])
def test_half_types_lose_no_more_than_their_rounding(emulations, element, case):
    (w, u, k, v), grad = make(case, (2, 260, 33))
    emulation = emulations[element]
    k, v, grad = (x.to(emulation.dtype).float() for x in (k, v, grad))
    got = _differentiated(emulation, (w, u, k, v), grad)
    want = with_gradients(bi_wkv_direct, (w, u, k, v), grad, torch.float64)
    rounding = torch.finfo(emulation.dtype).eps / 2
    found = errors(got, want, grad)
    assert max(found[x] for x in ("y", "dk", "dv")) <= rounding
    # dw and du are float32, from gradients that autograd hands over in 16 bits.
    assert max(found[x] for x in ("dw", "du")) <= 1e-4


@pytest.mark.parametrize("element", plan.ELEMENTS)
def test_elements_are_read_and_written_as_torch_does(emulations, element):
    emulation = emulations[element]
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    stored = patterns.view(emulation.dtype) if element != "float32" else patterns.float()
    read, written = torch.empty(stored.shape), torch.empty_like(stored)
    addresses = [ctypes.c_void_p(x.data_ptr()) for x in (stored, read, written)]
    emulation.library.read_and_write(*addresses, ctypes.c_int64(stored.numel()))
    torch.testing.assert_close(read, stored.float(), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(written, stored, rtol=0, atol=0, equal_nan=True)
    numbers = torch.randn(20000) * torch.logspace(-46, 39, 20000)
    numbers = torch.cat([numbers, torch.tensor([65519.9, 65520.0, 3.4e38, torch.inf, -torch.inf])])
    target = torch.empty(numbers.shape, dtype=emulation.dtype)
    addresses = [ctypes.c_void_p(x.data_ptr()) for x in (numbers, target)]
    emulation.library.write_elements(*addresses, ctypes.c_int64(numbers.numel()))
    torch.testing.assert_close(target, numbers.to(emulation.dtype), rtol=0, atol=0)


@pytest.mark.parametrize("case", ["trained", "some channels beyond float32"])
def test_the_order_of_threads_and_blocks_changes_no_bit(emulation, case):
    inputs, grad = make(case, (2, 300, 37))
    y, states = emulation.forward(*inputs)
    gradients = emulation.backward(inputs, y, states, grad)
    for order in (1, 2, 3):
        other = replace(emulation, order=order)
        again = other.forward(*inputs)
        assert again[0].equal(y)
        assert again[1].view(torch.int32).equal(states.view(torch.int32))
        for one, two in zip(other.backward(inputs, y, states, grad), gradients, strict=True):
            assert one.equal(two)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["k", "v"])
@pytest.mark.parametrize("token", [0, 150, 299])
def test_what_is_not_finite_stays_in_its_channel_of_its_image(emulation, name, token, bad):
    (w, u, k, v), grad = make("trained", (2, 300, 34))
    w[5] = 3.0  # a steep channel
    clean, states = emulation.forward(w, u, k, v)
    want = emulation.backward((w, u, k, v), clean, states, grad)
    changed = {"k": k.clone(), "v": v.clone()}
    touched = torch.zeros(2, 300, 34, dtype=torch.bool)
    for channel in (5, 33):
        changed[name][1, token, channel] = bad
        touched[1, :, channel] = True
    inputs = (w, u, changed["k"], changed["v"])
    y, states = emulation.forward(*inputs)
    assert y[~touched].equal(clean[~touched])
    if torch.tensor(bad).isnan():
        assert y[touched].isnan().all()
    got = emulation.backward(inputs, y, states, grad)
    for one, two in zip(got[2:], want[2:], strict=True):
        assert one[~touched].equal(two[~touched])
    others = [c for c in range(34) if c not in (5, 33)]
    for one, two in zip(got[:2], want[:2], strict=True):
        assert one[others].equal(two[others])


def test_the_model_notices_a_wrong_launch(emulation):
    call = plan.Call()
    (means, _) = plan.forward_plan(1, 16, 3)
    # One row of lanes less than the kernel writes.
    launch = (ctypes.byref(call), 1, 256, means.shared_bytes - 128, 0)
    assert emulation.library.emulate(b"rwkv_no_such_kernel", *launch) == 1
    (w, u, k, v), _ = make("trained", (1, 16, 3))
    y, scratch = torch.empty_like(k), torch.empty(1000)
    call.w, call.u, call.k, call.v = (x.data_ptr() for x in (w, u, k, v))
    call.y, call.states, call.scratch = y.data_ptr(), scratch.data_ptr(), scratch.data_ptr()
    call.batch, call.tokens, call.channels = k.shape
    assert emulation.library.emulate(b"rwkv_forward_means", *launch) == 2


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 100, 37), (1, 1024, 5)], ids=str)
def test_the_authors_scheme_for_comparison_is_right(emulation, shape):
    inputs, grad = make("trained", shape)
    arrays = Arrays()
    call = emulation.call(arrays, inputs)
    y, gy, dk, dv, scratch, slopes = (
        arrays.new(size, torch.float32)
        for size in (shape, shape, shape, shape, (2, *shape), (2, shape[0], shape[2]))
    )
    gy.copy_(grad)
    call.y, call.gy, call.dk, call.dv = (x.data_ptr() for x in (y, gy, dk, dv))
    call.states, call.scratch = slopes.data_ptr(), scratch.data_ptr()
    blocks = shape[0] * -(-shape[2] // 32)
    launches = [
        plan.Launch(f"authors_{way}", (blocks, 1, 1), (1024, 1, 1), 40960)
        for way in ("forward", "backward")
    ]
    emulation.run(tuple(launches), call)
    assert arrays.are_whole()
    got = {"y": y, "dw": slopes[0].sum(0), "du": slopes[1].sum(0), "dk": dk, "dv": dv}
    want = with_gradients(bi_wkv_direct, inputs, grad, torch.float64)
    assert max(errors(got, want, grad).values()) <= 1e-3
