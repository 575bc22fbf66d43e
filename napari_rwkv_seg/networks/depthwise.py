"""The depthwise convolution of all networks, as a module."""

from torch import Tensor, nn

from napari_rwkv_seg.ops import depthwise_conv2d


class DepthwiseConv2d(nn.Conv2d):
    """A convolution that filters each channel on its own, padded to keep the size.

    Its parameters are those of `nn.Conv2d` with as many groups as channels.

    Parameters
    ----------
    channels : int
        C, in and out.
    side : int
        Of the kernel in pixels, odd.
    stride : int
        Step in pixels; n pixels become ceil(n / stride).
    bias : bool
        Whether a number for each channel is added.
    """

    def __init__(self, channels: int, side: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__(channels, channels, side, stride, side // 2, groups=channels, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Filter maps (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        return depthwise_conv2d(maps, self.weight, self.bias, self.stride[0])
