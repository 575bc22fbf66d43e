"""Run a job's generator in a worker thread, one at a time, and wait for it when the window goes.

The generator may touch no layer and no widget; what it yields and returns is
handed over on the main thread. A worker that is told to quit ends at its next
step, so closing waits for one step at most.
"""

import contextlib
import io
import time
from collections.abc import Callable, Generator
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import cancelable_progress, progress
from qtpy.QtCore import QCoreApplication, QEvent

PATIENCE_S = 30.0  # a step is a tile, seconds at most; torch's first import may take longer


class JobRunner:
    """Runs generators in worker threads; news comes on the main thread.

    Parameters
    ----------
    title : str
        What napari's activity dock calls the work; "" keeps it out of there.
    on_cancel : callable, optional
        Called when the user presses Cancel in the activity dock.
    name : str
        What napari calls work without a title, when it asks before it closes.
    """

    def __init__(
        self,
        title: str = "",
        on_cancel: Callable[[], object] | None = None,
        name: str = "Making labels",
    ) -> None:
        self._title = title
        self._name = name
        self._on_cancel = on_cancel
        self._workers: dict[Any, _Once] = {}
        self._bar: progress | None = None
        self._is_showing = False

    @property
    def is_busy(self) -> bool:
        """Whether a worker is under way."""
        return bool(self._workers)

    def start(
        self,
        steps: Callable[[], Generator[Any, None, Any]],
        on_step: Callable[[Any], object],
        on_end: Callable[[Any], object],
    ) -> None:
        """Run `steps()` in a worker.

        Parameters
        ----------
        steps : callable
            Returns the generator.
        on_step : callable
            Is given what the generator yields.
        on_end : callable
            Is given what it returns, or None if it was closed before that.
        """
        relay = _Relay(steps, on_step)

        def work() -> Generator[Any, None, Any]:
            return (yield from relay.begin())

        work.__qualname__ = self._title or self._name  # napari names it when it asks
        worker = create_worker(work)
        ended = _Once(lambda outcome: self._end(worker, relay, outcome, on_end))
        worker.yielded.connect(relay.hear)
        worker.returned.connect(ended)
        worker.finished.connect(ended)  # comes last, and alone if the worker was told to quit
        self._workers[worker] = ended
        self._open_bar()
        worker.start()

    def show(self, done: int, total: int) -> None:
        """Show in the activity dock that `done` of `total` steps are done."""
        bar = self._bar
        if bar is None or self._is_showing:
            return  # many quick steps would be shown each within the one before
        self._is_showing = True
        try:
            self._advance(bar, done, total)
        finally:
            self._is_showing = False

    def _advance(self, bar: progress, done: int, total: int) -> None:
        if total > 0 and bar.total != total:
            bar.total = total
        # napari's bar lets the event loop run: later steps, and the end, may have been heard by now
        if total > 0 and self._bar is bar and done > bar.n:
            bar.update(done - bar.n)

    def wait(self) -> None:
        """Tell all workers to quit, and wait until they have."""
        if not self._workers:
            return
        for worker in self._workers:
            worker.quit()
        deadline = time.monotonic() + PATIENCE_S
        while any(worker.is_running for worker in self._workers) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.005)  # a worker stops running just before it says so
        # What the workers still have to say must be heard now: the event loop may be over.
        meta_call = getattr(
            QEvent.Type.MetaCall, "value", QEvent.Type.MetaCall
        )  # a number in PyQt5
        QCoreApplication.sendPostedEvents(None, meta_call)
        for ended in list(self._workers.values()):
            ended()  # those that never began

    def _end(
        self, worker: Any, relay: "_Relay", outcome: Any, on_end: Callable[[Any], object]
    ) -> None:
        """Put a worker away and hand over what it returned."""
        del self._workers[worker]
        relay.release()
        if not self._workers:
            self._close_bar()
        on_end(outcome)

    def _open_bar(self) -> None:
        """Show work of unknown length in the activity dock."""
        if self._title and self._bar is None:
            about = {"total": 0, "desc": self._title, "file": io.StringIO()}
            self._bar = _Bar(self._on_cancel, **about) if self._on_cancel else progress(**about)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Bar(cancelable_progress):
    """A bar that tells at once that Cancel was pressed; napari's waits for a next step to tell."""

    def __init__(self, on_cancel: Callable[[], object], **about: Any) -> None:
        self._tell = on_cancel
        super().__init__(**about)

    def cancel(self) -> None:
        """Cancel the job."""
        super().cancel()
        self._tell()


class JobError(Exception):
    """An error that a job did not foresee; napari shows it."""


class _Relay:
    """All that a worker knows of us; emptied at its end: napari's window never forgets a worker.

    Without it every job kept its controller, its model and its image until napari was closed.
    A worker that was told to quit leaves its generator where it stood, with all that this held.
    """

    def __init__(
        self, steps: Callable[[], Generator[Any, None, Any]], on_step: Callable[[Any], object]
    ) -> None:
        self._steps: Callable[[], Generator[Any, None, Any]] | None = steps
        self._on_step: Callable[[Any], object] | None = on_step
        self._running: Generator[Any, None, Any] | None = None

    def begin(self) -> Generator[Any, None, Any]:
        """Run the job's generator; nothing if the job was put away before it began."""
        if self._steps is None:
            return None
        self._running = self._steps()
        try:
            return (yield from self._running)
        except RuntimeError as error:  # of which superqt would tell nobody, not even its end
            raise JobError(f"{type(error).__name__}: {error}") from error

    def hear(self, news: Any) -> None:
        """Hand on what the generator yields."""
        if self._on_step is not None:
            self._on_step(news)

    def release(self) -> None:
        """Let go of the job, and end its generator if it stands in the middle."""
        running, self._running = self._running, None
        self._steps = self._on_step = None
        if running is not None:
            with contextlib.suppress(ValueError):  # a worker that outlasted our patience runs it
                running.close()


class _Once:
    """Calls a function the first time it is called itself."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function: Callable[[Any], object] | None = function

    def __call__(self, value: Any = None) -> None:
        function, self._function = self._function, None
        if function is not None:
            function(value)


def ignored(_: object) -> None:
    """Hear nothing: for work that is too short to show its progress."""
