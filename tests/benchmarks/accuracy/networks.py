"""The networks of the table, all from random weights and with three input channels.

RWKV networks are the package's own. `monai_unet` is MONAI's residual U-Net, about as
large as Med-URWKV-T. `nnunet` is MONAI's DynUNet with the plan that nnU-Net v2 makes for
2D images (Isensee et al., Nat. Methods 18, 203, 2021): 32 features doubled at every stage up
to 512, 3 × 3 convolutions, two a stage, instance norm, leaky relu, pooled while the
shorter side of the median image stays at 4 pixels or more; without deep supervision and
nnU-Net's own optimiser, because the loss and the schedule are the same for all here.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from napari_rwkv_seg.networks import View, build_network

CHANNELS = 3
UNET_CHANNELS = (42, 84, 168, 336, 672)  # 11.2 M parameters
FEWEST_STAGES, MOST_STAGES = 3, 8
Builder = Callable[[int, int], nn.Module]  # classes, and the shorter side of the median image


class Padded(nn.Module):
    """A network whose strides must divide the image, for images of any size."""

    def __init__(self, network: nn.Module, stride: int) -> None:
        super().__init__()
        self.network, self.stride = network, stride

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        margin = (0, -width % self.stride, 0, -height % self.stride)
        logits = self.network(functional.pad(image, margin, mode="replicate"))
        return logits[:, :, :height, :width].contiguous()


class Framed(nn.Module):
    """A network that is shown small images within as much as crops show, as users' models are."""

    def __init__(self, network: nn.Module, least_side: int) -> None:
        super().__init__()
        self.network, self.view = network, View(least_side=least_side)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.view.show(self.network, image, in_training=self.training)


def _monai_unet(classes: int, _: int) -> nn.Module:
    from monai.networks.nets import UNet

    strides = (2,) * (len(UNET_CHANNELS) - 1)
    unet = UNet(2, CHANNELS, classes, UNET_CHANNELS, strides, num_res_units=2)
    return Padded(unet, 2 ** len(strides))


def _nnunet(classes: int, side: int) -> nn.Module:
    from monai.networks.nets import DynUNet

    stages = min(MOST_STAGES, max(FEWEST_STAGES, int(math.log2(max(side, 8) / 4)) + 1))
    strides = [1] + [2] * (stages - 1)
    network = DynUNet(
        spatial_dims=2,
        in_channels=CHANNELS,
        out_channels=classes,
        kernel_size=[3] * stages,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[min(32 * 2**stage, 512) for stage in range(stages)],
        norm_name=("INSTANCE", {"affine": True}),
    )
    return Padded(network, 2 ** (stages - 1))


def _tiny(width: int) -> Builder:
    def build(classes: int, _: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(CHANNELS, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, classes, 1)
        )

    return build


def _ours(architecture: str, variant: str) -> Builder:
    def build(classes: int, _: int) -> nn.Module:
        return build_network(architecture, variant, in_channels=CHANNELS, classes=classes)

    return build


NETWORKS: dict[str, Builder] = {
    "med_urwkv_t": _ours("med_urwkv", "T"),
    "rwkv_unet_t": _ours("rwkv_unet", "T"),
    "rwkv_unet_s": _ours("rwkv_unet", "S"),
    "monai_unet": _monai_unet,
    "nnunet": _nnunet,
}
RWKV = ("med_urwkv_t", "rwkv_unet_t", "rwkv_unet_s")
SMOKE: dict[str, Builder] = {"tiny": _tiny(4), "tinier": _tiny(2)}
ALL = NETWORKS | SMOKE


def parameters(network: nn.Module) -> int:
    """Return how many numbers a network has to learn."""
    return sum(parameter.numel() for parameter in network.parameters())
