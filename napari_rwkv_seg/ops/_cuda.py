"""Bi-WKV on a CUDA device: from tensors to launches.

The kernels in csrc/cuda are compiled for a device and an element type when they are
first needed, by NVIDIA's run-time compiler, and kept on disk. From then on a call only
makes its outputs and scratch memory through torch and launches on torch's current stream.
"""

import threading
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from napari_rwkv_seg.errors import KernelError

from . import _cuda_driver, _nvrtc
from ._cuda_cache import cached_code
from ._cuda_plan import (
    COMPILE_OPTIONS,
    ELEMENTS,
    HEADERS,
    SOURCE,
    Call,
    Launch,
    backward_plan,
    forward_plan,
    scratch_floats,
    state_rows,
)

DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
"""Element types of k, v and y that the kernels read and write; sums run in float32."""

# The first whose threads of a warp proceed independently. CUDA 13's compiler starts at 75, where
# `_nvrtc` says so; that of CUDA 12 makes code for 70 of the same source.
_OLDEST = 70

_lock = threading.Lock()
_modules: dict[tuple[int, str], _cuda_driver.Module | KernelError] = {}


def obstacle(device: torch.device, dtype: torch.dtype) -> str:
    """Return why the kernels cannot run there, in a sentence; empty if they can.

    The first call for a device and a type compiles and loads them, which can take some seconds.

    Raises
    ------
    KernelError
        If that first call falls into the capture of a CUDA graph: what is captured would
        otherwise stay with the slow form for ever.
    torch.OutOfMemoryError
        If there is no memory to load them; a later call tries again.
    """
    if _key(device, dtype) not in _modules and torch.cuda.is_current_stream_capturing():
        raise KernelError(
            "The CUDA kernels are loaded when bi_wkv runs first, which cannot be captured into "
            "a CUDA graph; call it once on this device and dtype before the capture."
        )
    try:
        _module(device, dtype)
    except KernelError as error:
        return str(error)
    return ""


def forward(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return y (B, T, C) in the dtype of k, and float32 states (B, R, C) for `backward`.

    Parameters
    ----------
    w, u : Tensor
        float32, shape (C,).
    k, v : Tensor
        Of one of `DTYPES`, shape (B, T, C). All are contiguous and on one CUDA device.

    Raises
    ------
    KernelError
        If the kernels cannot be compiled, loaded or launched.
    torch.OutOfMemoryError
        If the device has no memory for that.
    """
    batch, tokens, channels = k.shape
    y = torch.empty_like(k)
    states = new_states(k)
    if k.numel():
        scratch = _new_scratch(k, is_backward=False)
        call = _call(k, w=w, u=u, k=k, v=v, y=y, states=states, scratch=scratch)
        _run(k, forward_plan(batch, tokens, channels), call)
    return y, states


def backward(
    w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, states: Tensor, gy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients by w, u (C,) in float32 and by k, v (B, T, C) in their dtype.

    Takes what `forward` took and returned, and gy (B, T, C) in the dtype of k; raises as it does.
    """
    batch, tokens, channels = k.shape
    dw, du, dk, dv = (torch.empty_like(x) for x in (w, u, k, v))
    if not k.numel():
        return dw.zero_(), du.zero_(), dk, dv
    scratch = _new_scratch(k, is_backward=True)
    given = {"w": w, "u": u, "k": k, "v": v, "y": y, "states": states, "gy": gy}
    call = _call(k, **given, dw=dw, du=du, dk=dk, dv=dv, scratch=scratch)
    _run(k, backward_plan(batch, tokens, channels), call)
    return dw, du, dk, dv


def new_states(k: Tensor) -> Tensor:
    """Return an empty float32 tensor (B, R, C) for what the forward pass keeps."""
    rows = state_rows(k.shape[1])
    return k.new_empty(k.shape[0], rows, k.shape[2], dtype=torch.float32)


def _new_scratch(k: Tensor, *, is_backward: bool) -> Tensor:
    size = scratch_floats(*k.shape, is_backward=is_backward)
    return k.new_empty(max(1, size), dtype=torch.float32)


def _call(like: Tensor, **arrays: Tensor) -> Call:
    """Return the kernels' argument: addresses and sizes."""
    batch, tokens, channels = like.shape
    addresses = {name: x.data_ptr() for name, x in arrays.items()}
    return Call(batch=batch, tokens=tokens, channels=channels, **addresses)


def _run(k: Tensor, plan: tuple[Launch, ...], call: Call) -> None:
    """Launch on torch's current stream of the tensor's device."""
    stream = torch.cuda.current_stream(k.device).cuda_stream
    _cuda_driver.launch(_module(k.device, k.dtype), plan, call, stream)


def _key(device: torch.device, dtype: torch.dtype) -> tuple[int, str]:
    """Return by what the loaded kernels are known: number of the device, and element type."""
    index = torch.cuda.current_device() if device.index is None else device.index
    return index, DTYPES[dtype]


def _module(device: torch.device, dtype: torch.dtype) -> _cuda_driver.Module:
    """Return the loaded kernels; a failure is remembered and raised again."""
    key = _key(device, dtype)
    found = _modules.get(key)
    if found is None:
        with _lock:
            found = _modules.get(key) or _made(*key)
            _modules[key] = found
    if isinstance(found, KernelError):
        raise found
    return found


def _made(device: int, element: str) -> _cuda_driver.Module | KernelError:
    """Compile and load the kernels, or return why that cannot be done."""
    try:
        code = compiled(_architecture(device), element)
        plans = forward_plan(1, 2**20, 1) + backward_plan(1, 2**20, 1)
        return _cuda_driver.load(_cuda_driver.driver(), device, code, plans)
    except KernelError as error:
        return error


def compiled(architecture: int, element: str) -> bytes:
    """Return the kernels' machine code for an architecture (90 is 9.0) and an element type.

    Raises
    ------
    KernelError
        If there is no compiler or no source, or it does not compile.
    """
    if architecture < _OLDEST:
        raise KernelError(
            f"The CUDA kernels need compute capability {_OLDEST / 10}, and this device has "
            f"{architecture / 10}."
        )
    compiler = _nvrtc.find_compiler()
    source, headers = sources()
    options = (*COMPILE_OPTIONS, f"-DRWKV_ELEMENT={ELEMENTS[element]}")
    parts = (source, *headers, *headers.values(), *options)
    facts = (f"nvrtc {compiler.version}", f"sm {architecture}")
    return cached_code(
        parts + facts, lambda: _nvrtc.compile_source(source, headers, options, architecture)
    )


@cache
def sources() -> tuple[str, dict[str, str]]:
    """Return the kernels' source, and its headers by the names under which it includes them.

    Raises
    ------
    KernelError
        If the installation lacks them.
    """
    root = files("napari_rwkv_seg") / "csrc"
    try:
        headers = {
            name.rpartition("/")[2]: root.joinpath(name).read_text(encoding="utf-8")
            for name in HEADERS
        }
        return root.joinpath(SOURCE).read_text(encoding="utf-8"), headers
    except OSError as error:
        raise KernelError(
            f"The CUDA kernels' sources are not in this installation ({error}); install again."
        ) from error


def _architecture(device: int) -> int:
    major, minor = torch.cuda.get_device_capability(device)
    return major * 10 + minor
