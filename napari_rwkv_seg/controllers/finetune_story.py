"""What a run has told so far, put together from its events alone.

`EventTail` reads what was appended to `events.jsonl`, a bounded part at a time, so
that a flood of events cannot hold up a window; `RunStory` takes the events one by
one. Both work as well on a run of yesterday. Times are seconds of the run's budget.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_rwkv_seg.training.events import Event, parse_line

How = Literal["finished", "cancelled", "failed"]
Phase = Literal["starting", "training", "stopping", "finished", "cancelled", "failed"]

BYTES_AT_ONCE = 64_000
MOST_POINTS = 1000  # of a curve; more than a dock has pixels


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Parameters
    ----------
    how : "finished", "cancelled" or "failed"
        A failed run may be resumed.
    folder : Path
        The run's folder.
    result : dict
        The content of its result.json; {} unless it finished.
    sentence : str
        Why it failed.
    """

    how: How
    folder: Path
    result: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""


class EventTail:
    """Reads the events that were appended to a file since the last call.

    Parameters
    ----------
    path : Path
        The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = 0
        self.is_away = False
        """Whether the file, of which something was read, can be read no more."""

    def read(self) -> list[Event]:
        """Return the next whole events; of a long file, a part of them."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._start)
                content = file.read(BYTES_AT_ONCE)
        except OSError:  # not there yet, or locked for a moment
            self.is_away = self._start > 0
            return []
        self.is_away = False
        end = content.rfind(b"\n") + 1
        if end == 0 and len(content) == BYTES_AT_ONCE:
            end = len(content)  # no event is as long as this: it is not ours
        self._start += end
        events = (parse_line(line) for line in content[:end].splitlines())
        return [event for event in events if event is not None]

    def read_all(self) -> list[Event]:
        """Return all events that are left, for a run that is over."""
        events, before = [], -1
        while self._start != before:
            before = self._start
            events += self.read()
        return events


_LARGEST = 1e15  # of the numbers in an event; NaN is not below it


class Curve:
    """Points over time, thinned out when they become many; (seconds, value)."""

    def __init__(self) -> None:
        self.x: list[float] = []
        self.y: list[float] = []
        self._every = 1
        self._count = 0

    def add(self, x: Any, y: Any) -> None:
        """Add a point, unless one of its numbers is none."""
        if not _is_number(x) or not _is_number(y):
            return
        self._count += 1
        if self._count % self._every == 0:
            self.x.append(float(x))
            self.y.append(float(y))
        if len(self.x) > MOST_POINTS:
            del self.x[::2], self.y[::2]
            self._every *= 2


class RunStory:
    """How far a run is, and how it ended."""

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        self.split = ""
        self.regions = 0
        self.device = ""
        self.depth = ""
        self.resumed = False
        self.minutes: float | None = None
        self.step = 0
        self.seconds = 0.0
        self.left: float | None = None
        self.loss = Curve()
        self.dice = Curve()
        self.base: float | None = None
        self.best: float | None = None
        self.best_step = 0
        self.by_class: dict[str, float] = {}
        self.notes: list[str] = []
        self.previewed = ""
        self.preview_problem = ""
        self.result: dict[str, Any] | None = None
        self.sentence = ""
        self.away = ""
        """What to do while the run's folder is not there; "" while it is."""
        self.heard = 0
        self.changes = 0
        """Counts what changes the curves."""

    @property
    def is_over(self) -> bool:
        """Whether the run has said its last word."""
        return self.phase in ("finished", "cancelled", "failed")

    def hear(self, event: Event) -> None:
        """Take an event; one that is unknown, or not as it should be, changes nothing."""
        take = getattr(self, f"_on_{event['event']}", None)
        if take is None:
            return
        self.heard += 1
        take(event)

    def _on_prepared(self, event: Event) -> None:
        self.split = _text(event.get("sentence"))
        self.regions = _whole(event.get("regions"))

    def _on_started(self, event: Event) -> None:
        self.phase = "training"
        self.step = _whole(event.get("step"))
        self.device = _text(event.get("device"))
        self.depth = _text(event.get("depth"))
        self.resumed = event.get("resumed") is True
        self.minutes = _number(event.get("minutes"))
        self.sentence = ""

    def _on_step(self, event: Event) -> None:
        self.step = _whole(event.get("step"))
        self.seconds = _number(event.get("seconds")) or 0.0
        self.left = _number(event.get("left"))
        self.loss.add(event.get("seconds"), event.get("loss"))
        self.changes += 1

    def _on_validated(self, event: Event) -> None:
        score = _number(event.get("score"))
        if event.get("base") is True:
            self.base = score
        dice = event.get("dice")
        if isinstance(dice, dict):
            self.by_class = {str(name): x for name, x in dice.items() if _is_number(x)}
        if score is not None and event.get("best") is True:
            self.best, self.best_step = score, _whole(event.get("step"))
        self.dice.add(event.get("seconds"), score)
        self.changes += 1

    def _on_lighter(self, event: Event) -> None:
        self.notes = [*self.notes[-2:], _text(event.get("what"))]

    def _on_waiting(self, event: Event) -> None:
        self._on_lighter(event)

    def _on_previewed(self, event: Event) -> None:
        self.previewed = _text(event.get("path"))
        self.preview_problem = _text(event.get("problem"))

    def _on_stopping(self, event: Event) -> None:
        self.phase = "stopping"

    def _on_finished(self, event: Event) -> None:
        self.phase = "finished"
        self.result = event

    def _on_cancelled(self, event: Event) -> None:
        self.phase = "cancelled"

    def _on_failed(self, event: Event) -> None:
        self.phase = "failed"
        self.sentence = _text(event.get("sentence")) or "The training failed without a reason."


def _is_number(value: object) -> bool:
    """Return whether a value is a number to count with: JSON also lets NaN and endless ones in."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -_LARGEST < value < _LARGEST
    )


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _whole(value: Any) -> int:
    return int(value) if _is_number(value) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
