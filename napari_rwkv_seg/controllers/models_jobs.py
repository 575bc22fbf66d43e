"""What a window has done with models in a process of its own: wishes, progress, how it ended.

A `ModelJob` runs `models_worker` and hands on what it says, to be driven by a
worker thread. It can be left at any moment: the process then cleans up, and is
killed if it does not. Knows no Qt, no napari and no torch.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.zoo.card import ClassCard
from napari_rwkv_seg.zoo.exchange import SIZE, Format
from napari_rwkv_seg.zoo.folders import check_name, is_taken
from napari_rwkv_seg.zoo.manage import all_names

LEAVE_S = 2.0  # to clean up and leave, after being asked to
WORKER = (sys.executable, "-P", "-m", "napari_rwkv_seg.controllers.models_worker")


@dataclass(frozen=True)
class Wish:
    """What is to be done: a title for people, and the worker's request."""

    title: str
    request: dict[str, Any]

    @property
    def kind(self) -> str:
        """What is to be done, in a word."""
        return str(self.request["do"])


@dataclass(frozen=True)
class Arrived:
    """How many bytes have come, of how many; `total` is 0 while that is not known."""

    done: int
    total: int


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: with a result, with a sentence why not, or neither if cancelled.

    `misfits` are the keys of a checkpoint that did not fit, each with its reason.
    """

    wish: Wish
    result: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""
    misfits: tuple[str, ...] = ()


def check_new_name(name: str) -> None:
    """See that a model can have a name, before any work is done for it.

    Raises
    ------
    SettingsError
        If no model may be called so.
    OutputError
        If a model or an encoder is.
    """
    if is_taken(check_name(name), all_names()):
        raise OutputError(f"There is a model or encoder {name!r} already; choose another name.")


def import_wish(path: Path, name: str = "", classes: Sequence[str] = ()) -> Wish:
    """Return the wish to keep a checkpoint, a zip file or a folder; "" takes the file's name.

    Raises as `check_new_name` does.
    """
    if name:
        check_new_name(name)
    request = {"do": "import", "path": str(path), "name": name or None, "classes": list(classes)}
    return Wish(f"Importing {path.name!r}", request)


def export_wish(folder: Path, target: Path, form: Format, size: int = SIZE) -> Wish:
    """Return the wish to write the model in `folder` for others."""
    request = {"do": "export", "name": str(folder), "target": str(target), "form": form}
    return Wish(f"Exporting {folder.name!r}", {**request, "size": size})


def get_wish(name: str) -> Wish:
    """Return the wish to fetch a pretrained encoder."""
    return Wish(f"Fetching {name!r}", {"do": "get", "name": name})


def new_wish(
    name: str, classes: Sequence[ClassCard], *, encoder: str | None = None, **choices: Any
) -> Wish:
    """Return the wish to make a model; `choices` are those of `zoo.new_model`.

    Raises as `check_new_name` does.
    """
    check_new_name(name)
    listed = [each.model_dump() for each in classes]
    request = {"do": "new", "name": name, "classes": listed, "encoder": encoder, **choices}
    return Wish(f"Making {name!r}", request)


def empty_trash_wish() -> Wish:
    """Return the wish to delete for good what is in the trash."""
    return Wish("Emptying the trash", {"do": "empty trash"})


class ModelJob:
    """One wish, and the process that fulfils it.

    Parameters
    ----------
    wish : Wish
        What to do.
    command : sequence of str
        Starts the worker.

    Raises
    ------
    OSError
        If the process cannot be started.
    """

    def __init__(self, wish: Wish, command: Sequence[str] = WORKER) -> None:
        self.wish = wish
        self.is_left = False
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what we have to say comes as lines
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._say(json.dumps(wish.request))

    def steps(self) -> Generator[Arrived, None, JobEnd]:
        """Yield progress until the process has ended, and return how; for a worker thread."""
        last: dict[str, Any] = {}
        stream = self._process.stdout
        try:
            for line in stream or ():
                message = _parsed(line)
                if "progress" in message:
                    yield Arrived(*message["progress"])
                elif message:
                    last = message
            code = self._process.wait()
        finally:
            self.end_now()
        return self._end(last, code)

    def leave(self) -> None:
        """Ask the process to leave; it is killed if it has not left soon. Never waits."""
        with self._lock:
            if self.is_left:
                return
            self.is_left = True
            self._timer = threading.Timer(LEAVE_S, self._process.kill)
            self._timer.daemon = True
            self._timer.start()
        self._close_input()

    def end_now(self) -> None:
        """See that nothing is left of the process; waits for it to clean up."""
        if self._process.poll() is None:
            self.leave()
            self._process.wait()
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        self._close_input()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _end(self, last: dict[str, Any], code: int) -> JobEnd:
        if "done" in last:
            return JobEnd(self.wish, result=last["done"])
        if self.is_left or "cancelled" in last:
            return JobEnd(self.wish)
        if "failed" in last:
            return JobEnd(self.wish, {}, last["failed"], tuple(last.get("misfits", ())))
        return JobEnd(
            self.wish,
            sentence=f"{self.wish.title} ended unexpectedly (exit code {code}): perhaps there was "
            "not enough memory. Nothing half-made is in your list; try again.",
        )

    def _say(self, line: str) -> None:
        stream = self._process.stdin
        if stream is not None:
            with contextlib.suppress(OSError):  # it has ended at once; its exit code will tell
                stream.write(f"{line}\n".encode())
                stream.flush()

    def _close_input(self) -> None:
        stream = self._process.stdin
        if stream is not None and not stream.closed:
            with contextlib.suppress(OSError):
                stream.close()


def _parsed(line: bytes) -> dict[str, Any]:
    """Return a line of the worker's; {} for what is none."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
