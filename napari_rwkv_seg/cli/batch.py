"""The `segment` command: show how a batch goes, and say how it ended.

Labels are named on stdout as they appear; all else goes to stderr.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType

from napari_rwkv_seg.controllers.batch import Batch, batch_steps
from napari_rwkv_seg.controllers.batch_rows import Row
from napari_rwkv_seg.controllers.batch_run import News
from napari_rwkv_seg.inference.steps import drained

from .speech import say, until_stdout_fails


@dataclass(frozen=True)
class Screen:
    """What is shown while a batch goes on.

    Parameters
    ----------
    show : callable
        Is given all news.
    say : callable
        Writes a line to stderr, above the bars if there are any.
    name : callable
        Writes a line to stdout, the same way.
    """

    show: Callable[[News], None]
    say: Callable[[str], None]
    name: Callable[[str], None]


def segment_all(batch: Batch) -> int:
    """Do a batch, and return how many of its images have no result.

    Raises
    ------
    RwkvSegError
        Before any work: as `batch_steps` raises it.
    """
    with _ending_on_sigterm(), closing(batch_steps(batch)) as steps, _screen() as screen:

        def say_all(news: News) -> None:
            screen.show(news)
            for text in news.notes:
                screen.say(text)
            for row in news.rows:
                _say_row(row, batch, screen)

        table = drained(steps, say_all)
    if len(table.rows) > 1:
        say(table.sentence())
    return len(table.rows) - table.count("done") - table.count("skipped")


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, which a cluster's scheduler sends, end a batch as Ctrl+C does."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say_row(row: Row, batch: Batch, screen: Screen) -> None:
    """Say how an image ended."""
    if row.state == "done":
        screen.name(str(batch.out / row.labels))
    if row.has_ended and row.note:
        screen.say(f"{row.image}: {row.note}")


@contextmanager
def _screen() -> Iterator[Screen]:
    """Show bars of images and tiles on stderr; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Screen(lambda _: None, say, until_stdout_fails())
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        images = bars.add_task("all", total=None, unit="images")
        tiles = bars.add_task("", total=None, unit="tiles", visible=False)

        def show(news: News) -> None:
            if bars.tasks[images].total is None and news.rows:
                bars.update(images, total=len(news.rows))
            for row in news.rows:
                if row.state == "running":
                    bars.reset(tiles, description=row.image, total=None, visible=True)
                if row.has_ended:
                    bars.advance(images)
            if news.step is not None:
                bars.update(tiles, completed=news.step.done, total=news.step.total)

        # Bars are drawn over what others write to the same terminal.
        above = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        yield Screen(show, above, above if sys.stdout.isatty() else until_stdout_fails())
