"""The spatial prior: the convolutional stem that stands beside the tokens of VRWKV-Adapter.

ViT-Adapter, figure 4 (c) (Chen et al. 2023, arXiv 2205.08534). Maps are (B, C, H, W).
"""

import torch
from torch import Tensor, nn

from .folding import normed_convolution, norms_can_be_folded

_PRIOR_CHANNELS = 64


class ConvNormActs(nn.Sequential):
    """Convolutions, each followed by batch norm, and what else; as `nn.Sequential`, but faster.

    In evaluation without gradients the norm's scale and shift go into the convolution, which
    then needs neither a pass nor an array for the norm.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Run on maps (B, C, H, W)."""
        if not norms_can_be_folded(*(one for one in self if isinstance(one, nn.BatchNorm2d))):
            whole: Tensor = super().forward(maps)  # type: ignore[no-untyped-call]
            return whole
        layers = list(self)
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                maps = normed_convolution(layer, following, maps)
            elif not isinstance(layer, nn.BatchNorm2d):
                maps = layer(maps)
        return maps


class SpatialPrior(nn.Module):
    """The convolutional stem: maps of strides 4, 8, 16 and 32, all of `channels` channels."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        wide = _PRIOR_CHANNELS
        self.stem = ConvNormActs(
            *_conv_norm_act(in_channels, wide, stride=2),
            *_conv_norm_act(wide, wide, stride=1),
            *_conv_norm_act(wide, wide, stride=1),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.conv2 = ConvNormActs(*_conv_norm_act(wide, 2 * wide, stride=2))
        self.conv3 = ConvNormActs(*_conv_norm_act(2 * wide, 4 * wide, stride=2))
        self.conv4 = ConvNormActs(*_conv_norm_act(4 * wide, 4 * wide, stride=2))
        self.fc1 = nn.Conv2d(wide, channels, 1)
        self.fc2 = nn.Conv2d(2 * wide, channels, 1)
        self.fc3 = nn.Conv2d(4 * wide, channels, 1)
        self.fc4 = nn.Conv2d(4 * wide, channels, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return four maps (B, C, H / s, W / s), s = 4, 8, 16, 32, of an image (B, in, H, W)."""
        if image.device.type == "cpu":  # there, pooling and sums of maps are faster with C last
            image = image.contiguous(memory_format=torch.channels_last)
        c1 = self.stem(image)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return self.fc1(c1), self.fc2(c2), self.fc3(c3), self.fc4(c4)


def _conv_norm_act(inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
