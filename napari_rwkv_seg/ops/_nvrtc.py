"""NVIDIA's run-time compiler, found where torch or a wheel put it, and bound by ctypes.

CUDA builds of torch bring the library (`libnvrtc`) with them, so the kernels need no
compiler on the user's machine and no torch header: source in, machine code out.
The functions are described in NVIDIA's NVRTC documentation, "Basic Usage".
"""

import ctypes
import re
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from napari_rwkv_seg.errors import KernelError

_PATTERNS = {"win32": "nvrtc64_*.dll", "linux": "libnvrtc.so.*"}
_BUILTINS = {"win32": "nvrtc-builtins64_*.dll", "linux": "libnvrtc-builtins.so.*"}
_LOG_SIGNS = 600  # of a compiler's log that an error repeats


@dataclass(frozen=True)
class Compiler:
    """The library and what it says of itself.

    Attributes
    ----------
    functions : ctypes.CDLL
        Bound functions.
    path : str
        Where the library was found.
    version : tuple of int
        Major and minor.
    architectures : tuple of int
        Of the processors that it compiles for: 80 is compute capability 8.0.
    """

    functions: ctypes.CDLL
    path: str
    version: tuple[int, int]
    architectures: tuple[int, ...]


@cache
def find_compiler() -> Compiler:
    """Return the newest run-time compiler of this installation.

    Raises
    ------
    KernelError
        If there is none that can be loaded.
    """
    problem = "none was found"
    for path in _candidates():
        try:
            return _bind(path)
        except (OSError, AttributeError, KernelError) as error:
            problem = f"{path} cannot be used: {error}"
    raise KernelError(
        f"The CUDA kernels need NVIDIA's run-time compiler, and {problem}. "
        "Install a CUDA build of torch, or the package nvidia-cuda-nvrtc."
    )


def compile_source(
    source: str, headers: dict[str, str], options: tuple[str, ...], architecture: int
) -> bytes:
    """Return what a CUDA source becomes for one processor: machine code, or else PTX.

    Parameters
    ----------
    source : str
        One translation unit.
    headers : dict
        Text of each header by the name under which it is included.
    options : tuple of str
        For the compiler, beside the architecture.
    architecture : int
        Of the processor; PTX for the next older one is made if the compiler does not know it
        yet, and the driver translates that.

    Raises
    ------
    KernelError
        If there is no compiler, or it refuses; the text repeats the start of its log.
    """
    compiler = find_compiler()
    known = [a for a in compiler.architectures if a <= architecture]
    if not known:
        raise KernelError(
            f"The run-time compiler {compiler.path} does not know processors of compute "
            f"capability {architecture // 10}.{architecture % 10}; install another build of torch."
        )
    is_exact = architecture in known
    kind = "sm" if is_exact else "compute"
    target = f"--gpu-architecture={kind}_{max(known)}"
    program = _program(compiler, source, headers)
    try:
        flags = [text.encode() for text in (target, *options)]
        code = compiler.functions.nvrtcCompileProgram(
            program, len(flags), (ctypes.c_char_p * len(flags))(*flags)
        )
        if code != 0:
            log = _text(compiler, program, "ProgramLog").decode(errors="replace")
            start = re.sub(r"\s+", " ", log)[:_LOG_SIGNS]
            raise KernelError(
                f"The CUDA kernels do not compile for {kind}_{max(known)} with {compiler.path}: "
                f"{start}"
            )
        return _text(compiler, program, "CUBIN" if is_exact else "PTX")
    finally:
        compiler.functions.nvrtcDestroyProgram(ctypes.byref(program))


def _candidates() -> Iterator[Path]:
    """Yield files that may be the library: torch's own first, then wheels', then the system's."""
    pattern = _PATTERNS.get(sys.platform, "libnvrtc.so.*")
    for folder in _folders():
        yield from sorted(folder.glob(pattern), reverse=True)
    name = find_library("nvrtc")
    if name:
        yield Path(name)


def _folders() -> Iterator[Path]:
    """Yield where torch, conda and NVIDIA's wheels keep their libraries."""
    torch = find_spec("torch")
    if torch is not None and torch.origin:
        yield Path(torch.origin).parent / "lib"
    conda = Path(sys.prefix)  # whose torch leaves the library to the package cuda-nvrtc
    yield from (conda / "lib", conda / "Library" / "bin", conda / "Library" / "bin" / "x64")
    nvidia = find_spec("nvidia")
    for root in (nvidia.submodule_search_locations or ()) if nvidia is not None else ():
        for package in sorted(Path(root).glob("c*"), reverse=True):  # cu13, cuda_nvrtc
            yield from (package / "lib", package / "bin", package / "bin" / "x86_64")


def _bind(path: Path) -> Compiler:
    """Load the library; the one with its built-in headers has to be in memory first."""
    for builtins in path.parent.glob(_BUILTINS.get(sys.platform, "libnvrtc-builtins.so.*")):
        ctypes.CDLL(str(builtins))
    functions = ctypes.CDLL(str(path))
    major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _check(functions, functions.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    _check(functions, functions.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    listed = (ctypes.c_int * count.value)()
    _check(functions, functions.nvrtcGetSupportedArchs(listed))
    return Compiler(functions, str(path), (major.value, minor.value), tuple(listed))


def _program(compiler: Compiler, source: str, headers: dict[str, str]) -> ctypes.c_void_p:
    """Return a new program; whoever asked destroys it."""
    program = ctypes.c_void_p()
    texts = [text.encode() for text in headers.values()]
    names = [name.encode() for name in headers]
    array = ctypes.c_char_p * len(names)
    functions = compiler.functions
    code = functions.nvrtcCreateProgram(
        ctypes.byref(program),
        ctypes.c_char_p(source.encode()),
        ctypes.c_char_p(b"bi_wkv.cu"),
        len(names),
        array(*texts),
        array(*names),
    )
    _check(functions, code)
    return program


def _text(compiler: Compiler, program: ctypes.c_void_p, what: str) -> bytes:
    """Return the log, the machine code or the PTX of a program."""
    functions = compiler.functions
    size = ctypes.c_size_t()
    _check(functions, getattr(functions, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(functions, getattr(functions, f"nvrtcGet{what}")(program, content))
    return content.raw


def _check(functions: ctypes.CDLL, code: int) -> None:
    """Raise if a function of the library returned other than 0."""
    if code != 0:
        functions.nvrtcGetErrorString.restype = ctypes.c_char_p
        reason = functions.nvrtcGetErrorString(code).decode()
        raise KernelError(f"NVIDIA's run-time compiler failed: {reason}.")
