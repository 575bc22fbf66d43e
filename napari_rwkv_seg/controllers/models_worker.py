"""The process that does what takes long with models, so that the window does not wait for it.

    python -m napari_rwkv_seg.controllers.models_worker

reads one wish, a line of JSON, from its standard input, and writes lines of JSON:
progress, and in the end what came of it. It leaves when its standard input ends,
so it cannot outlive the window, and what is half made goes with it. What it can do
are functions of the zoo, which the commands call too.
"""

import _thread
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from napari_rwkv_seg.errors import MisfitError
from napari_rwkv_seg.training.parent_lines import STDIN, lines_of
from napari_rwkv_seg.zoo.download import DownloadProgress

from .sentences import mishap

NO_MEMORY = "There is not enough memory for this. Close other programs, and try again."
_EVERY_S = 0.1  # between two lines of progress

Report = Callable[[DownloadProgress], object]
Result = dict[str, Any]


def main() -> None:
    """Do what the line on standard input wishes."""
    channel = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not be taken for our lines
    lines = lines_of(STDIN)
    wish = json.loads(next(lines))
    threading.Thread(target=_leave_with_parent, args=(lines,), daemon=True).start()
    _tell(channel, outcome_of(wish, _Reporter(channel)))


def outcome_of(wish: dict[str, Any], report: Report) -> Result:
    """Do what is wished and return the last line: "done" with what was made, or "failed"."""
    arguments = dict(wish)
    try:
        return {"done": _WORK[arguments.pop("do")](report, **arguments)}
    except MisfitError as error:
        return {"failed": str(error), "misfits": list(error.misfits)}
    except MemoryError:
        return {"failed": NO_MEMORY}
    except KeyboardInterrupt:
        return {"cancelled": True}
    except BaseException as error:  # noqa: BLE001 - a job's boundary: told as a sentence
        return {"failed": mishap(error)}


class _Reporter:
    """Tells of progress now and then."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._last = 0.0

    def __call__(self, progress: DownloadProgress) -> None:
        now = time.monotonic()
        if now - self._last >= _EVERY_S or progress.done == progress.total:
            self._last = now
            _tell(self._channel, {"progress": [progress.done, progress.total or 0]})


def _tell(channel: int, content: Result) -> None:
    os.write(channel, f"{json.dumps(content)}\n".encode())


def _leave_with_parent(lines: Iterator[str]) -> None:
    """Interrupt the work when the parent closes the pipe, or is gone."""
    for _ in lines:
        pass
    _thread.interrupt_main()


def _import(_: Report, path: str, name: str | None, classes: list[str]) -> Result:
    from napari_rwkv_seg.zoo.exchange import import_any

    imported = import_any(path, name=name, classes=classes)
    folder, notes = str(imported.folder), list(imported.notes)
    return {"folder": folder, "kind": imported.kind, "notes": notes}


def _export(_: Report, name: str, target: str, form: Any, size: int) -> Result:
    from napari_rwkv_seg.zoo.exchange import export_any

    written = export_any(name, target, form, size)
    return {"path": str(written.path), "note": written.note}


def _get(report: Report, name: str) -> Result:
    from napari_rwkv_seg.zoo.pretrained import get_encoder

    entry = get_encoder(name, report=report)
    sha256 = entry.card.source_sha256 if entry.card else ""
    return {"folder": str(entry.folder), "kind": "encoder", "sha256": sha256}


def _new(_: Report, classes: list[dict[str, str]], **choices: Any) -> Result:
    from napari_rwkv_seg.zoo.card import ClassCard
    from napari_rwkv_seg.zoo.new_models import new_model

    entry = new_model(classes=[ClassCard(**each) for each in classes], **choices)
    return {"folder": str(entry.folder), "kind": "model"}


def _empty_trash(_: Report) -> Result:
    from napari_rwkv_seg.zoo.manage import empty_trash, list_deleted

    return {"count": empty_trash(), "left": len(list_deleted())}


_WORK: dict[str, Callable[..., Result]] = {
    "import": _import,
    "export": _export,
    "get": _get,
    "new": _new,
    "empty trash": _empty_trash,
}

if __name__ == "__main__":
    main()
