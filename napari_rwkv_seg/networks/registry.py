"""From the name of an architecture to the network: the one list of what can be built.

A new architecture is one more builder in `_BUILDERS`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import nn

from .med_urwkv import MedURWKV
from .rwkv_unet import RWKVUNet, RWKVUNetEncoder, rwkv_unet_config
from .view import View
from .vrwkv import VRWKV, VRWKV_CONFIGS, VRWKVConfig
from .vrwkv_adapter import VRWKVAdapter

Setting = str | int | float | bool
LARGEST_GRID = 256  # tokens a side of a position embedding: 4096 pixels
LARGEST_FRAME = 512  # pixels a side that a smaller image is mirrored to
LARGEST_ZOOM = 4  # a tile of 512 pixels is then seen as one of 2048


def build_network(
    architecture: str,
    variant: str,
    *,
    in_channels: int = 3,
    classes: int = 2,
    **config: Setting,
) -> nn.Module:
    """Make a network with initial weights.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`.
    variant : str
        Its size, such as 'T'.
    in_channels : int
        Channels of the image.
    classes : int
        Classes of the logits, background included; the encoders have none.
    **config
        What else the architecture can be told: for 'med_urwkv' the encoder,
        ``'adapter'`` or ``'plain'``, and the decoder, ``'taper'``, ``'slim'`` or
        ``'narrow'``; for it and 'rwkv_unet' how many times as large they see images,
        ``zoom``, to which sides smaller images are mirrored, ``least_side``, and whether
        they see images turned by 180 degrees, ``half_turn``; for
        'med_urwkv' and both VRWKVs the side of the position embedding, ``grid``, in
        tokens; nothing for 'rwkv_unet_encoder'.

    Returns
    -------
    nn.Module
        In training mode. Those in `SEGMENTERS` return logits (B, classes, H, W),
        the encoders return lists of feature maps.

    Raises
    ------
    ValueError
        If there is no such architecture, variant or setting; the choices are named.
    """
    if architecture not in _BUILDERS:
        raise ValueError(f"There is no architecture {architecture!r}; known: {_listed(_BUILDERS)}.")
    return _BUILDERS[architecture](variant, in_channels, classes, config)


def _build_med_urwkv(
    variant: str, in_channels: int, classes: int, config: dict[str, Setting]
) -> nn.Module:
    settings = dict(config)
    encoder = str(settings.pop("encoder", "adapter"))
    decoder = str(settings.pop("decoder", "taper"))
    grid = _take_number(settings, "grid", 0, LARGEST_GRID)
    view = _take_view(settings)
    _refuse_settings("med_urwkv", settings)
    return MedURWKV(variant, encoder, in_channels, classes, decoder, grid, view)


def _build_rwkv_unet(
    variant: str, in_channels: int, classes: int, config: dict[str, Setting]
) -> nn.Module:
    settings = dict(config)
    view = _take_view(settings)
    _refuse_settings("rwkv_unet", settings)
    return RWKVUNet(variant, in_channels, classes, view)


def _build_rwkv_unet_encoder(
    variant: str, in_channels: int, _classes: int, config: dict[str, Setting]
) -> nn.Module:
    _refuse_settings("rwkv_unet_encoder", config)
    return RWKVUNetEncoder(rwkv_unet_config(variant), in_channels)


def _build_vrwkv(
    variant: str, in_channels: int, _classes: int, config: dict[str, Setting]
) -> nn.Module:
    return VRWKV(_encoder_config("vrwkv", variant, config), in_channels)


def _build_vrwkv_adapter(
    variant: str, in_channels: int, _classes: int, config: dict[str, Setting]
) -> nn.Module:
    return VRWKVAdapter(_encoder_config("vrwkv_adapter", variant, config), in_channels)


_BUILDERS: dict[str, Callable[[str, int, int, dict[str, Setting]], nn.Module]] = {
    "med_urwkv": _build_med_urwkv,
    "rwkv_unet": _build_rwkv_unet,
    "rwkv_unet_encoder": _build_rwkv_unet_encoder,
    "vrwkv": _build_vrwkv,
    "vrwkv_adapter": _build_vrwkv_adapter,
}
ARCHITECTURES: tuple[str, ...] = tuple(_BUILDERS)
SEGMENTERS = ("med_urwkv", "rwkv_unet")  # the others are encoders


def _encoder_config(architecture: str, variant: str, config: dict[str, Setting]) -> VRWKVConfig:
    if variant not in VRWKV_CONFIGS:
        raise ValueError(f"VRWKV comes as {_listed(VRWKV_CONFIGS)}, got {variant!r}.")
    settings = dict(config)
    grid = _take_number(settings, "grid", 0, LARGEST_GRID)
    _refuse_settings(architecture, settings)
    published = VRWKV_CONFIGS[variant]
    return replace(published, grid=grid or published.grid)


def _take_view(settings: dict[str, Setting]) -> View:
    return View(
        _take_number(settings, "zoom", 1, LARGEST_ZOOM),
        _take_number(settings, "least_side", 1, LARGEST_FRAME),
        _take_bool(settings, "half_turn"),
    )


def _take_number(settings: dict[str, Setting], name: str, usual: int, most: int) -> int:
    """Take a whole number out of the settings; `usual`, the least, if it is not there."""
    number = settings.pop(name, usual)
    if type(number) is not int or not usual <= number <= most:
        raise ValueError(f"The setting {name!r} is a number from 1 to {most}, got {number!r}.")
    return number


def _take_bool(settings: dict[str, Setting], name: str) -> bool:
    """Take a yes or no out of the settings; no if it is not there."""
    value = settings.pop(name, False)
    if type(value) is not bool:
        raise ValueError(f"The setting {name!r} is true or false, got {value!r}.")
    return value


def _refuse_settings(architecture: str, settings: dict[str, Setting]) -> None:
    if settings:
        raise ValueError(f"{architecture!r} has no setting {_listed(settings)}.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
