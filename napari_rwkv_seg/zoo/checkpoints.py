"""Load the Vision-RWKV authors' checkpoints: find out what they are, and fit them exactly.

A checkpoint is recognised by its names and shapes. What belongs to a head of
another task is left out and said so; everything else must fit the network key by
key. The file itself is read by `checkpoint_files`, which trusts nothing.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.networks import VRWKV, VRWKV_CONFIGS, VRWKVAdapter, VRWKVConfig

from .checkpoint_files import read_weights_file
from .weights import TENSOR_LIMIT

_WRAPPERS = ("state_dict", "model", "module")
_PREFIXES = ("module.", "backbone.")
_HEADS = ("head.", "decode_head.", "auxiliary_head.", "neck.", "rpn_head.", "roi_head.")
_RWKV_UNET = ("encoder.stage", "stage0.", "ccm.")
_ENCODERS: dict[str, tuple[type[VRWKV | VRWKVAdapter], str]] = {
    "vrwkv": (VRWKV, "VRWKV"),
    "vrwkv_adapter": (VRWKVAdapter, "VRWKV-Adapter"),
}
_VARIANTS = {config.channels: variant for variant, config in VRWKV_CONFIGS.items()}
_LARGEST_GRID = 256  # tokens a side; 4096 pixels
_NAMED = 3  # misfits that a message names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint turned out to be.

    Attributes
    ----------
    network : VRWKV or VRWKVAdapter
        With the checkpoint's weights, float32, on the CPU, in eval mode.
    architecture : {'vrwkv', 'vrwkv_adapter'}
        Which of the two.
    variant : {'T', 'S', 'B', 'L'}
        Its size.
    notes : tuple of str
        What was left out, filled in or converted, a sentence each.
    """

    network: nn.Module
    architecture: str
    variant: str
    notes: tuple[str, ...]


def load_checkpoint(path: str | Path) -> nn.Module:
    """Return the network that an authors' file holds, in eval mode; log what was left out.

    Parameters
    ----------
    path : str or Path
        A VRWKV or VRWKV-Adapter file, bare or inside a classifier or segmenter
        (``.pth``, or the same tensors as ``.safetensors``).

    Returns
    -------
    VRWKV or VRWKVAdapter
        VRWKV returns a list of its maps after each quarter of the blocks (stride
        16), VRWKV-Adapter its four maps (strides 4, 8, 16, 32).

    Raises
    ------
    UnreadableFileError
        If the file is missing, not a file, or too large.
    ModelError
        If it is damaged, unsafe, of another architecture, or does not fit exactly.
    """
    checkpoint = read_checkpoint(path)
    for note in checkpoint.notes:
        logger.warning("%s: %s", path, note)
    return checkpoint.network


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Return what `load_checkpoint` returns, and what is known about it."""
    path = Path(path)
    name = repr(str(path))
    tensors, left_out = _without_heads(_named_tensors(read_weights_file(path), name), name)
    architecture = _recognise(tensors, name)
    variant, config = _size_of(tensors, name)
    notes = [f"Left out {count} tensors of {head!r}." for head, count in left_out.items()]
    if architecture == "vrwkv_adapter":
        notes += _fill_layer_scale(tensors, config)
    encoder, title = _ENCODERS[architecture]
    with torch.device("meta"):  # shapes only: nothing is allocated before they are compared
        network = encoder(config)
    expected = network.state_dict()
    _check_fit(tensors, expected, f"{name} looks like {title} {variant} but does not fit it")
    notes += _conversion_notes(tensors, expected)
    converted = {key: _converted(tensors[key], expected[key], key, name) for key in expected}
    network.to_empty(device="cpu").load_state_dict(converted, strict=True)
    return Checkpoint(network.eval(), architecture, variant, tuple(notes))


def _named_tensors(loaded: Mapping[Any, Any], name: str) -> dict[str, Tensor]:
    """Return the tensors inside the wrappers that training programs put around them."""
    for _ in _WRAPPERS:
        inner = next((loaded[key] for key in _WRAPPERS if key in loaded), None)
        if not isinstance(inner, Mapping):
            break
        loaded = inner
    if not loaded or len(loaded) > TENSOR_LIMIT:
        raise ModelError(f"{name} holds {len(loaded)} named tensors, which is no network of ours.")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelError(f"{name} holds {str(key)[:80]!r}, which is not a named tensor.")
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            raise ModelError(f"{name} holds {key[:80]!r} in a form that is not plain numbers.")
    return dict(loaded)


def _without_heads(
    tensors: Mapping[str, Tensor], name: str
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Strip the prefixes of names; return the encoder's tensors, and how many each head had."""
    kept: dict[str, Tensor] = {}
    left_out: dict[str, int] = {}
    for full_key, tensor in tensors.items():
        key = full_key
        for prefix in _PREFIXES:
            key = key.removeprefix(prefix)
        head = next((head for head in _HEADS if key.startswith(head)), None)
        if head is not None:
            left_out[head] = left_out.get(head, 0) + 1
        elif key in kept:
            raise ModelError(f"{name} holds {key[:80]!r} twice, with and without a prefix.")
        else:
            kept[key] = tensor.detach()
    return kept, left_out


