"""The linear layer of all tokens: PyTorch's own is the judge."""

import pytest
import torch
from torch.nn import functional

from napari_rwkv_seg.ops import token_linear
from napari_rwkv_seg.ops.token_linear import _Linear, _suits

LAYOUTS = {
    "contiguous": lambda: torch.randn(2, 7, 5),
    "transposed": lambda: torch.randn(7, 2, 5).transpose(0, 1),
    "channels first": lambda: torch.randn(2, 5, 7).transpose(1, 2),
    "a slice": lambda: torch.randn(2, 7, 10)[..., :5],
    "one token": lambda: torch.randn(1, 1, 5),
    "a vector": lambda: torch.randn(5),
    "nothing": lambda: torch.randn(0, 7, 5),
}


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients_are_pytorchs(layout, has_bias):
    torch.manual_seed(42)
    x, weight = LAYOUTS[layout]().requires_grad_(), torch.randn(3, 5, requires_grad=True)
    inputs = [x, weight, *([torch.randn(3, requires_grad=True)] if has_bias else [])]
    got, want = token_linear(*inputs), functional.linear(*inputs)
    assert got.shape == want.shape
    torch.testing.assert_close(got, want)
    direction = torch.randn_like(want)
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, direction),
        torch.autograd.grad(want, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_gradients_of_gradients_are_pytorchs():
    torch.manual_seed(42)
    x, weight = torch.randn(4, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    seconds = []
    for layer in (token_linear, functional.linear):
        (slope,) = torch.autograd.grad(layer(x, weight).square().sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad(slope.square().sum(), weight)[0])
    torch.testing.assert_close(*seconds)


def test_only_the_gradients_that_are_wanted_are_computed():
    x, weight, bias = torch.randn(4, 5), torch.randn(3, 5), torch.randn(3, requires_grad=True)
    token_linear(x, weight, bias).sum().backward()
    assert bias.grad.tolist() == [4, 4, 4]
    assert x.grad is None
    assert weight.grad is None


def test_autocast_and_other_dtypes_are_left_to_pytorch():
    x, weight = torch.randn(4, 5), torch.randn(3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert token_linear(x, weight).dtype == torch.bfloat16
    assert not _suits(x.double(), weight.double())
    assert token_linear(x.bfloat16(), weight.bfloat16()).dtype == torch.bfloat16


def test_the_reference_is_pytorchs_own(monkeypatch):
    monkeypatch.setenv("NAPARI_RWKV_SEG_BACKEND", "reference")
    assert not _suits(torch.randn(4, 5), torch.randn(3, 5))


def test_compiling_sees_an_ordinary_linear_layer():
    x, weight = torch.randn(4, 5), torch.randn(3, 5)
    seen = []

    def look(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch.compile(token_linear, backend=look, fullgraph=True)(x, weight)
    assert len(seen) == 1
    assert "linear" in seen[0]
    assert "mkldnn" not in seen[0]


def test_shapes_that_do_not_fit_are_an_error():
    with pytest.raises(RuntimeError):
        token_linear(torch.randn(4, 6), torch.randn(3, 5))
    with pytest.raises(RuntimeError):
        _Linear.apply(torch.randn(4, 6), torch.randn(3, 5), None)
