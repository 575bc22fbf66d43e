"""The linear layer of tokens, and what is done to them in pieces."""

import torch
from torch import nn

from napari_rwkv_seg.networks import linear as under_test
from napari_rwkv_seg.networks.linear import TokenLinear, in_pieces


def test_weights_of_an_ordinary_linear_layer_fit_and_give_its_results():
    ordinary, ours = nn.Linear(5, 3), TokenLinear(5, 3)
    ours.load_state_dict(ordinary.state_dict(), strict=True)
    tokens = torch.randn(2, 7, 5)
    torch.testing.assert_close(ours(tokens), ordinary(tokens))


def counted(calls):
    def double(tokens):
        calls.append(tokens.shape[1])
        return (2 * tokens).unflatten(2, (5, 1))

    return double


def test_pieces_together_are_the_whole(monkeypatch):
    monkeypatch.setattr(under_test, "_PIECE", 40)
    tokens, calls = torch.randn(2, 23, 5), []
    with torch.no_grad():
        doubled = in_pieces(counted(calls), tokens, width=5)
    assert calls == [8, 8, 8, 8, 8, 6]
    assert torch.equal(doubled, (2 * tokens).unflatten(2, (5, 1)))


def test_few_tokens_and_gradients_make_one_piece(monkeypatch):
    tokens, calls = torch.randn(2, 23, 5), []
    with torch.no_grad():
        in_pieces(counted(calls), tokens, width=5)
    monkeypatch.setattr(under_test, "_PIECE", 40)
    in_pieces(counted(calls), tokens, width=5)
    assert calls == [23, 23]
