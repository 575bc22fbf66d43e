"""What bench_bi_wkv.py times with: repetitions, the machine, the authors' scheme compiled."""

import atexit
import ctypes
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from napari_rwkv_seg.ops import _library, backend_status

_ROUNDS = 6


def in_turns(calls: dict[str, Callable[[], object]], least_s: float) -> dict[str, dict[str, float]]:
    """Return the least and the median time of each call in microseconds.

    They are called in turns, six times round, so that a machine that is slower for a while is
    so for all of them: each for at least `least_s` seconds in all. What takes longer is called
    once a round, and twice in all if it takes seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_ROUNDS):
        for name, call in calls.items():
            if turn < 2 or sum(times[name]) < 3:
                times[name] += _repeat(call, least_s / _ROUNDS)
    return {
        name: {"least": min(found) * 1e6, "median": statistics.median(found) * 1e6}
        for name, found in times.items()
    }


def _repeat(call: Callable[[], object], least_s: float) -> list[float]:
    """Return the seconds of some calls; the first of several only fills the caches."""
    times: list[float] = []
    while sum(times) < least_s or not times:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times[1:] or times


@cache
def instruction_sets() -> list[str]:
    """Return those that are compared and that this machine has, the widest first."""
    found = []
    for name in ("avx512", "avx2", "baseline"):
        try:
            _library.use_instruction_set(name)
        except RuntimeError:
            continue
        found.append(name)
    found = [x for x in found if x != "baseline"] or found
    _library.use_instruction_set(found[0])
    return found


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    model = platform.processor()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = facts.read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return {
        "processor": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "instruction_set": backend_status().instruction_set,
    }


def authors_scheme() -> Callable[..., Tensor] | None:
    """Return the authors' scheme as a function of tensors, or None without a compiler."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        print("There is no C++ compiler: the authors' scheme is left out.")
        return None
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    library = Path(folder.name) / "authors_scheme.so"
    source = Path(__file__).parent / "authors_scheme.cpp"
    options = "-std=c++17 -O3 -march=native -ffast-math -fopenmp -shared -fPIC".split()
    subprocess.run([compiler, *options, str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).authors_forward
    function.argtypes = [*[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 5, ctypes.c_int]

    def forward(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y = torch.empty_like(k)
        addresses = (x.data_ptr() for x in (w, u, k, v, y))
        function(*k.shape, *addresses, torch.get_num_threads())
        return y

    return forward
