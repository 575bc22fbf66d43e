"""On what a run computes: device, number format, company, and how to need less memory."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
import torch.distributed
from lightning_fabric import Fabric
from torch import nn
from torch.utils.checkpoint import checkpoint

from napari_rwkv_seg.inference.loading import choose_device

from .run_settings import RunSettings
from .torchrun import is_in_company, sizes


@contextlib.contextmanager
def company(settings: RunSettings) -> Iterator[Fabric]:
    """Hold what `make_fabric` returns, and take leave of the other processes in the end.

    Else threads of the process group may still run while Python shuts down, which now and
    then ended a run that had done all its work with "terminate called".
    """
    try:
        yield make_fabric(settings)
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def make_fabric(settings: RunSettings) -> Fabric:
    """Return the device, the number format and the other processes of a run.

    Under `torchrun` all processes that it started train one network together.

    Raises
    ------
    DeviceError
        If the device is not there.
    """
    device = choose_device(settings.device)
    is_cuda = device.startswith("cuda")
    precision = choose_precision(settings.precision, is_cuda)
    formats: dict[str, Literal["bf16-mixed", "32-true"]] = {"bfloat16": "bf16-mixed"}
    number_format = formats.get(precision, "32-true")
    for name in ("lightning.fabric", "lightning_fabric"):  # it would announce the number format
        logging.getLogger(name).setLevel(logging.WARNING)
    accelerator = "cuda" if is_cuda else "cpu"
    if is_in_company():
        world, local = sizes()
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy="ddp",
            precision=number_format,
        )
        fabric.launch()
        return fabric
    index = int(device.partition(":")[2] or 0)
    return Fabric(
        accelerator=accelerator, devices=[index] if is_cuda else 1, precision=number_format
    )


def choose_precision(wish: str, is_cuda: bool) -> Literal["float32", "bfloat16"]:
    """Return the number format of the layers; loss and weights are always float32.

    "auto" takes bfloat16 only where the hardware computes with it: elsewhere it is slower.
    """
    if wish == "float32":
        return "float32"
    if wish == "bfloat16":
        return "bfloat16"
    is_fast = _has_bfloat16_cuda() if is_cuda else _has_bfloat16_cpu()
    return "bfloat16" if is_fast else "float32"


def _has_bfloat16_cuda() -> bool:
    """Return whether the GPU computes with bfloat16; torch emulates it, slowly, on older ones."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _has_bfloat16_cpu() -> bool:
    """Return whether the processor multiplies matrices of bfloat16 (AVX-512 BF16 or AMX)."""
    about: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(about.get("avx512_bf16") or about.get("amx_bf16"))


class Lightener:
    """Lets a run need less memory, step by step, each time that it ran out.

    Parameters
    ----------
    network : nn.Module
        Its blocks will compute their inputs anew instead of keeping them.
    shrink : callable
        Makes batches smaller; returns a sentence, or "" if they are as small as can be.
    """

    def __init__(self, network: nn.Module, shrink: Callable[[], str]) -> None:
        self._network, self._shrink = network, shrink
        self._is_checkpointing = False

    def __call__(self) -> str:
        """Do the next thing; return what, or "" if there is nothing left."""
        if not self._is_checkpointing:
            self._is_checkpointing = True
            if blocks := checkpoint_blocks(self._network):
                return (
                    f"Not enough memory: {blocks} blocks of the network are now computed twice "
                    "instead of kept, which is slower."
                )
        sentence = self._shrink()
        return f"Not enough memory: {sentence}" if sentence else ""


def checkpoint_blocks(network: nn.Module) -> int:
    """Let the blocks of a network forget what lies between their input and output.

    It is computed anew when the gradients are (Chen et al., arXiv:1604.06174). Blocks
    are what a list of modules holds and has weights. The network's answers stay the same.

    Returns
    -------
    int
        How many blocks.
    """
    blocks = [
        block
        for container in network.modules()
        if isinstance(container, nn.ModuleList)
        for block in container
        if any(parameter.requires_grad for parameter in block.parameters())
    ]
    outer = [
        block
        for block in blocks
        if not any(block in set(other.modules()) - {other} for other in blocks)
    ]
    for block in outer:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(outer)
