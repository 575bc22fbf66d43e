"""How much of a network is trained: the head, the decoder too, or everything.

The encoder learns the more slowly the nearer a layer is to the image (layer-wise
learning-rate decay; Clark et al., ELECTRA, ICLR 2020; Bao et al., BEiT, ICLR
2022): what is common to all images is kept, what is special is learnt.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

from torch import nn

from .heads import network_parts

Depth = Literal["head", "decoder", "everything"]

LAYER_DECAY = 0.75
_STAGES = 4  # of an encoder; a VRWKV has a quarter of its blocks in each
_FEW_PIXELS = 500  # about three small cells
_SOME_PIXELS = 4_000


def choose_depth(labelled_pixels: int, device: str, is_random: bool) -> Depth:
    """Return what to train unless the user says so.

    The fewer pixels there are to learn from, the fewer weights they can set without
    being learnt by heart; and on a CPU the time counts as well: a step of Med-URWKV-T
    on 150 000 pixels takes 0.12 s for the head, 0.2 s for head and decoder and 0.4 s
    for everything (2 cores, bfloat16). A GPU has the time, so there everything is trained
    from fewer pixels on. The limits are judgement: they were not searched for.

    Parameters
    ----------
    labelled_pixels : int
        Checked pixels of the training part that are not background.
    device : str
        Such as "cpu" or "cuda".
    is_random : bool
        Whether the encoder was never trained: then nothing that it knows can be spoilt, and
        what it makes of an image is worth nothing until it learns.
    """
    if is_random:
        return "everything"
    if labelled_pixels < _FEW_PIXELS:
        return "head"
    some = _SOME_PIXELS if device.startswith("cpu") else _SOME_PIXELS // 2
    return "decoder" if labelled_pixels < some else "everything"


def parameter_groups(
    network: nn.Module,
    depth: Depth,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = LAYER_DECAY,
) -> list[dict[str, Any]]:
    """Return groups of parameters for AdamW, and freeze what is not in them.

    Parameters
    ----------
    network : nn.Module
        Of an architecture of the registry; `requires_grad` of its parameters is set.
    depth : {'head', 'decoder', 'everything'}
        What to train.
    learning_rate, weight_decay : float
        Of head and decoder; vectors and scalars never decay.
    layer_decay : float
        Each stage of the encoder learns at this rate times that of the next one; 1 for an
        encoder of random weights, which has nothing to keep.

    Returns
    -------
    list of dict
        Each with params, lr, weight_decay and lr_scale, the part of the learning rate.

    Raises
    ------
    ModelError
        If the network is of no architecture that segments.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    scales = dict(_scales(network, depth, layer_decay))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in scales)
        if name in scales:
            groups.setdefault((scales[name], parameter.squeeze().ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * scale,
            "weight_decay": weight_decay if is_matrix else 0.0,
            "lr_scale": scale,
        }
        for (scale, is_matrix), parameters in groups.items()
    ]


def set_training(network: nn.Module) -> None:
    """Put a network in training mode, but what is frozen as a whole in eval mode.

    So the statistics of frozen batch norms stay as they are. Call it wherever
    `network.train()` would be called.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _scales(network: nn.Module, depth: Depth, layer_decay: float) -> Iterator[tuple[str, float]]:
    """Yield the parameters to train, each with its part of the learning rate."""
    parts = network_parts(network)
    for name, _ in network.named_parameters():
        if name.startswith(f"{parts.head}."):
            yield name, 1.0
        elif name.startswith(f"{parts.encoder}."):
            if depth == "everything":
                encoder = network.get_submodule(parts.encoder)
                yield (
                    name,
                    layer_decay ** _distance(name.removeprefix(f"{parts.encoder}."), encoder),
                )
        elif depth != "head":
            yield name, 1.0


def _distance(name: str, encoder: nn.Module) -> int:
    """Return how many stages lie between a parameter of an encoder and the decoder, from 1."""
    if found := re.match(r"layers\.(\d+)\.", name):  # the blocks of a VRWKV
        count = len(list(encoder.get_submodule("layers").children()))
        return _STAGES - int(found[1]) * _STAGES // count
    if found := re.match(r"interactions\.(\d+)\.", name):  # of its adapter, one a stage
        return _STAGES - int(found[1])
    if found := re.match(r"stage(\d+)\.", name):  # of RWKV-UNet, 0 is the stem
        return _STAGES + 1 - int(found[1])
    return 1 if re.match(r"(norm|up|ln)\d*\.", name) else _STAGES + 1
