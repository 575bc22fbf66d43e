"""Save edited labels in the background, so that a crash loses half a minute and no more.

A `LayerJournal` remembers which chunks of a layer have changed. When a save is
due, the window's thread copies those, a few megabytes a step; a worker thread
compresses them and writes a new whole copy. Compressed chunks stay in memory
(labels shrink some fifty-fold), so the unchanged ones are never read again. Knows
no Qt and no napari: whoever shows layers tells it what was edited.
"""

import atexit
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_rwkv_seg.errors import RwkvSegError

from .journal_copies import Batch, Copies, sentence
from .journal_folders import Entry, journal_folder, list_entries, tidy
from .journal_snapshot import Facts, Grid

AFTER_S = 25.0  # copying and writing included, an edit is on the disk within 30 s,
AFTER_EDITS = 40  # or before there are 50 more
COPY_BYTES = 4 * 2**20  # in one step on the window's thread: about 2 ms
QUEUE_BYTES = 64 * 2**20  # copied and not yet compressed
PATIENCE_S = 10.0  # for the last copies when a window closes

_log = logging.getLogger(__name__)


class Journal:
    """The copies of the layers of one window.

    Parameters
    ----------
    home : Path, optional
        The folder of all copies, also those of other processes.
    clock : callable, optional
        Returns seconds, as `time.monotonic` does.
    """

    problem_changed = Signal(str)

    def __init__(
        self, home: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.home = home if home is not None else journal_folder()
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, "napari-rwkv-seg journal")
        self._layers: weakref.WeakSet[LayerJournal] = weakref.WeakSet()
        self._problem = ""
        atexit.register(self.close)  # a script that ends without closing its window is no crash

    @property
    def problem(self) -> str:
        """Why labels are not being saved, in a sentence; "" if they are."""
        return self._problem

    def follow(self) -> "LayerJournal":
        """Return the journal of one more layer; nothing is written before its first edit."""
        layer = LayerJournal(self)
        self._layers.add(layer)
        return layer

    def look(self) -> "Future[list[Entry]]":
        """Tidy up and list what other processes have lost, in the worker."""
        return self.submit(_look, self.home)

    def wait(self, timeout: float = PATIENCE_S) -> None:
        """Wait until all that was handed over is written, but not for ever."""
        wait([self.submit(_nothing)], timeout)

    def close(self) -> None:
        """Write what was handed over, and note that all layers ended in the ordinary way."""
        atexit.unregister(self.close)
        for layer in list(self._layers):
            layer.end()
        self.wait()
        self._worker.shutdown(wait=False)

    # for LayerJournal

    def now(self) -> float:
        """Return the time of the clock."""
        return self._clock()

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Do something in the worker; when Python is about to end, at once."""
        try:
            return self._worker.submit(work, *arguments)
        except RuntimeError:  # the worker has been shut down, so nothing else is under way
            done: Future[Any] = Future()
            try:
                done.set_result(work(*arguments))
            except Exception as error:  # noqa: BLE001 - told as the worker tells it
                done.set_exception(error)
            return done

    def fail(self, error: BaseException) -> None:
        """Tell why labels are not being saved."""
        if not isinstance(error, RwkvSegError):
            _log.error("Labels could not be saved in the background", exc_info=error)
        self.tell(sentence(error))

    def tell(self, problem: str) -> None:
        """Tell a problem once, however it goes on, and once that it is over."""
        if bool(problem) != bool(self._problem):
            self._problem = problem
            self.problem_changed.emit(problem)


class LayerJournal:
    """What has changed in one layer since it was last saved.

    All methods are called on the thread that edits the layer.

    Parameters
    ----------
    journal : Journal
        Its worker writes.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._copies = Copies(journal.home)
        self._grid: Grid | None = None
        self._dtype: np.dtype[Any] | None = None
        self._dirty = np.zeros(0, dtype=bool)
        self._is_suspect = False
        self._since: float | None = None
        self._unsaved = 0
        self._is_saving = False
        self._queue: deque[tuple[Future[Any], int]] = deque()
        self.edits = 0

    @property
    def is_due(self) -> bool:
        """Whether it is time for a save."""
        if self._since is None:
            return False
        return self._unsaved >= AFTER_EDITS or self._journal.now() - self._since >= AFTER_S

    @property
    def is_saving(self) -> bool:
        """Whether chunks are being copied, step by step."""
        return self._is_saving

    @property
    def is_busy(self) -> bool:
        """Whether there is something to save, now or soon, or a save under way."""
        return self._since is not None or self._is_saving or bool(self._queue)

    def edited(self, box: tuple[slice, ...] | None = None) -> None:
        """Hear of an edit inside of `box`, in pixels; None if it may be anywhere."""
        self.edits += 1
        self._unsaved += 1
        self._note(box)

    def suspect(self) -> None:
        """Hear that the labels of a layer with edits may have changed somewhere."""
        if self.edits:
            self._is_suspect = True
            self._start_clock()

    def take_over(self, entry: Entry) -> None:
        """Save at once a layer that was restored from `entry`, which then counts as settled."""
        self.edits = entry.facts.edits
        self._copies.settles = entry.folder
        self._note(None)
        self._unsaved = AFTER_EDITS

    def step(self, data: NDArray[Any], facts: Callable[[], Facts]) -> None:
        """Go on with a save if one is under way or due; copies `COPY_BYTES` at most.

        Parameters
        ----------
        data : integer array (..., Y, X)
            The layer's labels as they are now.
        facts : callable
            Returns what is known of the layer; called when a save is complete.
        """
        self._hear()
        if self.is_due and not self._is_saving:
            self._begin()
        if self._is_saving and sum(size for _, size in self._queue) < QUEUE_BYTES:
            self._copy(data, COPY_BYTES)
            if not self._dirty.any():
                self._hand_over(facts)

    def flush(self, data: NDArray[Any], facts: Callable[[], Facts]) -> None:
        """Save what has changed now, all in one step: the window is going."""
        if not self._begin_last():
            return
        while self._copy(data, QUEUE_BYTES):
            wait([self._queue[-1][0]], PATIENCE_S)  # no second copy of a large layer in memory
        self._hand_over(facts)

    def leave(self, data: NDArray[Any], facts: Callable[[], Facts]) -> None:
        """Let the worker read and save what has changed: the layer was taken out of its window."""
        if self._begin_last():  # painted on meanwhile, it is in a window again, which saves it anew
            self._submit(self._copies.keep, 0, self._take(data))
            self._hand_over(facts)

    def end(self) -> None:
        """Note that the layer was closed in the ordinary way; a later save takes that back."""
        self._queue.append((self._journal.submit(self._copies.end), 0))

    def _note(self, box: tuple[slice, ...] | None) -> None:
        """Mark the chunks of a box, or all."""
        self._start_clock()
        if box is None or self._grid is None or len(box) != len(self._grid.shape):
            self._dirty[...] = True
        else:
            self._dirty[self._grid.covering(box)] = True

    def _start_clock(self) -> None:
        if self._since is None:
            self._since = self._journal.now()

    def _begin(self) -> None:
        """Begin a save; what is suspected while it is under way is looked at in the next one."""
        self._is_saving = True
        if self._is_suspect:
            self._dirty[...] = True
            self._is_suspect = False

    def _begin_last(self) -> bool:
        """Begin a save, due or not, if there is something to save; return whether there is."""
        self._hear()
        if self._since is None and not self._is_saving:
            return False
        self._begin()
        return True

    def _fit(self, data: NDArray[Any]) -> Grid:
        """Return how labels are cut into chunks; those of another kind begin anew."""
        if self._grid is None or data.shape != self._grid.shape or data.dtype != self._dtype:
            self._grid, self._dtype = Grid(data.shape), data.dtype
            self._dirty = np.ones(self._grid.counts, dtype=bool)
            self._submit(self._copies.restart, 0)
        return self._grid

    def _take(self, data: NDArray[Any], most: int | None = None) -> Batch:
        """Return up to `most` changed chunks, each copied when it is asked for."""
        grid = self._fit(data)
        rows = np.argwhere(self._dirty)[:most]
        self._dirty[tuple(rows.T)] = False
        indices = map(tuple, rows.tolist())
        return ((index, np.array(data[grid.box(index)], order="C")) for index in indices)

    def _copy(self, data: NDArray[Any], most: int) -> bool:
        """Hand changed chunks to the worker, up to `most` bytes; return whether there were any."""
        largest = int(np.prod(self._fit(data).chunk)) * data.itemsize
        batch = list(self._take(data, max(1, most // largest)))
        if batch:
            self._submit(self._copies.keep, sum(chunk.nbytes for _, chunk in batch), batch)
        return bool(batch)

    def _hand_over(self, facts: Callable[[], Facts]) -> None:
        """Let the worker write what it has: at this moment that is the whole layer."""
        now = replace(facts(), edits=self.edits, saved_at=time.time())
        self._submit(self._copies.write, 0, now)
        self._is_saving = False
        self._since = self._journal.now() if self._is_suspect else None
        self._unsaved = 0

    def _submit(self, work: Callable[..., Any], size: int, *arguments: Any) -> None:
        self._queue.append((self._journal.submit(work, *arguments), size))

    def _hear(self) -> None:
        """Hear what the worker has done; what failed is done again after a while, all of it."""
        while self._queue and self._queue[0][0].done():
            future, _ = self._queue.popleft()
            error = future.exception()
            if error is not None:
                self._journal.fail(error)
                self._is_saving, self._unsaved = False, 0
                self._since = self._journal.now()
                self._note(None)
            elif future.result() == "written":
                self._journal.tell("")


def _look(home: Path) -> list[Entry]:
    tidy(home)
    return [entry for entry in list_entries(home) if entry.is_lost]


def _nothing() -> None:
    """Be done when all before is done."""
