"""RWKV-UNet: convolutions, with Bi-WKV where the map is small, in the shape of a U-Net.

RWKV-UNet, figure 1 (Jiang et al. 2025, arXiv 2501.08458). The encoder has a stem
and four stages of GLSP blocks; three of its maps go through the cross-channel mix
to the decoder, whose blocks are convolutions. Maps are (B, C, H, W). Parameters
bear the names of the authors' checkpoints, less those that are never used.

    image        stem    stage 1   stage 2   stage 3   stage 4
    stride        1         2         4         8        16
                            |         |         |         |
                           (------- mix --------)         |
                            |         |         |         |
    logits 1 <- decoder 4 <-+- dec. 3 +- dec. 2 +- dec. 1 +
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .rwkv_unet_blocks import CrossChannelMix, GLSPBlock, UpBlock
from .view import AS_IT_IS, View

STEM_CHANNELS = 24
STEM_HIDDEN = 3  # whatever the image has: only the first weight depends on its channels
_STRIDE = 16


@dataclass(frozen=True)
class RWKVUNetConfig:
    """What distinguishes the published RWKV-UNets.

    Attributes
    ----------
    depths : four ints
        Blocks of each stage.
    widths : four ints
        Channels of each stage.
    expansions : four floats
        Hidden channels of a block, relative to the channels that it is given;
        twice as many in the first block of a stage.
    """

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    expansions: tuple[float, float, float, float]


RWKV_UNET_CONFIGS = {
    "T": RWKVUNetConfig((2, 2, 4, 2), (32, 48, 96, 160), (2, 2.5, 3, 3.5)),
    "S": RWKVUNetConfig((3, 3, 6, 3), (32, 64, 128, 192), (2, 2.5, 3, 4)),
    "B": RWKVUNetConfig((3, 3, 6, 3), (48, 72, 144, 240), (2, 2.5, 4, 4)),
}


class RWKVUNetEncoder(nn.Module):
    """The encoder; returns maps of strides 2, 4, 8 and 16.

    Parameters
    ----------
    config : RWKVUNetConfig
        Which one; `RWKV_UNET_CONFIGS` holds the published ones.
    in_channels : int
        Channels of the image.
    """

    def __init__(self, config: RWKVUNetConfig, in_channels: int = 3) -> None:
        super().__init__()
        stem = GLSPBlock(in_channels, STEM_CHANNELS, hidden=STEM_HIDDEN, norm="none", gate=True)
        self.stage0 = nn.Sequential(stem)
        inputs = (STEM_CHANNELS, *config.widths)
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            _stage(inputs[i], inputs[i + 1], config.depths[i], config.expansions[i], fine=i < 2)
            for i in range(4)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return maps (B, widths[i], H / s, W / s), s = 2, 4, 8, 16, rounded up."""
        if image.device.type == "cpu":  # there, depthwise filters are several times as fast so
            image = image.contiguous(memory_format=torch.channels_last)
        maps = [self.stage0(image)]
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
            maps.append(stage(maps[-1]))
        return maps[1:]


def _stage(inputs: int, outputs: int, depth: int, expansion: float, *, fine: bool) -> nn.Sequential:
    """Make a stage: a block that halves the size, then blocks that keep it.

    Where the map is large (`fine`), no block attends to all of it, and norms are
    over the batch. The first block never attends.
    """
    first = GLSPBlock(
        inputs,
        outputs,
        hidden=int(inputs * 2 * expansion),
        stride=2,
        norm="batch" if fine else "layer",
    )
    rest = (
        GLSPBlock(
            outputs,
            outputs,
            hidden=int(outputs * expansion),
            norm="batch" if fine else "layer",
            attention=not fine,
        )
        for _ in range(depth - 1)
    )
    return nn.Sequential(first, *rest)


class RWKVUNet(nn.Module):
    """The whole segmentation network.

    Parameters
    ----------
    variant : {'T', 'S', 'B'}
        Which of `RWKV_UNET_CONFIGS`.
    in_channels : int
        Channels of the image.
    classes : int
        Classes of the logits, background included.
    view : View, optional
        How it sees images, such as enlarged for objects of few pixels.

    Raises
    ------
    ValueError
        If there is no such variant.
    """

    def __init__(
        self,
        variant: str = "T",
        in_channels: int = 3,
        classes: int = 2,
        view: View = AS_IT_IS,
    ) -> None:
        super().__init__()
        self.view = view
        config = rwkv_unet_config(variant)
        one, two, three, four = config.widths
        self.encoder = RWKVUNetEncoder(config, in_channels)
        self.ccm = CrossChannelMix((three, two, one), one)
        self.decoder1 = UpBlock(four, three)
        self.decoder2 = UpBlock(2 * three, two)
        self.decoder3 = UpBlock(2 * two, one)
        self.decoder4 = UpBlock(2 * one, STEM_CHANNELS)
        self.final_conv = nn.Conv2d(STEM_CHANNELS, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, classes, H, W) of an image (B, in_channels, H, W), any H, W >= 1.

        The image is continued on its right and lower side by its last pixels,
        up to multiples of 16; the logits of that margin are cut off.
        """
        return self.view.show(self._logits, image, in_training=self.training)

    def _logits(self, image: Tensor) -> Tensor:
        """Return logits (B, classes, H, W) of what the encoder is to see."""
        height, width = image.shape[-2:]
        margin = (0, -width % _STRIDE, 0, -height % _STRIDE)
        one, two, three, four = self.encoder(functional.pad(image, margin, mode="replicate"))
        skips = self.ccm(three, two, one)
        maps = self.decoder1(four)
        for block, skip in zip((self.decoder2, self.decoder3, self.decoder4), skips, strict=True):
            maps = block(torch.cat((maps, skip), 1))
        logits: Tensor = self.final_conv(maps)
        return logits[:, :, :height, :width].contiguous()


def rwkv_unet_config(variant: str) -> RWKVUNetConfig:
    """Return what a variant consists of; ValueError if there is no such variant."""
    if variant not in RWKV_UNET_CONFIGS:
        raise ValueError(f"RWKV-UNet comes as {_listed(RWKV_UNET_CONFIGS)}, got {variant!r}.")
    return RWKV_UNET_CONFIGS[variant]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
