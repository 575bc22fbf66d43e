"""What PyTorch knows of the operator: schema, autograd, fake tensors, autocast, compile."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from wkv_cases import make

from napari_rwkv_seg.ops import bi_wkv, bi_wkv_reference

forward = torch.ops.napari_rwkv_seg.bi_wkv_forward
backward = torch.ops.napari_rwkv_seg.bi_wkv_backward


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 35, 20)], ids=str)
def test_forward_passes_opcheck(shape):
    inputs, _ = make("trained", shape)
    leaves = [x.requires_grad_() for x in inputs]
    torch.library.opcheck(forward.default, leaves)


def test_backward_passes_opcheck():
    inputs, grad = make("trained", (2, 35, 20))
    y, states = forward(*inputs)
    torch.library.opcheck(backward.default, (*inputs, y, states, grad))


def test_operator_compiles_without_a_graph_break():
    inputs, grad = make("trained", (2, 35, 20))
    leaves = [x.requires_grad_() for x in inputs]
    compiled = torch.compile(bi_wkv, fullgraph=True, backend="aot_eager")
    got = torch.autograd.grad(compiled(*leaves), leaves, grad)
    want = torch.autograd.grad(bi_wkv(*leaves), leaves, grad)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_plain_pytorch_compiles_without_a_graph_break(monkeypatch, dtype):
    monkeypatch.setenv("NAPARI_RWKV_SEG_BACKEND", "reference")
    inputs, grad = make("trained", (2, 35, 20))
    leaves = [x.to(dtype).requires_grad_() for x in inputs]
    compiled = torch.compile(bi_wkv, fullgraph=True, backend="aot_eager")
    y = compiled(*leaves)
    torch.testing.assert_close(y, bi_wkv_reference(*leaves))
    got = torch.autograd.grad(y, leaves, grad.to(dtype))
    want = torch.autograd.grad(bi_wkv_reference(*leaves), leaves, grad.to(dtype))
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_nothing_compiles_to_nothing():
    empty = torch.empty(2, 0, 3, dtype=torch.float64)
    compiled = torch.compile(bi_wkv, fullgraph=True, backend="aot_eager")
    assert compiled(torch.ones(3), torch.ones(3), empty, empty).shape == (2, 0, 3)


def test_shapes_can_be_had_without_data():
    inputs, _ = make("trained", (2, 35, 20))
    y = bi_wkv(*(x.to("meta") for x in inputs))
    assert (y.shape, y.dtype) == ((2, 35, 20), torch.float32)


def test_autocast_computes_in_float32():
    inputs, _ = make("trained", (2, 35, 20))
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = forward(*(x.bfloat16() for x in inputs))
    assert y.dtype == torch.float32


def test_operator_under_autocast_keeps_the_dtype_of_the_values():
    (w, u, k, v), _ = make("trained", (2, 35, 20))
    with torch.autocast("cpu", torch.bfloat16):
        y = bi_wkv(w, u, k.bfloat16(), v)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, bi_wkv_reference(w, u, k.bfloat16(), v), rtol=1e-4, atol=1e-5)


def test_gradients_of_gradients_are_refused_with_the_way_out():
    inputs, _ = make("trained", (1, 7, 3))
    leaves = [x.requires_grad_() for x in inputs]
    (slope,) = torch.autograd.grad(bi_wkv(*leaves).square().sum(), leaves[2], create_graph=True)
    with pytest.raises(RuntimeError, match="bi_wkv_reference"):
        slope.sum().backward()


def test_only_the_gradients_that_are_wanted_are_kept():
    w, u, k, v = make("trained", (1, 7, 3))[0]
    v.requires_grad_()
    bi_wkv(w, u, k, v).sum().backward()
    assert v.grad is not None
    assert k.grad is None


class _Seen(TorchDispatchMode):
    """Notes the sizes of what is allocated."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        result = operator(*arguments, **(options or {}))
        if "zeros" in str(operator):
            self.made.append(tuple(result.shape))
        return result


def test_the_backward_pass_makes_no_gradient_of_the_states():
    leaves = [x.requires_grad_() for x in make("trained", (1, 40, 3))[0]]
    y = bi_wkv(*leaves)
    with _Seen() as seen:
        y.sum().backward()
    assert seen.made == []


def test_states_carry_no_gradient():
    leaves = [x.requires_grad_() for x in make("trained", (1, 40, 3))[0]]
    _, states = forward(*leaves)
    found = torch.autograd.grad(states.sum(), leaves, allow_unused=True)
    assert found == (None,) * 4


def test_kernels_refuse_what_they_were_not_made_for():
    w, u, k, v = (x.double() for x in make("trained", (1, 7, 3))[0])
    with pytest.raises(TypeError, match="contiguous float32"):
        forward(w, u, k, v)


def test_backward_refuses_the_states_of_another_call():
    inputs, grad = make("trained", (1, 40, 3))
    y, states = forward(*inputs)
    with pytest.raises(ValueError, match="states of its forward pass"):
        backward(*inputs, y, states[:, :-1], grad)
