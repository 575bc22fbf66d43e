"""What is done to single tokens: `nn.Linear` with a faster way to compute on CPUs, and pieces."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_rwkv_seg.ops import token_linear

_PIECE = 2**19  # numbers made in between per piece, 2 MB: about what the caches of two cores hold


class TokenLinear(nn.Linear):
    """`nn.Linear`, the same weights and results; see `ops.token_linear` for how it differs."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (..., outputs) of tokens (..., inputs)."""
        return token_linear(tokens, self.weight, self.bias)


def linear(inputs: int, outputs: int, *, bias: bool = False) -> TokenLinear:
    """Make a linear layer with weights from a truncated normal of standard deviation 0.02."""
    layer = TokenLinear(inputs, outputs, bias=bias)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def in_pieces(function: Callable[[Tensor], Tensor], tokens: Tensor, width: int) -> Tensor:
    """Return ``function(tokens)``, of single tokens, without ever making all that lies between.

    New memory costs page faults, and memory that leaves the cache costs bandwidth. Only on
    CPUs and without gradients, which need what lies between; else it is one call.

    Parameters
    ----------
    function : callable
        From tokens (B, T, C) to (B, T, ...), each from itself alone.
    tokens : Tensor, shape (B, T, C)
        What it is given.
    width : int
        Numbers per token that it makes on the way.
    """
    rows = max(_PIECE // width, 1)
    batch, count, channels = tokens.shape
    is_plain = torch.is_grad_enabled() or torch.compiler.is_compiling()
    if is_plain or tokens.device.type != "cpu" or batch * count <= 2 * rows:
        return function(tokens)
    pieces = torch.split(tokens.reshape(1, batch * count, channels), rows, 1)
    whole = torch.cat([function(piece) for piece in pieces], 1)
    return whole.reshape(batch, count, *whole.shape[2:])
