"""Share tasks among the workers of a Dask cluster: on this machine, or on many.

A task is a function and its arguments that may be done twice, since one whose
worker dies is done again by another. A file of a batch is a task; so can be the
chunks of one huge image. Needs the extra `cluster`; nothing of it is imported before.
"""

import importlib
import secrets
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_rwkv_seg.errors import ClusterError

from .batch_workers import Crew, check_workers, connected, shares_of

_BEAT_S = 0.5  # at least so often news is told, so that whoever listens can end it
_AHEAD = 2  # tasks a worker's thread has at hand, so that it need not wait for the next
_ALONE = "-alone"
_DEADLY = (
    "Several workers died while they had this one; most often memory does not suffice. "
    "Give them more, or start fewer on one machine."
)
_SCHEDULER_LOST = (
    "The scheduler was lost while it had work. Start it again and repeat the command: "
    "what is done is kept."
)
_UNDER_WAY = ("pending", "lost")  # Dask does again what was lost with a worker
_THREADS: ContextVar[int] = ContextVar("threads", default=1)


@dataclass(frozen=True)
class Task:
    """Something to be done by any worker, and without harm twice.

    Parameters
    ----------
    key : str
        What tells it from the others.
    function : callable
        Found by its name on the worker.
    arguments : tuple
        Plain values.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class TaskNews:
    """What has become of a task.

    Parameters
    ----------
    task : Task, optional
        None if nothing has happened for a moment.
    state : str
        "running" (a worker has it at hand), "done", or "lost".
    value : Any
        What the function of a "done" task returned.
    error : BaseException, optional
        Why a task is lost: what its function raised, or a ClusterError.
    """

    task: Task | None = None
    state: Literal["running", "done", "lost"] = "running"
    value: Any = None
    error: BaseException | None = None


Steps = Generator[TaskNews, None, None]


def run_tasks(tasks: Sequence[Task], crew: Crew, paths: Sequence[Path] = ()) -> Steps:
    """Have tasks done by the workers of a crew.

    Parameters
    ----------
    tasks : sequence of Task
        In the order in which they are handed out.
    crew : Crew
        Workers are started here, or those of a scheduler are used.
    paths : sequence of Path
        Absolute; what every worker must see.

    Yields
    ------
    TaskNews
        As tasks are handed out and end, and otherwise twice a second. Closing the
        generator ends all tasks; workers that were started here end with it.

    Raises
    ------
    ClusterError
        If there is no scheduler or no worker, a worker has another version or does not
        see `paths`, or the scheduler is lost on the way.
    """
    with connected(crew) as client:
        check_workers(client, paths)
        yield from _Drive(client, tasks).steps()


class _Drive:
    """Hands out tasks, a few more than there are workers, until all have ended.

    When a worker dies, Dask suspects all tasks that the worker had at hand, and gives up
    those that it has suspected several times; a result that lay on it may be forgotten.
    All these tasks are tried once more, each alone, so that only the one that kills its
    workers is lost.
    """

    def __init__(self, client: Any, tasks: Sequence[Task]) -> None:
        self._client = client
        self._waiting = list(reversed(tasks))
        self._suspects: list[Task] = []
        self._given: dict[Any, Task] = {}
        self._workers: dict[str, int] = {}
        self._shares: dict[str, int] = {}
        self._token = secrets.token_hex(4)
        self._dask: Any = importlib.import_module("distributed")

    def steps(self) -> Steps:
        """Yield what becomes of the tasks."""
        try:
            while self._waiting or self._given or self._suspects:
                yield from self._hand_out()
                if not self._some_ended():
                    yield TaskNews()
                for future in [each for each in self._given if each.status not in _UNDER_WAY]:
                    yield from self._end(future, self._given.pop(future))
        finally:
            self._client.cancel(list(self._given), force=True)

    def _hand_out(self) -> Steps:
        """Give the workers what they can take."""
        workers = self._client.nthreads()
        if workers != self._workers:
            self._workers, self._shares = workers, shares_of(self._client)
        in_all = sum(workers.values())
        while self._waiting and len(self._given) < max(1, _AHEAD * in_all):
            yield self._submit(self._waiting.pop(), "")
        if self._suspects and not self._waiting and not self._given:
            yield self._submit(self._suspects.pop(), _ALONE)

    def _submit(self, task: Task, manner: str) -> TaskNews:
        key = f"napari-rwkv-seg-{self._token}-{task.key}{manner}"
        call = (self._shares, task.function, task.arguments)
        self._given[self._client.submit(_do, *call, key=key, pure=False)] = task
        return TaskNews(task)

    def _some_ended(self) -> bool:
        """Wait a moment; return whether a task has ended."""
        try:
            with self._client.as_current():
                self._dask.wait(list(self._given), timeout=_BEAT_S, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return False
        except CancelledError:
            return True  # a task was forgotten
        return True

    def _end(self, future: Any, task: Task) -> Steps:
        """Tell what has become of a task that is not under way any more."""
        try:
            value = future.result()
        except CancelledError as error:
            if self._client.status != "running":
                raise ClusterError(_SCHEDULER_LOST) from error
            self._suspects.append(task)
        except Exception as error:  # noqa: BLE001 - what a task raises is the caller's to judge
            if not isinstance(error, self._dask.KilledWorker):
                yield TaskNews(task, "lost", error=error)
            elif future.key.endswith(_ALONE):
                yield TaskNews(task, "lost", error=ClusterError(_DEADLY))
            else:
                self._suspects.append(task)
        else:
            yield TaskNews(task, "done", value)


def take_share() -> int:
    """Let torch have this task's share of the cores, and return how many; on a worker."""
    import torch

    torch.set_num_threads(_THREADS.get())
    return _THREADS.get()


def _do(shares: dict[str, int], function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Do a task that shares its machine with others; on a worker."""
    dask: Any = importlib.import_module("distributed")
    fewest = min(shares.values(), default=1)  # for a worker that has joined since
    _THREADS.set(shares.get(dask.get_worker().address, fewest))
    return function(*arguments)
