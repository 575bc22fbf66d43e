"""Which network a bag of named tensors is, by its names and shapes alone.

Knows the published VRWKV, VRWKV-Adapter and RWKV-UNet, whole or encoder. The
network is made on the meta device, so that nothing is allocated before every
shape has been compared.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.networks import (
    LARGEST_GRID,
    RWKV_UNET_CONFIGS,
    VRWKV_CONFIGS,
    build_network,
)

from .unused_weights import Shape, unused_weights

TITLES = {
    "vrwkv": "VRWKV",
    "vrwkv_adapter": "VRWKV-Adapter",
    "rwkv_unet": "RWKV-UNet",
    "rwkv_unet_encoder": "RWKV-UNet's encoder",
}
_VRWKV_BY_CHANNELS = {config.channels: variant for variant, config in VRWKV_CONFIGS.items()}
_RWKV_UNET_BY_WIDTH = {config.widths[1]: v for v, config in RWKV_UNET_CONFIGS.items()}
_LARGEST = 64  # image channels; classes below
_MOST_CLASSES = 256


@dataclass(frozen=True)
class Recognised:
    """What named tensors look like.

    Attributes
    ----------
    architecture, variant : str
        As `networks.build_network` takes them.
    config : dict
        What else it takes.
    in_channels : int
        Channels of the image.
    classes : int
        Classes of the logits; 0 for an encoder.
    network : nn.Module
        On the meta device: names and shapes only.
    unused : dict
        Names and shapes of what the authors' files may hold besides.
    """

    architecture: str
    variant: str
    config: dict[str, str | int | float | bool]
    in_channels: int
    classes: int
    network: nn.Module
    unused: dict[str, Shape]

    @property
    def title(self) -> str:
        """Name and size, such as "VRWKV T"."""
        return f"{TITLES[self.architecture]} {self.variant}"


def recognise(tensors: Mapping[str, Tensor], name: str) -> Recognised:
    """Return what `tensors` look like; whether they fit exactly is not looked at.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        By names without the prefixes of training programs.
    name : str
        The file, for the message.

    Raises
    ------
    ModelError
        If it is none of the known networks or sizes; the text says what it holds.
    """
    if any(key.startswith(("encoder.stage", "ccm.")) for key in tensors):
        return _rwkv_unet(tensors, name, "rwkv_unet", "encoder.")
    if any(key.startswith("stage0.") for key in tensors):
        return _rwkv_unet(tensors, name, "rwkv_unet_encoder", "")
    if any(key.startswith(("bottleneck.blocks.", "pyramid.")) for key in tensors):
        raise ModelError(
            f"{name} holds the weights of a Med-URWKV model; "
            "they come with a card: import the model's folder instead."
        )
    if "patch_embed.projection.weight" in tensors and "pos_embed" in tensors:
        return _vrwkv(tensors, name)
    raise ModelError(
        f"{name} is none of {', '.join(TITLES.values())}: it holds {_some_names(tensors)}."
    )


def _vrwkv(tensors: Mapping[str, Tensor], name: str) -> Recognised:
    is_adapter = any(key.startswith(("spm.", "interactions.")) for key in tensors)
    architecture = "vrwkv_adapter" if is_adapter else "vrwkv"
    patches = tensors["patch_embed.projection.weight"].shape
    variant = _variant(_VRWKV_BY_CHANNELS, patches, name, "tokens of", "VRWKV")
    published = VRWKV_CONFIGS[variant].grid
    positions = tensors["pos_embed"].shape
    side = math.isqrt(positions[1]) if len(positions) == 3 else 0
    fits = 0 < side <= LARGEST_GRID and side**2 == positions[1]
    config: dict[str, str | int | float | bool] = {}
    if fits and side != published:
        config["grid"] = side
    return _made(architecture, variant, config, _channels(patches), 0)


def _rwkv_unet(
    tensors: Mapping[str, Tensor], name: str, architecture: str, encoder: str
) -> Recognised:
    width = _shape(tensors, f"{encoder}stage2.0.proj.conv.weight")
    variant = _variant(_RWKV_UNET_BY_WIDTH, width, name, "a second stage of", "RWKV-UNet")
    channels = _channels(_shape(tensors, f"{encoder}stage0.0.conv.conv.weight"))
    classes = 0
    if architecture == "rwkv_unet":
        logits = _shape(tensors, "final_conv.weight")
        classes = min(max(logits[0] if logits else 2, 1), _MOST_CLASSES)
    return _made(architecture, variant, {}, channels, classes)


def _made(
    architecture: str,
    variant: str,
    config: dict[str, str | int | float | bool],
    in_channels: int,
    classes: int,
) -> Recognised:
    with torch.device("meta"):
        network = build_network(
            architecture, variant, in_channels=in_channels, classes=classes, **config
        )
    unused = unused_weights(network) if architecture.startswith("rwkv_unet") else {}
    return Recognised(architecture, variant, config, in_channels, classes, network, unused)


def _shape(tensors: Mapping[str, Tensor], key: str) -> Shape:
    """Return the shape of a tensor, () if it is not there."""
    return tuple(tensors[key].shape) if key in tensors else ()


def _channels(shape: Shape) -> int:
    """Return the image channels of the first convolution; 3 where its shape cannot be right."""
    return shape[1] if len(shape) == 4 and 1 <= shape[1] <= _LARGEST else 3


def _variant(known: Mapping[int, str], shape: Shape, name: str, what: str, title: str) -> str:
    count = shape[0] if shape else 0
    if count not in known:
        sizes = ", ".join(f"{number} ({variant})" for number, variant in known.items())
        raise ModelError(f"{name} has {what} {count} channels; {title} has {sizes}.")
    return known[count]


def _some_names(tensors: Mapping[str, Tensor]) -> str:
    shown = [repr(key[:80]) for key in list(tensors)[:10]]
    more = len(tensors) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
