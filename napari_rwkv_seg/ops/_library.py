"""The compiled kernels, found beside this file and bound by ctypes.

Knows addresses and sizes, not tensors: whoever calls has checked shapes, dtype,
device and contiguity (`bi_wkv.py` does). The functions are described in
csrc/rwkv_kernels.h. A call releases Python's lock while the kernel runs.
"""

import atexit
import ctypes
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

_ABI_VERSION = 4  # of csrc/rwkv_kernels.h
_NAMES = {"win32": "rwkv_kernels.dll", "darwin": "librwkv_kernels.dylib"}
_FAILURES = {
    1: "it was given an empty array or a null pointer",
    2: "there is not enough memory for its scratch space",
    3: "this machine lacks the instruction set",
}


@dataclass(frozen=True)
class Library:
    """The kernels of this installation, or why there are none.

    Attributes
    ----------
    functions : ctypes.CDLL or None
        The bound functions; None if the library is missing or cannot be used.
    path : str
        Where the library is; empty if it is missing.
    problem : str
        Why there are no functions; empty if there are.
    """

    functions: ctypes.CDLL | None
    path: str
    problem: str


@cache
def load() -> Library:
    """Find, open and check the library, once per process."""
    name = _NAMES.get(sys.platform, "librwkv_kernels.so")
    found = files("napari_rwkv_seg") / "ops" / name
    if not found.is_file():
        return Library(None, "", f"{name} was not built")
    held = ExitStack()  # keeps a copy, if one had to be made, until the process ends
    atexit.register(held.close)
    path = str(held.enter_context(as_file(found)))
    try:
        functions = ctypes.CDLL(path)
        version = int(functions.rwkv_abi_version())
    except (OSError, AttributeError) as error:
        return Library(None, path, f"{name} cannot be loaded: {error}")
    if version != _ABI_VERSION:
        problem = f"{name} has interface {version}, and {_ABI_VERSION} is needed; install again"
        return Library(None, path, problem)
    _declare(functions)
    return Library(functions, path, "")


def instruction_set() -> str | None:
    """Return "avx512", "avx2" or "baseline", or None without a library."""
    functions = load().functions
    return None if functions is None else str(functions.rwkv_instruction_set().decode())


def use_instruction_set(name: str) -> None:
    """Run another instruction set's kernels from now on, for tests and comparisons.

    Raises
    ------
    RuntimeError
        If there is no library, or this machine or build lacks the instruction set.
    """
    _check(_functions().rwkv_use_instruction_set(name.encode()), f"instruction set {name!r}")


def state_rows(tokens: int) -> int:
    """Return R of the `states` (B, R, C) that the forward pass keeps for T tokens."""
    return 7 * (-(-tokens // 16))


def forward(shape: tuple[int, int, int], addresses: tuple[int, ...], threads: int) -> None:
    """Run the forward kernel on arrays of shape (B, T, C) and (C,).

    Parameters
    ----------
    shape : tuple of int
        B, T, C, each at least 1.
    addresses : tuple of int
        Of w, u, k, v, y and states: contiguous float32.
    threads : int
        Most threads to use, the caller's own included.

    Raises
    ------
    RuntimeError
        If there is no library, or the kernel fails.
    """
    _check(_functions().rwkv_bi_wkv_forward(*shape, *addresses, threads), "bi_wkv")


def backward(shape: tuple[int, int, int], addresses: tuple[int, ...], threads: int) -> None:
    """Run the backward kernel; as `forward`, with other arrays.

    Parameters
    ----------
    shape : tuple of int
        B, T, C, each at least 1.
    addresses : tuple of int
        Of w, u, k, v, y, states, gy, dw, du, dk and dv: contiguous float32.
    threads : int
        Most threads to use, the caller's own included.

    Raises
    ------
    RuntimeError
        If there is no library, or the kernel fails.
    """
    _check(_functions().rwkv_bi_wkv_backward(*shape, *addresses, threads), "bi_wkv's backward pass")


def _functions() -> ctypes.CDLL:
    """Return the bound functions, or raise."""
    library = load()
    if library.functions is None:
        raise RuntimeError(
            f"There are no compiled kernels in this installation: {library.problem}."
        )
    return library.functions


def _check(code: int, what: str) -> None:
    """Raise if a function of the library returned other than 0."""
    if code != 0:
        raise RuntimeError(f"The kernel for {what} failed: {_FAILURES.get(code, f'code {code}')}.")


def _declare(functions: ctypes.CDLL) -> None:
    """Tell ctypes the types of csrc/rwkv_kernels.h."""
    sizes = [ctypes.c_int64] * 3
    array = ctypes.c_void_p
    functions.rwkv_instruction_set.restype = ctypes.c_char_p
    functions.rwkv_use_instruction_set.argtypes = [ctypes.c_char_p]
    functions.rwkv_bi_wkv_forward.argtypes = [*sizes, *[array] * 6, ctypes.c_int]
    functions.rwkv_bi_wkv_backward.argtypes = [*sizes, *[array] * 11, ctypes.c_int]
