"""Bi-WKV in standard operations: the definition's numbers, and nothing of ours in its graph."""

import pytest
import torch

from napari_rwkv_seg.ops import bi_wkv, bi_wkv_direct
from napari_rwkv_seg.ops.reference import bi_wkv_standard
from napari_rwkv_seg.ops.standard import DECOMPOSITIONS


def inputs(tokens: int, decay: float) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(42)
    w = torch.linspace(-decay, decay, 5) / tokens
    u = torch.randn(5) / tokens
    return w, u, 3 * torch.randn(2, tokens, 5), torch.randn(2, tokens, 5)


@pytest.mark.parametrize("tokens", [1, 2, 35, 400])
@pytest.mark.parametrize("decay", [0.0, 8.0, 100.0])
def test_it_gives_the_definitions_numbers(tokens, decay):
    w, u, k, v = inputs(tokens, decay)
    want = bi_wkv_direct(*(x.double() for x in (w, u, k, v)))
    got = bi_wkv_standard(w, u, k, v)
    assert got.dtype == torch.float32
    assert float((got - want).norm() / want.norm()) < 1e-6


def test_very_different_keys_do_not_overflow():
    w, u, k, v = inputs(35, 8.0)
    k = k * 200
    want = bi_wkv_direct(*(x.double() for x in (w, u, k, v)))
    torch.testing.assert_close(bi_wkv_standard(w, u, k, v).double(), want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("keys", [3.0, 300.0, 3000.0])
@pytest.mark.parametrize("bonus", [-200.0, 200.0])
def test_it_holds_up_to_a_decay_of_400_whatever_the_keys(keys, bonus):
    w, u, k, v = (x.double() for x in inputs(400, 400.0))
    u, k = u + bonus, k / 3 * keys
    want = bi_wkv_direct(w, u, k, v)
    torch.testing.assert_close(bi_wkv_standard(w, u, k, v), want, rtol=1e-9, atol=1e-9)


class Mixer(torch.nn.Module):
    def forward(self, w, u, k, v):
        return bi_wkv(w, u, k, v)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's exporter about itself
def test_a_graph_decomposed_by_it_holds_no_operator_of_ours():
    arguments = inputs(35, 8.0)
    with torch.no_grad():
        program = torch.export.export(Mixer(), arguments, strict=False)
    before = {str(node.target) for node in program.graph.nodes}
    program = program.run_decompositions(DECOMPOSITIONS)
    after = {str(node.target) for node in program.graph.nodes}
    assert any("napari_rwkv_seg" in name for name in before)
    assert not any("napari_rwkv_seg" in name for name in after)
    torch.testing.assert_close(program.module()(*arguments), Mixer()(*arguments))
