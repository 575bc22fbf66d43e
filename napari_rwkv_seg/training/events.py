"""What a run tells, line by line: written by the run, read by the dock and the command.

Every line of `events.jsonl` is one JSON object with "event" and "time" (seconds
since the epoch). A reader ignores events that it does not know, and a last line
that is not whole yet. Knows no torch.

The events: prepared, started, step, validated, saved, lighter, waiting,
previewed, stopping, finished, cancelled, failed; `docs/finetune.md` says what each holds.
"""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Report = Callable[[Event], None]
Tell = Callable[..., Event]
"""Makes an event from its kind and its facts, and tells it."""


def make_event(kind: str, **facts: object) -> Event:
    """Return an event of now; numbers are rounded, and what is not finite becomes None."""
    return {"event": kind, "time": round(time.time(), 3), **_plain(facts)}


def event_line(event: Event) -> str:
    """Return an event as one line of JSON, with its end of line."""
    return json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n"


def parse_line(line: str | bytes) -> Event | None:
    """Return the event in a line, or None if the line holds none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # half-written, or not ours
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def read_events(path: Path, start: int = 0) -> tuple[list[Event], int]:
    """Return the whole events of a file from byte `start` on, and where to go on reading.

    A missing file holds no events yet.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            content = file.read()
    except FileNotFoundError:
        return [], start
    end = content.rfind(b"\n") + 1
    found = [parse_line(line) for line in content[:end].splitlines()]
    return [event for event in found if event is not None], start + end


class EventLog:
    """Appends events to a file and hands them on; a full disk does not stop the run.

    Parameters
    ----------
    path : Path
        The file; made if missing.
    report : callable
        Gets every event as well.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self._path, self._report = path, report
        _end_last_line(path)

    def __call__(self, kind: str, **facts: object) -> Event:
        """Make an event, append it, hand it on and return it."""
        event = make_event(kind, **facts)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(event_line(event))
        except OSError:  # the checkpoint writer is the one to complain about the disk
            _end_last_line(self._path)
        self._report(event)
        return event


def _end_last_line(path: Path) -> None:
    """End a line that a killed process or a full disk left half-written."""
    try:
        with path.open("rb") as file:
            file.seek(-min(1, file.seek(0, os.SEEK_END)), os.SEEK_END)
            is_whole = file.read(1) in (b"\n", b"")
        if not is_whole:
            with path.open("ab") as file:
                file.write(b"\n")
    except OSError:
        return  # no file yet, or no room even for this


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: floats of five digits, None for NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
