"""The CUDA compilers, asked what they make of the kernels: registers, and what does not fit."""

import ctypes
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from napari_rwkv_seg.ops import _cuda_plan as plan

from . import CSRC

_REPORT = re.compile(
    r"Function properties for ((?:rwkv|authors)_\w+)\s.*?"
    r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Usage:
    """What one kernel takes of a multiprocessor."""

    registers: int
    spilled_bytes: int


def libraries() -> tuple[Path, Path] | None:
    """Return NVRTC's built-ins and NVRTC itself from the wheel, or None if it is not installed."""
    try:
        from nvidia import cu13
    except ImportError:
        return None
    folder = Path(next(iter(cu13.__path__))) / "lib"
    builtins = sorted(folder.glob("libnvrtc-builtins.so.*"))
    compilers = [x for x in sorted(folder.glob("libnvrtc.so.*")) if "alt" not in x.name]
    return (builtins[0], compilers[0]) if builtins and compilers else None


def compile_by_nvrtc(arch: str, element: int, *, source: Path | None = None) -> dict[str, Usage]:
    """Compile for one architecture from text alone, and return what each kernel takes."""
    found = libraries()
    assert found, "NVRTC is not installed."
    ctypes.CDLL(str(found[0]), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(found[1]))
    headers = [CSRC / name for name in plan.HEADERS]
    texts = (ctypes.c_char_p * len(headers))(*[x.read_bytes() for x in headers])
    names = (ctypes.c_char_p * len(headers))(*[x.name.encode() for x in headers])
    program = ctypes.c_void_p()
    text = (source or CSRC / plan.SOURCE).read_bytes()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"it.cu", len(headers), texts, names)
    options = [*plan.COMPILE_OPTIONS, f"-arch={arch}", f"-DRWKV_ELEMENT={element}"]
    options.append("--ptxas-options=-v")
    encoded = (ctypes.c_char_p * len(options))(*[x.encode() for x in options])
    code = nvrtc.nvrtcCompileProgram(program, len(options), encoded)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert code == 0, log.value.decode()
    return _usages(log.value.decode())


def compile_by_nvcc(nvcc: str, arch: str, element: int, folder: Path) -> dict[str, Usage]:
    """Compile for one architecture, and return what each kernel takes."""
    includes = [f"-I{folder}" for folder in (CSRC, CSRC / "cuda")]
    command = [nvcc, *plan.COMPILE_OPTIONS, f"-arch={arch}", f"-DRWKV_ELEMENT={element}"]
    command += [*includes, "-cubin", "-Xptxas", "-v", "-o", str(folder / "it.cubin")]
    done = subprocess.run(
        [*command, str(CSRC / plan.SOURCE)], check=True, capture_output=True, text=True
    )
    return _usages(done.stderr)


def _usages(log: str) -> dict[str, Usage]:
    """Read ptxas's report."""
    return {
        name: Usage(int(registers), int(stores) + int(loads))
        for name, stores, loads, registers in _REPORT.findall(log)
    }
