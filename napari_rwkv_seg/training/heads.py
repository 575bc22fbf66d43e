"""Give a network other classes: the layer that makes the logits grows or shrinks.

Where the parts of a network are is written down here for every architecture
that segments; `tests/training/test_heads.py` checks it against the registry.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.zoo.card import ClassCard

_NEW_CLASS_BIAS = -4.0  # below the least likely old class: a new class is first to be learnt


@dataclass(frozen=True)
class Parts:
    """Names of the modules of a network.

    Parameters
    ----------
    encoder : str
        What may be pretrained; all the rest but the head is the decoder.
    head : str
        The linear layer or convolution that makes the logits, or a module with only one such.
    """

    encoder: str = "encoder"
    head: str = "head"


_PARTS = {"MedURWKV": Parts(), "RWKVUNet": Parts(head="final_conv")}


def network_parts(network: nn.Module) -> Parts:
    """Return where the parts of a network are.

    Raises
    ------
    ModelError
        If the network is of no architecture that segments.
    """
    name = type(network).__name__
    if name not in _PARTS:
        raise ModelError(
            f"A network of kind {name} cannot be fine-tuned: it has no layer that makes classes. "
            f"Choose a model of one of these: {', '.join(_PARTS)}."
        )
    return _PARTS[name]


def network_for_classes(
    network: nn.Module, old: Sequence[ClassCard], new: Sequence[ClassCard]
) -> nn.Module:
    """Return a copy of a network for other classes; `network` is not changed.

    A class that is kept, by its name, keeps its weights, so its logits are the
    same as before; a new one starts with small weights and an unlikely bias.

    Parameters
    ----------
    network : nn.Module
        Of an architecture of the registry; logits (B, len(old), Y, X).
    old, new : sequence of ClassCard
        Its classes now, and those wanted, the background first. The two
        backgrounds are the same whatever they are called.

    Raises
    ------
    ModelError
        If the network's head is unknown or does not have len(old) outputs.
    """
    network = copy.deepcopy(network)
    sources = _sources(old, new)
    if sources == list(range(len(old))):
        return network
    name = network_parts(network).head
    path, layer = _head_layer(network, name, len(old))
    parent, _, last = path.rpartition(".")
    setattr(network.get_submodule(parent), last, _resized(layer, sources))
    return network


def _sources(old: Sequence[ClassCard], new: Sequence[ClassCard]) -> list[int | None]:
    """Return for each new class the number of the old one that it is, or None."""
    numbers = {each.name: number for number, each in enumerate(old) if number}
    return [0, *(numbers.get(each.name) for each in new[1:])]


def _head_layer(network: nn.Module, name: str, classes: int) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return path and module of the layer that makes the logits."""
    found = [
        (f"{name}.{inner}" if inner else name, module)
        for inner, module in network.get_submodule(name).named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    if len(found) != 1 or found[0][1].weight.shape[0] != classes:
        raise ModelError(
            f"The head of this {type(network).__name__} does not have one layer with "
            f"{classes} outputs, one a class; get the model again."
        )
    return found[0]


@torch.no_grad()
def _resized(layer: nn.Linear | nn.Conv2d, sources: Sequence[int | None]) -> nn.Linear | nn.Conv2d:
    """Return a layer whose outputs are those of `layer` at `sources`, or new ones."""
    resized = copy.deepcopy(layer)
    resized.weight = nn.Parameter(_rows(layer.weight, sources))
    if layer.bias is not None:
        unlikely = float(layer.bias.min()) + _NEW_CLASS_BIAS
        bias = [unlikely if source is None else float(layer.bias[source]) for source in sources]
        resized.bias = nn.Parameter(layer.bias.new_tensor(bias))
    if isinstance(resized, nn.Linear):
        resized.out_features = len(sources)
    else:
        resized.out_channels = len(sources)
    return resized


def _rows(weight: Tensor, sources: Sequence[int | None]) -> Tensor:
    """Return rows of `weight` (K, ...), small random ones where there is no source."""
    small = 0.1 * weight.std(correction=0)
    fresh = torch.randn(len(sources), *weight.shape[1:]).to(weight) * small
    for place, source in enumerate(sources):
        if source is not None:
            fresh[place] = weight[source]
    return fresh
