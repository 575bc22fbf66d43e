"""Which napari a folder of copies belongs to, and whether it still runs.

A process number is used again sooner or later, so it is kept together with what
tells when the process was started.
"""

import contextlib
import json
import os
import platform
import time
from pathlib import Path

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically

PROCESS_FILE = "process.json"
OTHER_HOST_S = 86_400.0  # whether a process of another machine lives cannot be asked


def start_time() -> int:
    """Return when this process was started, in seconds since 1970."""
    import psutil

    return int(psutil.Process().create_time())


def sign(folder: Path) -> None:
    """Note that a folder belongs to this process.

    Raises
    ------
    OutputError
        If that cannot be written.
    """
    about = {"pid": os.getpid(), "start": _start_of(os.getpid()), "host": platform.node()}
    text = json.dumps(about).encode()
    write_atomically(folder / PROCESS_FILE, lambda file: file.write(text))


def is_alive(process: Path) -> bool:
    """Return whether the process that a folder belongs to still runs."""
    try:
        about = json.loads(read_bytes(process / PROCESS_FILE, 10_000))
        pid, start, host = int(about["pid"]), str(about["start"]), str(about["host"])
    except (UnreadableFileError, ValueError, TypeError, KeyError):
        return False
    if host != platform.node():
        with contextlib.suppress(OSError):
            newest = max(copy.stat().st_mtime for copy in process.glob("*/*.labels"))
            return time.time() - newest < OTHER_HOST_S
        return False
    return start != "" and start == _start_of(pid)


def _start_of(pid: int) -> str:
    """Return what tells a process from another of the same number; "" if it does not run.

    It must not move when the clock is set, as psutil's `create_time` does on Linux and macOS.
    On Linux it is counted from the start of the system.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return ""
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return f"{boot}-{int(status[19])}"
        return repr(process._ident[1])  # by which psutil itself tells processes apart
    except psutil.Error:
        return ""
