"""The linear layer of all tokens: `nn.Linear` with a faster way to compute on CPUs."""

from torch import Tensor, nn

from napari_rwkv_seg.ops import token_linear


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
