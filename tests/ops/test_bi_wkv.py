"""The compiled operator against the definition in float64, forward and backward."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from wkv_cases import CASES, SHAPES, errors, make, with_gradients

from napari_rwkv_seg.ops import bi_wkv, bi_wkv_direct, bi_wkv_reference


def _check(got, want, grad, largest=1e-4):
    found = errors(got, want, grad)
    assert found.pop("y") <= 1e-5
    assert max(found.values()) <= largest, found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_operator_agrees_with_the_definition(shape, case):
    inputs, grad = make(case, shape)
    got = with_gradients(bi_wkv, inputs, grad, torch.float32)
    want = with_gradients(bi_wkv_direct, inputs, grad, torch.float64)
    _check(got, want, grad)


@pytest.mark.parametrize("case", CASES)
def test_operator_agrees_with_every_instruction_set(instruction_set, case):
    inputs, grad = make(case, (2, 77, 37))
    got = with_gradients(bi_wkv, inputs, grad, torch.float32)
    want = with_gradients(bi_wkv_direct, inputs, grad, torch.float64)
    _check(got, want, grad)


@pytest.mark.parametrize("case", CASES)
def test_operator_agrees_over_16384_tokens(case):
    inputs, grad = make(case, (1, 16384, 7))
    got = with_gradients(bi_wkv, inputs, grad, torch.float32)
    want = with_gradients(bi_wkv_reference, inputs, grad, torch.float64)
    # Keys that rise by 160 let all tokens look at the last hundred: dw, which counts the way
    # there, is 1e-4 of the terms that it is a difference of; of 5000 masked tokens still less.
    largest = {"ramp": 2e-4, "start masked beyond float32": 1e-2}
    _check(got, want, grad, largest=largest.get(case, 1e-4))


def test_every_instruction_set_holds_its_precision_over_16384_tokens(instruction_set):
    inputs, grad = make("growth 20 over the image", (1, 16384, 19))
    got = with_gradients(bi_wkv, inputs, grad, torch.float32)
    want = with_gradients(bi_wkv_reference, inputs, grad, torch.float64)
    _check(got, want, grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_comes_back_as_it_went_in(dtype):
    inputs, grad = make("trained", (2, 63, 33))
    rounded = tuple(x.to(dtype) for x in inputs)
    got = with_gradients(bi_wkv, rounded, grad.to(dtype), dtype)
    want = with_gradients(bi_wkv_direct, rounded, grad.to(dtype), torch.float64)
    assert bi_wkv(*rounded).dtype == dtype
    assert max(errors(got, want, grad).values()) < 2e-2


def test_float64_is_computed_in_float64():
    inputs, _ = make("trained", (1, 63, 5))
    doubles = tuple(x.double() for x in inputs)
    torch.testing.assert_close(bi_wkv(*doubles), bi_wkv_direct(*doubles), rtol=1e-12, atol=1e-12)


def test_operator_takes_tensors_that_are_not_contiguous():
    (w, u, k, v), grad = make("trained", (2, 63, 33))
    twisted = (
        torch.stack([w, w], 1)[:, 0],
        u,
        k.transpose(1, 2).contiguous().transpose(1, 2),
        torch.cat([v, v], 2)[..., :33],
    )
    assert not twisted[2].is_contiguous()
    got = with_gradients(bi_wkv, twisted, grad, torch.float32)
    want = with_gradients(bi_wkv, (w, u, k, v), grad, torch.float32)
    for name in want:
        assert torch.equal(got[name], want[name]), name


def test_a_gradient_that_is_expanded_is_taken():
    inputs, _ = make("trained", (2, 63, 33))
    leaves = [x.clone().requires_grad_() for x in inputs]
    bi_wkv(*leaves).sum().backward()  # the gradient by y has strides of 0
    want = with_gradients(bi_wkv_direct, inputs, torch.ones(2, 63, 33), torch.float64)
    torch.testing.assert_close(leaves[3].grad.double(), want["dv"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("empty", [(0, 5, 3), (2, 0, 3), (2, 5, 0)], ids=str)
def test_an_empty_tensor_comes_back_empty(empty):
    inputs, _ = make("no decay", (2, 5, 3))
    w, u = (x[: empty[2]] for x in inputs[:2])
    found = with_gradients(
        bi_wkv, (w, u, torch.ones(empty), torch.ones(empty)), torch.ones(empty), torch.float32
    )
    assert found["y"].shape == empty
    assert found["dw"].sum() == 0


@pytest.mark.parametrize("what", ["k", "v"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_what_is_not_finite_spoils_its_own_channel_only(what, value):
    (w, u, k, v), _ = make("trained", (2, 63, 33))
    clean = bi_wkv(w, u, k, v)
    {"k": k, "v": v}[what][1, 20, 5] = value
    spoiled = bi_wkv(w, u, k, v)
    assert not spoiled[1, :, 5].isfinite().any()
    spoiled[1, :, 5] = clean[1, :, 5]
    assert torch.equal(spoiled, clean)


@pytest.mark.parametrize("low", [float("-inf"), -1e30, -1e5], ids=str)
def test_a_chunk_of_keys_far_below_all_others_takes_no_part(instruction_set, low):
    (w, u, k, v), _ = make("no decay", (1, 80, 33))
    k[0, 32:48] = low
    want = bi_wkv_direct(w.double(), u.double(), k.double(), v.double())
    torch.testing.assert_close(bi_wkv(w, u, k, v).double(), want, rtol=1e-5, atol=1e-5)


def test_a_key_of_minus_infinity_takes_its_token_out():
    (w, u, k, v), _ = make("no decay", (1, 40, 3))
    k[0, 7] = float("-inf")
    want = bi_wkv_direct(w.double(), u.double(), k.double(), v.double())
    torch.testing.assert_close(bi_wkv(w, u, k, v).double(), want, rtol=1e-5, atol=1e-5)


# Images that five threads share by tokens, one of them narrower than a vector; images of their own.
# Each thread must have 40,960 elements, or fewer are used.
@pytest.mark.parametrize("shape", [(3, 700, 100), (1, 41_000, 5), (10, 330, 64)], ids=str)
@pytest.mark.parametrize("case", ["trained", "some channels beyond float32"])
def test_results_do_not_change_from_run_to_run_or_with_threads(case, shape):
    inputs, grad = make(case, shape)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = with_gradients(bi_wkv, inputs, grad, torch.float32)
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            again = with_gradients(bi_wkv, inputs, grad, torch.float32)
            for name in first:
                assert torch.equal(first[name], again[name]), (name, count)
    finally:
        torch.set_num_threads(threads)


def test_several_python_threads_may_call_at_once():
    inputs, grad = make("trained", (2, 1300, 65))  # enough elements for four threads
    want = with_gradients(bi_wkv, inputs, grad, torch.float32)
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(with_gradients, bi_wkv, inputs, grad, torch.float32) for _ in range(24)]
        for job in jobs:
            got = job.result()
            assert all(torch.equal(got[name], want[name]) for name in want)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"v": torch.zeros(2, 5, 4)}, ValueError, r"k and v of one shape.*v \(2, 5, 4\)"),
        ({"k": torch.zeros(5, 3), "v": torch.zeros(5, 3)}, ValueError, r"k \(5, 3\)"),
        ({"w": torch.zeros(4)}, ValueError, r"w of shape \(C,\).*got w \(4,\)"),
        ({"u": torch.zeros(1, 3)}, ValueError, r"got u \(1, 3\)"),
        ({"k": torch.zeros(2, 5, 3, dtype=torch.int64)}, TypeError, r"got k in torch.int64"),
        ({"u": torch.zeros(3, dtype=torch.complex64)}, TypeError, r"got u in torch.complex64"),
        ({"w": torch.zeros(3, device="meta")}, ValueError, r"got w on meta and k on cpu"),
    ],
)
def test_an_error_names_the_argument(change, error, words):
    right = {
        "w": torch.zeros(3),
        "u": torch.zeros(3),
        "k": torch.zeros(2, 5, 3),
        "v": torch.zeros(2, 5, 3),
    }
    with pytest.raises(error, match=words):
        bi_wkv(**(right | change))
