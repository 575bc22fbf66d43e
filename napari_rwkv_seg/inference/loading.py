"""A model ready to run: its network on a device, and which WKV code serves it.

torch is imported only when a model is loaded.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rwkv_seg.errors import DeviceError, ModelError
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model, read_network_with_notes

from .settings import Views, check_views, views_note

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
    views : 1, 4 or 8
        How often it looks at each tile: as it is, mirrored as well (4), and turned as well (8);
        of the probabilities the mean is taken. So many times the work.
    """

    card: ModelCard
    network: "nn.Module"
    device: str
    folder: Path
    notes: tuple[str, ...] = ()
    backend: str = ""
    backend_reason: str = ""
    views: Views = 1


def load_model(
    name_or_folder: str | Path = DEFAULT_MODEL, device: str = "auto", views: Views = 1
) -> Model:
    """Load a model.

    Parameters
    ----------
    name_or_folder : str or Path
        A name from `list_models`, or a model folder.
    device : str
        "auto" takes CUDA if there is a CUDA device, else the CPU; any other is taken literally.
    views : 1, 4 or 8
        How often the model looks at each tile; see `Model` and `with_views`.

    Raises
    ------
    ModelError
        If there is no such model or it cannot be used.
    DeviceError
        If the device is not there.
    SettingsError
        If `views` is another number.
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
    model = Model(
        card=entry.card,
        network=network.to(chosen),
        device=chosen,
        folder=entry.folder,
        notes=notes,
        backend=backend,
        backend_reason=reason,
    )
    return with_views(model, views)


def with_views(model: Model, views: Views) -> Model:
    """Return a model that looks at each tile so often; with a note, once if sides matter to it.

    Raises
    ------
    SettingsError
        If `views` is no such number.
    """
    check_views(views)
    if note := views_note(model.card, views):
        others = [one for one in model.notes if one != note]  # it may have been asked before
        return replace(model, views=1, notes=(*others, note))
    return replace(model, views=views)


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
