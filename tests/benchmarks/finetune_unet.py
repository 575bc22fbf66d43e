"""MONAI's residual U-Net as a model of the package, for benchmarks: random weights, own rate."""

from pathlib import Path

import torch
from monai.networks.nets import UNet
from torch import nn
from torch.nn import functional

from napari_rwkv_seg.networks import registry
from napari_rwkv_seg.networks.view import View
from napari_rwkv_seg.training import heads, preparation
from napari_rwkv_seg.zoo import DEFAULT_MODEL
from napari_rwkv_seg.zoo.store import find_model, write_model

UNET_CHANNELS = (32, 64, 128, 256, 512)
UNET_RATE = 1e-3


class PaddedUNet(nn.Module):
    """MONAI's residual U-Net for images of any size: padded to what its strides divide.

    It sees small images as the networks of the package do: within as much as crops show.
    """

    def __init__(self, in_channels: int, classes: int, view: View) -> None:
        super().__init__()
        self.view = view
        self.network = UNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=classes,
            channels=UNET_CHANNELS,
            strides=(2, 2, 2, 2),
            num_res_units=2,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.view.show(self._logits, image, in_training=self.training)

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        margin = (0, -width % 16, 0, -height % 16)
        logits = self.network(functional.pad(image, margin, mode="replicate"))
        return logits[:, :, :height, :width].contiguous()


def register_unet() -> None:
    """Let the package build the U-Net, in this process only."""
    registry._BUILDERS["monai_unet"] = lambda _, channels, classes, config: PaddedUNet(
        channels, classes, registry._take_view(dict(config))
    )
    heads._PARTS["PaddedUNet"] = heads.Parts(encoder="none", head="none")


def random_unet(folder: Path, seed: int) -> Path:
    """Write a model folder with a U-Net of random weights that is told of images as ours is."""
    card = find_model(DEFAULT_MODEL).card
    assert card is not None
    card = card.model_copy(
        update={
            "name": "unet",
            "architecture": "monai_unet",
            "variant": "",
            "config": {},
            "untrained": True,
        }
    )
    torch.manual_seed(seed)
    network = registry.build_network("monai_unet", "", in_channels=card.input_channels)
    write_model(folder / "unet", network, card, "random weights")
    return folder / "unet"


class learning_rate:  # noqa: N801 - used like a function
    """Let runs use another learning rate for a while; None leaves the package's own."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate

    def __enter__(self) -> None:
        self._kept = preparation.LEARNING_RATE
        if self._rate is not None:
            preparation.LEARNING_RATE = self._rate

    def __exit__(self, *_: object) -> None:
        preparation.LEARNING_RATE = self._kept
