"""What this installation consists of, for bug reports and for the user who asks why it is slow.

Knows no Qt and no napari: their versions are read from the installed packages'
metadata. Imports torch when asked for a report, not before; call it from a
worker thread. No fact can stop the others from being found.
"""

import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rwkv_seg.errors import ModelError

if TYPE_CHECKING:
    from napari_rwkv_seg.zoo.store import ModelEntry

QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")
LIBRARIES = ("numpy", "scipy", "scikit-image", "safetensors", "tifffile", "monai")
GIGABYTE = 1e9


def doctor_report() -> list[tuple[str, str]]:
    """Find out versions, devices, the implementation of WKV, memory and the models' health.

    Returns
    -------
    list of (str, str)
        What each fact is about, and the fact, in the order to show them. A fact
        that cannot be found out says so and why.
    """
    facts: list[tuple[str, Callable[[], str]]] = [
        ("napari-rwkv-seg", lambda: version("napari-rwkv-seg")),
        ("Python", lambda: f"{platform.python_version()} on {platform.platform()}"),
        ("torch", _torch),
        ("napari", lambda: _installed("napari")),
        ("Qt", _qt),
        ("Other libraries", lambda: ", ".join(f"{name} {_installed(name)}" for name in LIBRARIES)),
        ("Device", _device),
        ("Threads", _threads),
        ("WKV", _wkv),
        ("Memory", _memory),
        ("Shipped models", _shipped_models),
        ("Your models", _own_models),
    ]
    found = [(name, _told(fact)) for name, fact in facts] + _models()
    return [(name, _without_user(fact)) for name, fact in found]


def _told(fact: Callable[[], str]) -> str:
    """Return a fact, or the reason why it is not known."""
    try:
        return fact()
    except Exception as error:  # noqa: BLE001 - a broken installation is what a doctor is for
        return f"could not be found out: {type(error).__name__}: {error}"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _torch() -> str:
    import torch

    kind = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return f"{torch.__version__} ({kind})"


def _qt() -> str:
    found = [
        f"{name} {_installed(name)}" for name in QT_BINDINGS if _installed(name) != "not installed"
    ]
    return ", ".join(found) or 'no Qt binding installed; pip install "napari[pyqt6]"'


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        free, total = torch.cuda.mem_get_info()
        return f"cuda: {', '.join(names)}, {free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free"
    reason = "no CUDA device found" if torch.version.cuda else "this torch is a CPU build"
    return f"cpu: {_processor()} ({reason})"


def _processor() -> str:
    """Return the processor's name; Linux tells it only in a file."""
    listing = Path("/proc/cpuinfo")
    if sys.platform == "linux" and listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _threads() -> str:
    import torch

    return f"{torch.get_num_threads()} used by torch, {os.cpu_count()} processors"


def _wkv() -> str:
    from napari_rwkv_seg.ops import backend_status

    status = backend_status()
    parts = [status.backend]
    if status.backend == "cuda":  # what follows is of the other kernels, for images that stay there
        parts = ["cuda, compiled on this machine; for the CPU"]
    if status.instruction_set:
        parts.append(f"{status.instruction_set}, {status.threads} threads")
    if status.library:
        parts.append(status.library)
    return "; ".join([", ".join(parts), *([status.reason] if status.reason else [])])


def _memory() -> str:
    import psutil

    memory = psutil.virtual_memory()
    own = psutil.Process().memory_info().rss
    return (
        f"{memory.available / GIGABYTE:.1f} of {memory.total / GIGABYTE:.1f} GB free, "
        f"{own / GIGABYTE:.1f} GB used by this process"
    )


def _shipped_models() -> str:
    from napari_rwkv_seg.zoo.store import shipped_folder

    folder = shipped_folder()
    return "none in this installation" if folder is None else _folder(folder)


def _own_models() -> str:
    from napari_rwkv_seg.zoo.store import user_folder

    return _folder(user_folder())


def _folder(path: Path) -> str:
    return str(path) + ("" if path.is_dir() else " (not there yet)")


def _without_user(fact: str) -> str:
    """Shorten paths to leave out the user's name: reports are pasted into public places."""
    home = Path.home()
    return fact if home == Path(home.anchor) else fact.replace(f"{home}{os.sep}", f"~{os.sep}")


def _models() -> list[tuple[str, str]]:
    """Load every model once: only that shows that its weights are whole."""
    from napari_rwkv_seg.zoo.store import list_models

    try:
        entries = list_models()
    except Exception as error:  # noqa: BLE001 - as above: the other facts must still be shown
        return [("Models", f"could not be listed: {type(error).__name__}: {error}")]
    facts = [(f"Model {entry.name}", _told(partial(_health, entry))) for entry in entries]
    return facts or [("Models", "none is installed")]


def _health(entry: "ModelEntry") -> str:
    from napari_rwkv_seg.zoo.store import read_network

    if entry.problem:
        return f"cannot be used: {entry.problem}"
    try:
        read_network(entry)
    except ModelError as error:
        return f"cannot be used: {error}"
    return "loads"
