"""A model ready to run: its network on a device, and which WKV code serves it.

torch is imported only when a model is loaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rwkv_seg.errors import DeviceError, ModelError
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model, read_network_with_notes

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Model:
    """A model ready to run.

    Parameters
    ----------
    card : ModelCard
        What the model says of itself.
    network : nn.Module
        Takes float32 (1, C, Y, X), returns logits (1, K, Y, X); in eval mode, on `device`.
    device : str
        Where it runs, such as "cpu" or "cuda".
    folder : Path
        Where it was read from; no longer needed.
    notes : tuple of str
        Sentences for the user about this model on this machine.
    backend, backend_reason : str
        Which WKV code runs, and why it is not a faster one ("" if it is the fastest).
    """

    card: ModelCard
    network: "nn.Module"
    device: str
    folder: Path
    notes: tuple[str, ...] = ()
    backend: str = ""
    backend_reason: str = ""


def load_model(name_or_folder: str | Path = DEFAULT_MODEL, device: str = "auto") -> Model:
    """Load a model.

    Parameters
    ----------
    name_or_folder : str or Path
        A name from `list_models`, or a model folder.
    device : str
        "auto" takes CUDA if there is a CUDA device, else the CPU; any other is taken literally.

    Raises
    ------
    ModelError
        If there is no such model or it cannot be used.
    DeviceError
        If the device is not there.
    """
    import torch

    from napari_rwkv_seg.ops.backends import choose

    chosen = choose_device(device)
    entry = find_model(name_or_folder)
    network, notes = read_network_with_notes(entry)
    if entry.card is None:  # find_model returns usable entries only; this tells the type checker
        raise ModelError(entry.problem)
    backend, reason = choose(torch.empty(1, device=chosen))
    if backend == "reference":
        notes = (*notes, reason)
    return Model(
        card=entry.card,
        network=network.to(chosen),
        device=chosen,
        folder=entry.folder,
        notes=notes,
        backend=backend,
        backend_reason=reason,
    )


def choose_device(device: str = "auto") -> str:
    """Return the device to run on.

    Raises
    ------
    DeviceError
        If `device` is not "auto" and not there; the text names those that are.
    """
    import torch

    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device == "auto":
        return there[min(1, len(there) - 1)]
    if device not in there:
        raise DeviceError(
            f"Device {device!r} is not there. Devices of this machine: {', '.join(there)}."
        )
    return device
