"""Which code runs the operator on a tensor, and why it is not a faster one.

Three backends: `cuda` (kernels that are compiled on the device's machine), `cpu` (the
compiled library) and `reference` (plain PyTorch, on any device). A fallback has its reason in words
for the dock and `doctor`; the environment variable NAPARI_RWKV_SEG_BACKEND asks
for one backend, and then what cannot be had is an error. No tensor is ever moved.

Inside a transform of `torch.func` everything runs in plain PyTorch: it sees through that alone.
"""

import os
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from napari_rwkv_seg.errors import DeviceError, SettingsError

from . import _cuda, _library

BACKENDS = ("cuda", "cpu", "reference")
VARIABLE = "NAPARI_RWKV_SEG_BACKEND"
_PLAIN = "WKV runs in plain PyTorch, which is many times slower."


@dataclass(frozen=True)
class BackendStatus:
    """What runs Bi-WKV in this installation, for `doctor` and the dock.

    Attributes
    ----------
    backend : str
        One of `BACKENDS`.
    reason : str
        A sentence that says why it is not a faster one; empty if there is nothing to say.
    library : str or None
        Path of the compiled library, if it can be used.
    instruction_set : str or None
        Which of its kernels this machine runs.
    threads : int
        Most threads that a call uses.
    """

    backend: str
    reason: str
    library: str | None
    instruction_set: str | None
    threads: int


def choose(tensor: Tensor) -> tuple[str, str]:
    """Return the backend for a tensor, and a sentence if it is a fallback.

    Parameters
    ----------
    tensor : Tensor
        Keys or values; only its device and dtype count.

    Returns
    -------
    backend : str
        One of `BACKENDS`.
    reason : str
        Empty if the best backend for the device runs.

    Raises
    ------
    DeviceError
        If NAPARI_RWKV_SEG_BACKEND asks for a backend that cannot run this tensor.
    SettingsError
        If it names none.
    """
    backend, reason = choose_for(tensor.device, tensor.dtype)
    return backend, reason


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def choose_for(device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """Return what `choose` returns for a device and a dtype: a constant while compiling."""
    wish = os.environ.get(VARIABLE, "")
    if wish and wish not in BACKENDS:
        raise SettingsError(
            f"{VARIABLE} is {wish!r}; it can be {', '.join(BACKENDS)}, or be left unset."
        )
    if wish == "reference":
        return "reference", f"{VARIABLE} asks for the reference: {_PLAIN}"
    obstacle = _obstacle(device, dtype)
    backend = "reference" if obstacle else device.type
    if wish and wish != backend:
        why = obstacle or f"the tensor is not on a {wish.upper()} device."
        raise DeviceError(
            f"{VARIABLE} asks for {wish!r}, which cannot run a tensor on {device.type!r}: {why} "
            f"Unset it to use {backend!r}."
        )
    return backend, f"{obstacle} {_PLAIN}" if obstacle else ""


def backend_status() -> BackendStatus:
    """Return what runs the operator here, on the device that a network would choose.

    Raises
    ------
    DeviceError, SettingsError
        As `choose`.
    """
    has_cuda = torch.cuda.is_available()
    device = torch.device("cuda" if has_cuda else "cpu")
    backend, reason = choose_for(device, torch.float32)
    if backend == "cpu":
        reason = "No CUDA device found."
    library = _library.load()
    usable = library.path if library.functions is not None else None
    return BackendStatus(
        backend, reason, usable, _library.instruction_set(), torch.get_num_threads()
    )


# No public function says it; a torch without this one has transforms that fail by themselves.
_transform_level = getattr(torch._C._functorch, "maybe_current_level", lambda: None)


def is_transformed() -> bool:
    """Return whether a transform of `torch.func` is at work, or a level of dual numbers.

    `torch.autograd.forward_ad` and `jacobian(strategy="forward-mode")` make dual numbers,
    whose tangents a compiled kernel would drop.
    """
    return _transform_level() is not None or getattr(forward_ad, "_current_level", -1) >= 0


def _obstacle(device: torch.device, dtype: torch.dtype) -> str:
    """Return why the compiled kernels cannot run, in a sentence; empty if they can."""
    if is_transformed():
        return "Transforms of torch.func and dual numbers cannot see into compiled kernels."
    if device.type not in ("cpu", "cuda"):
        return f"There are no kernels for {device.type!r} devices."
    if dtype == torch.float64:
        return "The compiled kernels compute in float32, and the tensor is float64."
    if device.type == "cuda":
        return _cuda.obstacle(device, dtype)
    problem = _library.load().problem
    return f"No compiled kernels in this installation ({problem})." if problem else ""
