"""The process that trains: what it hears, what it says, and how it ends.

Every event is a line of JSON on stdout, and in the run's `events.jsonl`. SIGTERM
and SIGINT mean: stop and keep the best, as a cluster's scheduler and a person at
a keyboard want it; a second one means: leave at once.

With `--attached` a parent is there: the process steps back behind it in
priority, hears lines on stdin (`stop`, `cancel`, `preview PATH`), and leaves with
a checkpoint when stdin ends, because then its parent has died.
"""

import argparse
import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from napari_rwkv_seg.errors import CancelledError, RwkvSegError
from napari_rwkv_seg.waiting import wait_briefly

from .control import Control, LeaveError
from .events import Event, event_line
from .parent_lines import STDIN, lines_of

DONE, FAILED, LEFT, INTERRUPTED = 0, 1, 3, 130
"""How the process ends: with a model, by a sentence, to be resumed, or cancelled."""

_KEEP = {-3: 2**31 - 1, -1: 2**31 - 1, -2: 500_000_000}
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h, in bytes."""


def settle_process() -> None:
    """Make this process a good place to train in; to be called before torch is imported.

    Threads wait for each other as `wait_briefly` says; `Threads` sees to it that they are no
    more than there is room for. Memory that was freed is kept for the next step: glibc hands
    large blocks back to the system at once, and every step then pays for fresh, zeroed pages.
    """
    wait_briefly(in_background=True)
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        library = ctypes.CDLL(None)
        for parameter, size in _KEEP.items():
            library.mallopt(parameter, size)


def main(arguments: Sequence[str]) -> int:
    """Run or resume the run of the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m napari_rwkv_seg.training")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--attached", action="store_true", help="a parent listens and speaks")
    choices = parser.parse_args(arguments)
    control = Control()
    if choices.attached:
        _listen(control, lines_of(STDIN))
    with stopping_on_signals(control):
        return _run(choices.run, control, is_attached=choices.attached)


@contextlib.contextmanager
def stopping_on_signals(control: Control) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop a run and keep its best, and a second one end it."""

    def hear(number: int, _frame: FrameType | None) -> None:
        if control.is_stopped:
            control.cancel()
        control.stop()

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, hear) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _run(folder: Path, control: Control, *, is_attached: bool) -> int:
    """Do the run, and return the exit code."""
    settle_process()
    from .finetune import run_finetune

    if is_attached:
        _lower_priority()
    try:
        run_finetune(folder, _say, control)
    except CancelledError:
        return INTERRUPTED
    except LeaveError:
        return LEFT
    except RwkvSegError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    return DONE


def _lower_priority() -> None:
    """Let every other program go first, so that the window stays quick."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process()
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else 10)


def _say(event: Event) -> None:
    """Write an event to stdout; if nobody reads there any more, the file has it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(event_line(event))
        sys.stdout.flush()


def _listen(control: Control, lines: Iterable[str]) -> None:
    """Hear what the parent says, in a thread that ends with the process."""

    def hear() -> None:
        for line in lines:
            hear_line(control, line)
        control.leave()

    threading.Thread(target=hear, name="listener", daemon=True).start()


def hear_line(control: Control, line: str) -> None:
    """Do what a line on stdin asks for; what is not known is ignored."""
    word, _, rest = line.strip().partition(" ")
    if word == "stop":
        control.stop()
    elif word == "cancel":
        control.cancel()
    elif word == "preview" and rest:
        control.preview(Path(rest))