def _recognise(tensors: Mapping[str, Tensor], name: str) -> str:
    """Return the architecture that the names speak of."""
    if any(key.startswith(_RWKV_UNET) for key in tensors):
        raise ModelError(f"{name} is an RWKV-UNet; this version cannot load that network yet.")
    if "patch_embed.projection.weight" not in tensors or "pos_embed" not in tensors:
        raise ModelError(
            f"{name} is neither VRWKV nor VRWKV-Adapter: it holds {_first(tensors, repr)}."
        )
    is_adapter = any(key.startswith(("spm.", "interactions.")) for key in tensors)
    return "vrwkv_adapter" if is_adapter else "vrwkv"


def _size_of(tensors: Mapping[str, Tensor], name: str) -> tuple[str, VRWKVConfig]:
    """Return the variant with as many channels, on the grid that the position embedding has."""
    shape = tensors["patch_embed.projection.weight"].shape
    channels = shape[0] if shape else 0
    if channels not in _VARIANTS:
        known = ", ".join(f"{count} ({variant})" for count, variant in _VARIANTS.items())
        raise ModelError(f"{name} has tokens of {channels} channels; VRWKV has {known}.")
    variant = _VARIANTS[channels]
    config = VRWKV_CONFIGS[variant]
    positions = tensors["pos_embed"].shape
    side = math.isqrt(positions[1]) if len(positions) == 3 else 0
    if 0 < side <= _LARGEST_GRID and side**2 == positions[1]:
        config = replace(config, grid=side)
    return variant, config


def _fill_layer_scale(tensors: dict[str, Tensor], config: VRWKVConfig) -> list[str]:
    """Add layer scales of 1 where the published VRWKV has none, but the adapter around it has."""
    if config.init_values is not None:
        return []
    keys = [f"layers.{index}.gamma{number}" for index in range(config.depth) for number in (1, 2)]
    missing = [key for key in keys if key not in tensors]
    tensors.update({key: torch.ones(config.channels) for key in missing})
    return [f"Set {len(missing)} missing layer scales (gamma) to 1."] if missing else []


def _check_fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], start: str) -> None:
    """Raise ModelError, naming the first misfits, unless names, shapes and kinds are equal."""
    misfits = [f"{key[:80]!r} is missing" for key in expected if key not in tensors]
    for key, tensor in tensors.items():
        if key not in expected:
            misfits.append(f"{key[:80]!r} is unknown")
        elif tensor.shape != expected[key].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[key].shape)
            misfits.append(f"{key!r} has shape {found} instead of {wanted}")
        elif tensor.is_floating_point() != expected[key].is_floating_point():
            misfits.append(f"{key!r} has numbers of type {_type_name(tensor)}")
    if misfits:
        raise ModelError(f"{start}: {_first(misfits, str)}.")


def _conversion_notes(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    types = [_type_name(tensors[key]) for key in expected if tensors[key].is_floating_point()]
    others = sorted(set(types) - {"float32"})
    return [f"Converted {types.count(other)} tensors from {other} to float32." for other in others]


def _converted(tensor: Tensor, like: Tensor, key: str, name: str) -> Tensor:
    """Return the tensor in the network's dtype; ModelError unless all its numbers are finite."""
    converted = tensor.to(like.dtype)
    if not torch.isfinite(converted).all():
        raise ModelError(f"{name} holds numbers in {key!r} that are not finite (NaN or infinite).")
    return converted


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _first(items: Iterable[str], show: Callable[[str], str]) -> str:
    """Join the first few items, and say how many more there are."""
    items = list(items)
    shown = [show(item)[:160] for item in items[:_NAMED]]
    more = len(items) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
