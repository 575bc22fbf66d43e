"""Weights as bytes: packed for a model folder, and checked before a tensor exists.

A weights file is a safetensors file: eight bytes with the length of a JSON
header, the header, the numbers. It is read into memory once; what was hashed is
what is loaded. Sizes, names, shapes and dtypes must be exactly those of the
network that the card names, and every number must be finite.
"""

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE = "weights.safetensors"
WEIGHTS_LIMIT = 1_000_000_000  # bytes
ENCODER_LIMIT = 2_000_000_000  # bytes; VRWKV-L has 1.3 GB in full precision
HEADER_LIMIT = 1_000_000  # bytes; 5 000 tensors need about half of it
TENSOR_LIMIT = 5_000

_FLOATS = {"F16", "BF16", "F32", "F64"}


def pack_weights(network: "nn.Module", *, half: bool = True) -> bytes:
    """Return the state of a network as safetensors.

    Parameters
    ----------
    network : nn.Module
        Its parameters and buffers are packed.
    half : bool
        Store floats in half precision where they fit; else as they are.

    Raises
    ------
    ModelError
        If a number is NaN or infinite.
    """
    from safetensors.torch import save

    return bytes(save(packed_state(network, half=half)))


def packed_state(network: "nn.Module", *, half: bool = True) -> "dict[str, Tensor]":
    """Return copies of the tensors of a network on the CPU, as `pack_weights` writes them.

    Raises
    ------
    ModelError
        If a number is NaN or infinite.
    """
    return {name: _packed(name, tensor, half) for name, tensor in network.state_dict().items()}


def _packed(name: str, tensor: "Tensor", half: bool) -> "Tensor":
    """Return a copy of `tensor` on the CPU, in half precision if that loses no more than usual."""
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor.clone().contiguous()
    if not tensor.isfinite().all():
        raise ModelError(
            f"Weight {name!r} holds NaN or infinite values; the model was not written."
        )
    kept = tensor.half() if half and _fits_half(tensor) else tensor.float()
    return kept.clone().contiguous()


def _fits_half(tensor: "Tensor") -> bool:
    """Tell whether half precision neither overflows nor rounds tiny numbers away.

    The bigger VRWKVs have layer scales around 1e-5, where halves are coarse.
    """
    rounded = tensor.half().float()
    if not rounded.isfinite().all():
        return False
    return bool((rounded - tensor).norm() <= 1e-3 * tensor.norm())


def digest(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def load_weights(network: "nn.Module", content: bytes) -> tuple[str, ...]:
    """Put the weights in `content` into `network`, and return notes for the user.

    Parameters
    ----------
    network : nn.Module
        Of the architecture that the weights are for.
    content : bytes
        A whole safetensors file.

    Returns
    -------
    tuple of str
        A sentence for everything that works but is unusual.

    Raises
    ------
    ModelError
        If the bytes are no safetensors file, or do not hold exactly the weights of
        this network, all finite; the text names the first difference.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    header = read_header(content)
    _check_manifest(header, network.state_dict())
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ModelError(f"The weights are damaged ({error}).") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"Weight {name!r} holds NaN or infinite values.")
    network.load_state_dict(tensors, strict=True)
    return _notes(header, network)


def read_header(content: bytes) -> dict[str, dict[str, Any]]:
    """Return the header of a safetensors file: dtype, shape and place of every tensor.

    Raises
    ------
    ModelError
        If there is none, it is larger than is sensible, or it does not fit the file.
    """
    if len(content) < 8:
        raise ModelError(f"The weights are cut short: the file holds {len(content)} bytes.")
    length = int.from_bytes(content[:8], "little")
    if length > HEADER_LIMIT:
        raise ModelError(
            "The weights are no safetensors file (or one with an oversized header); "
            "perhaps a download failed."
        )
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The weights have a damaged header ({error}).") from error
    if not isinstance(header, dict):
        raise ModelError("The weights have a damaged header (no table of tensors).")
    header.pop("__metadata__", None)
    if len(header) > TENSOR_LIMIT:
        raise ModelError(
            f"The weights hold {len(header)} tensors; at most {TENSOR_LIMIT} are read."
        )
    _check_sizes(header, len(content) - 8 - length)
    return header


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict; a name may come once."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _check_sizes(header: dict[str, Any], nbytes: int) -> None:
    """Refuse entries that are malformed or reach beyond the file."""
    for name, entry in header.items():
        try:
            shape, (start, end) = entry["shape"], entry["data_offsets"]
            numbers = [*shape, start, end]
            is_fine = isinstance(entry["dtype"], str) and start <= end <= nbytes
            is_fine &= all(type(number) is int and number >= 0 for number in numbers)
            is_fine &= math.prod(shape) <= end - start
        except (TypeError, KeyError, ValueError):
            is_fine = False
        if not is_fine:
            raise ModelError(
                f"The weights are damaged or cut short: tensor {name[:80]!r} does not fit the file."
            )


def _check_manifest(header: dict[str, dict[str, Any]], state: dict[str, "Tensor"]) -> None:
    """Refuse weights whose names, shapes or dtypes are not those of the network."""
    missing = [name for name in state if name not in header]
    extra = [name for name in header if name not in state]
    if missing or extra:
        lacks = f"{len(missing)} are missing (first {missing[0]!r})" if missing else ""
        surplus = f"{len(extra)} do not belong (first {extra[0][:80]!r})" if extra else ""
        known = len(state) - len(missing)
        raise ModelError(
            "The weights are not those of this architecture: "
            f"{' and '.join(filter(None, (lacks, surplus)))}; {known} of {len(state)} names fit."
        )
    for name, tensor in state.items():
        shape, dtype = header[name]["shape"], header[name]["dtype"]
        if shape != list(tensor.shape):
            raise ModelError(
                f"The weights are of another size: {name!r} has shape {tuple(shape)}, "
                f"the architecture wants {tuple(tensor.shape)}."
            )
        wanted = _FLOATS if tensor.is_floating_point() else {"I64", "I32", "BOOL", "U8"}
        if dtype not in wanted:
            raise ModelError(
                f"Weight {name!r} has dtype {dtype}, which this architecture cannot use."
            )


def _notes(header: dict[str, dict[str, Any]], network: "nn.Module") -> tuple[str, ...]:
    """Return what is unusual about weights that were loaded."""
    from torch import nn

    notes = []
    unusual = sorted({entry["dtype"] for entry in header.values()} & {"BF16", "F64"})
    if unusual:
        notes.append(f"The weights were converted from {' and '.join(unusual)} to float32.")
    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    if layers and not layers[-1].weight.any():
        notes.append("The last layer of the network is all zero: the model seems untrained.")
    return tuple(notes)
