"""The plain PyTorch forms: the linear one against the definition, and its gradients."""

import math

import pytest
import torch
from wkv_cases import CASES, SHAPES, errors, make, with_gradients

from napari_rwkv_seg.ops import bi_wkv_direct, bi_wkv_reference


def test_direct_form_is_the_formula_by_hand():
    w, u = torch.tensor([0.5]), torch.tensor([0.25])
    k = torch.tensor([0.1, -0.2, 0.3])
    v = torch.tensor([1.0, 2.0, 4.0])
    weights = [math.exp(0.1), math.exp(-0.2), math.exp(0.3 + 0.25)]
    weights[0] *= math.exp(-0.5)  # two tokens away: one beyond the neighbour
    last = sum(a * b for a, b in zip(weights, v.tolist(), strict=True)) / sum(weights)
    y = bi_wkv_direct(w, u, k[None, :, None], v[None, :, None])
    assert y[0, 2, 0].item() == pytest.approx(last, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reference_agrees_with_the_definition_in_float64(shape, case):
    inputs, grad = make(case, shape)
    got = with_gradients(bi_wkv_reference, inputs, grad, torch.float64)
    want = with_gradients(bi_wkv_direct, inputs, grad, torch.float64)
    assert max(errors(got, want, grad).values()) < 1e-10


@pytest.mark.parametrize("case", CASES)
def test_reference_in_float32_keeps_its_precision(case):
    inputs, grad = make(case, (2, 196, 17))
    got = errors(
        with_gradients(bi_wkv_reference, inputs, grad, torch.float32),
        with_gradients(bi_wkv_direct, inputs, grad, torch.float64),
        grad,
    )
    assert got.pop("y") < 1e-5
    assert max(got.values()) < 1e-4


@pytest.mark.parametrize("case", ["trained", "some channels beyond float32"])
def test_reference_passes_gradcheck(case):
    inputs, _ = make(case, (2, 37, 3))
    leaves = tuple(x.double().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(bi_wkv_reference, leaves)


def test_reference_can_be_differentiated_twice():
    inputs, _ = make("trained", (1, 5, 2))
    leaves = tuple(x.double().requires_grad_() for x in inputs)
    assert torch.autograd.gradgradcheck(bi_wkv_reference, leaves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_reference_sums_half_precision_in_float32(dtype):
    (w, u, k, v), _ = make("trained", (1, 300, 5))
    k = k * 5  # exp(15) is beyond float16
    y = bi_wkv_reference(w, u, k.to(dtype), v.to(dtype))
    want = bi_wkv_direct(*(x.double() for x in (w, u, k.to(dtype), v.to(dtype))))
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), want, rtol=1e-2, atol=1e-2)


def test_reference_of_no_channels_is_empty():
    empty = torch.empty(2, 5, 0)
    assert bi_wkv_reference(torch.empty(0), torch.empty(0), empty, empty).shape == (2, 5, 0)
