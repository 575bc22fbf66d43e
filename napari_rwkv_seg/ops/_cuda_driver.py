"""The CUDA driver, bound by ctypes: loads machine code and launches kernels.

Works in the device's primary context, which is the one that torch uses, so memory and
streams are torch's. Nothing here waits for the device or allocates memory on it, so a
launch can be captured into a CUDA graph. Names are those of NVIDIA's driver API.
"""

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch

from napari_rwkv_seg.errors import KernelError

from ._cuda_plan import Call, Launch

_MOST_PLAIN_SHARED = 48 * 1024  # bytes of dynamic shared memory that need no permission
_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_SHARED_ATTRIBUTE = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class Functions(Protocol):
    """The part of the driver's library that is used; any object with these functions."""

    def __getattr__(self, name: str) -> Any: ...


@cache
def driver() -> Functions:
    """Return the driver's library.

    Raises
    ------
    KernelError
        If it cannot be loaded.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        functions = ctypes.CDLL(name)
    except OSError as error:
        raise KernelError(
            f"The CUDA driver cannot be loaded ({error}); install NVIDIA's driver."
        ) from error
    _check(functions, functions.cuInit(0), "starting")
    return functions


@dataclass(frozen=True)
class Module:
    """Kernels that are loaded on one device."""

    functions: Functions
    context: ctypes.c_void_p
    kernels: dict[str, ctypes.c_void_p]


def load(functions: Functions, device: int, code: bytes, launches: tuple[Launch, ...]) -> Module:
    """Load machine code on a device and find its kernels.

    Parameters
    ----------
    functions : Functions
        The driver.
    device : int
        Number of the device, as torch counts them.
    code : bytes
        A cubin, or PTX that ends in a zero.
    launches : tuple of Launch
        Name the kernels that will be launched, and the shared memory that they need.

    Raises
    ------
    KernelError
        If the device cannot use the code.
    torch.OutOfMemoryError
        If it has no memory for it now.
    """
    handle, context, module = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
    _check(functions, functions.cuDeviceGet(ctypes.byref(handle), device), "finding the device")
    retained = functions.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle)
    _check(functions, retained, "opening the device")
    _check(functions, functions.cuCtxPushCurrent_v2(context), "entering the device")
    try:
        loaded = functions.cuModuleLoadData(ctypes.byref(module), ctypes.c_char_p(code))
        _check(functions, loaded, "loading the kernels")
        kernels = {launch.kernel: _kernel(functions, module, launch) for launch in launches}
    finally:
        functions.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    return Module(functions, context, kernels)


def launch(module: Module, plan: tuple[Launch, ...], call: Call, stream: int) -> None:
    """Launch the kernels of a plan, one after another, on a stream of the module's device.

    Parameters
    ----------
    module : Module
        Has the kernels.
    plan : tuple of Launch
        In order.
    call : Call
        The one argument of each.
    stream : int
        Handle of the stream, as `torch.cuda.Stream.cuda_stream` has it.

    Raises
    ------
    KernelError
        If the driver refuses a launch. What fails while a kernel runs shows at torch's
        next wait for the device, as for torch's own kernels.
    torch.OutOfMemoryError
        If the device has no memory for the launch.
    """
    functions = module.functions
    arguments = (ctypes.c_void_p * 1)(ctypes.addressof(call))
    _check(functions, functions.cuCtxPushCurrent_v2(module.context), "entering the device")
    try:
        for one in plan:
            code = functions.cuLaunchKernel(
                module.kernels[one.kernel],
                *one.grid,
                *one.block,
                one.shared_bytes,
                ctypes.c_void_p(stream),
                arguments,
                None,
            )
            _check(functions, code, f"launching {one.kernel}")
    finally:
        functions.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def _kernel(functions: Functions, module: ctypes.c_void_p, one: Launch) -> ctypes.c_void_p:
    """Return a kernel of a module, allowed the shared memory that it needs."""
    kernel = ctypes.c_void_p()
    name = one.kernel.encode()
    found = functions.cuModuleGetFunction(ctypes.byref(kernel), module, name)
    _check(functions, found, f"finding {one.kernel}")
    if one.shared_bytes > _MOST_PLAIN_SHARED:
        allowed = functions.cuFuncSetAttribute(kernel, _SHARED_ATTRIBUTE, one.shared_bytes)
        _check(functions, allowed, f"reserving shared memory for {one.kernel}")
    return kernel


def _check(functions: Functions, code: int, what: str) -> None:
    """Raise if a function of the driver returned other than 0.

    A lack of memory passes, so it is torch's error for that: callers try again with less, and
    nothing remembers it as it does what a `KernelError` says.
    """
    if code == 0:
        return
    text = ctypes.c_char_p()
    functions.cuGetErrorString(code, ctypes.byref(text))
    reason = text.value.decode() if text.value else f"error {code}"
    kind = torch.OutOfMemoryError if code == _OUT_OF_MEMORY else KernelError
    raise kind(f"The CUDA driver failed at {what}: {reason}.")
