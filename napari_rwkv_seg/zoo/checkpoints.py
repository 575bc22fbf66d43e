"""Load the authors' checkpoints: find out what they are, and fit them exactly.

A checkpoint is recognised by its names and shapes. What belongs to a head of
another task is left out and said so; everything else must fit the network key by
key. The file itself is read by `checkpoint_files`, which trusts nothing.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_rwkv_seg.errors import MisfitError, ModelError
from napari_rwkv_seg.networks import VRWKV_CONFIGS, VRWKVConfig, build_network

from .checkpoint_files import read_weights_file
from .encoders import ENCODER_FILE, find_encoder, read_encoder
from .recognise import Recognised, recognise
from .store import find_model, read_network
from .unused_weights import Shape
from .weights import TENSOR_LIMIT

_WRAPPERS = ("state_dict", "model", "module")
_PREFIXES = ("module.", "backbone.")
_HEADS = ("head.", "decode_head.", "auxiliary_head.", "neck.", "rpn_head.", "roi_head.")
_MASKED_AUTOENCODER = (  # its decoder, as in He et al. 2022, whose program VRWKV's authors used
    "cls_token",
    "mask_token",
    "decoder_blocks.",
    "decoder_embed.",
    "decoder_norm.",
    "decoder_pos_embed",
    "decoder_pred.",
)
_NAMED = 10  # misfits that a message names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint turned out to be.

    Attributes
    ----------
    network : nn.Module
        With the checkpoint's weights, float32, on the CPU, in eval mode.
    architecture : str
        Which of `networks.ARCHITECTURES`.
    variant : {'T', 'S', 'B', 'L'}
        Its size.
    notes : tuple of str
        What was left out, filled in or converted, a sentence each.
    config : dict
        What else `networks.build_network` is to be told.
    in_channels : int
        Channels of the image.
    classes : int
        Classes of the logits; 0 for an encoder.
    """

    network: nn.Module
    architecture: str
    variant: str
    notes: tuple[str, ...]
    config: dict[str, str | int | float | bool] = field(default_factory=dict)
    in_channels: int = 3
    classes: int = 0


def load_checkpoint(path: str | Path) -> nn.Module:
    """Return the network in an authors' file or in a model folder, in eval mode; log notes.

    Parameters
    ----------
    path : str or Path
        A file of VRWKV or VRWKV-Adapter, bare or inside a classifier, segmenter or
        masked autoencoder, or of RWKV-UNet, whole or encoder, in its current or
        first release (``.pth``, or the same tensors as ``.safetensors``); or the
        folder of a model or of a pretrained encoder.

    Returns
    -------
    nn.Module
        RWKV-UNet and models return logits; VRWKV a list of its maps after each
        quarter of the blocks (stride 16), VRWKV-Adapter its four maps (strides 4,
        8, 16, 32), RWKV-UNet's encoder its four (strides 2, 4, 8, 16).

    Raises
    ------
    UnreadableFileError
        If the file is missing, not a file, or too large.
    ModelError
        If it is damaged, unsafe, or of another architecture.
    MisfitError
        If it does not fit exactly; the first ten names that do not fit are given, and
        `misfits` holds them all.
    """
    if Path(path).is_dir():
        return _network_of_folder(Path(path))
    checkpoint = read_checkpoint(path)
    for note in checkpoint.notes:
        logger.warning("%s: %s", path, note)
    return checkpoint.network


def _network_of_folder(folder: Path) -> nn.Module:
    if (folder / ENCODER_FILE).is_file():
        return read_encoder(find_encoder(folder))
    return read_network(find_model(folder))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Return the network that an authors' file holds, and what is known about it.

    Raises are those of `load_checkpoint`.
    """
    path = Path(path)
    name = repr(str(path))
    tensors, left_out = _without_heads(_named_tensors(read_weights_file(path), name), name)
    notes = [f"Left out {count} tensors of {head!r}." for head, count in left_out.items()]
    notes += _drop_class_position(tensors, left_out)
    found = recognise(tensors, name)
    if found.architecture == "vrwkv_adapter":
        notes += _fill_layer_scale(tensors, VRWKV_CONFIGS[found.variant])
    notes += _drop_unused(tensors, found.unused, f"{name} looks like {found.title}")
    expected = found.network.state_dict()
    _check_fit(tensors, expected, f"{name} looks like {found.title} but does not fit it")
    notes += _conversion_notes(tensors, expected)
    converted = {key: _converted(tensors[key], expected[key], key, name) for key in expected}
    network = found.network
    if found.classes == 1:
        network, notes = _with_background(found, converted, notes)
    network.to_empty(device="cpu").load_state_dict(converted, strict=True)
    return Checkpoint(
        network=network.eval(),
        architecture=found.architecture,
        variant=found.variant,
        notes=tuple(notes),
        config=found.config,
        in_channels=found.in_channels,
        classes=max(found.classes, 2) if found.classes else 0,
    )


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
        head = next((h for h in (*_HEADS, *_MASKED_AUTOENCODER) if key.startswith(h)), None)
        if head is not None:
            left_out[head] = left_out.get(head, 0) + 1
        elif key in kept:
            raise ModelError(f"{name} holds {key[:80]!r} twice, with and without a prefix.")
        else:
            kept[key] = tensor.detach()
    return kept, left_out


def _drop_class_position(tensors: dict[str, Tensor], left_out: Mapping[str, int]) -> list[str]:
    """Drop the position of a class token that was left out: a masked autoencoder's comes first."""
    positions = tensors.get("pos_embed")
    if "cls_token" not in left_out or positions is None or positions.dim() != 3:
        return []
    if math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]:
        return []
    tensors["pos_embed"] = positions[:, 1:]
    return ["Left out the position of the class token."]


def _drop_unused(tensors: dict[str, Tensor], unused: Mapping[str, Shape], start: str) -> list[str]:
    """Drop what the authors' network holds but never uses; ModelError if its shape is wrong."""
    there = [key for key in unused if key in tensors]
    wrong = [
        f"{key!r} has shape {tuple(tensors[key].shape)} instead of {unused[key]}"
        for key in there
        if tuple(tensors[key].shape) != unused[key]
    ]
    if wrong:
        raise MisfitError(f"{start} but does not fit it: {_first(wrong, str)}.", tuple(wrong))
    for key in there:
        del tensors[key]
    return [f"Left out {len(there)} tensors that the network never uses."] if there else []


def _with_background(
    found: Recognised, weights: dict[str, Tensor], notes: list[str]
) -> tuple[nn.Module, list[str]]:
    """Turn one logit into two, for background and class, which give the same probabilities.

    sigmoid(z) is the second of softmax(0, z). `weights` are changed in place.
    """
    for key in ("final_conv.weight", "final_conv.bias"):
        weights[key] = torch.cat((torch.zeros_like(weights[key]), weights[key]))
    with torch.device("meta"):
        network = build_network(
            found.architecture, found.variant, in_channels=found.in_channels, classes=2
        )
    return network, [*notes, "Turned its one logit into two, background first."]


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
        raise MisfitError(f"{start}: {_first(misfits, str)}.", tuple(misfits))


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
