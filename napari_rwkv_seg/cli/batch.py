"""The `segment` command: show how a batch goes, and say how it ended.

Labels are named on stdout as they appear; all else goes to stderr.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType

import typer

from napari_rwkv_seg.controllers.batch import Batch, News, batch_steps
from napari_rwkv_seg.controllers.batch_rows import Row, Table

from .speech import say

Show = Callable[[News], None]


def segment_all(batch: Batch) -> int:
    """Do a batch, and return how many of its images have no result.

    Raises
    ------
    RwkvSegError
        Before any work: as `batch_steps` raises it.
    """
    with _ending_on_sigterm(), closing(batch_steps(batch)) as steps, _progress() as show:
        try:
            while True:
                news = next(steps)
                show(news)
                for text in news.notes:
                    say(text)
                for row in news.rows:
                    _say_row(row, batch)
        except StopIteration as end:
            table: Table = end.value
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


def _say_row(row: Row, batch: Batch) -> None:
    """Say how an image ended."""
    if row.state == "done":
        typer.echo(str(batch.out / row.labels))
    if row.has_ended and row.note:
        say(f"{row.image}: {row.note}")


@contextmanager
def _progress() -> Iterator[Show]:
    """Show bars of images and tiles on stderr; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
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

        yield show
