"""Share tasks among the workers of a Dask cluster: on this machine, or on many.

A task is a function and its arguments that may be done twice, since one whose
worker dies is done again by another. A file of a batch is a task; so can be the
chunks of one huge image. Needs the extra `cluster`; nothing of it is imported before.
"""

import importlib
import importlib.util
import logging
import os
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from napari_rwkv_seg.errors import ClusterError, SettingsError

JOIN_S = 60.0  # for the first worker to join a scheduler
_BEAT_S = 0.5  # at least so often news is told, so that whoever listens can end it
_AHEAD = 2  # tasks a worker's thread has at hand, so that it need not wait for the next
_WORDS = "pip install 'napari-rwkv-seg[cluster]'"


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Parameters
    ----------
    workers : int
        Processes to start on this machine; 0 if `scheduler` is given.
    scheduler : str
        Address of a running scheduler, or "".
    """

    workers: int = 0
    scheduler: str = ""


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


def crew_of(workers: int = 0, scheduler: str = "") -> Crew | None:
    """Return the crew of these choices, or None if there is to be none.

    Raises
    ------
    SettingsError
        If both are given, or `workers` is negative.
    ClusterError
        If the extra `cluster` is not installed.
    """
    if not workers and not scheduler:
        return None
    if workers < 0 or (workers and scheduler):
        raise SettingsError("Give a number of workers or a scheduler's address, not both.")
    if importlib.util.find_spec("distributed") is None:
        raise ClusterError(f"Sharing work needs the package 'distributed': {_WORDS}.")
    return Crew(workers, scheduler)


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
    with _connected(crew) as client:
        _check_workers(client, paths)
        yield from _drive(client, tasks)


@contextmanager
def _connected(crew: Crew) -> Iterator[Any]:
    """Give a client of the crew's scheduler."""
    dask: Any = importlib.import_module("distributed")
    cluster = None
    try:
        if crew.scheduler:
            client = dask.Client(crew.scheduler, timeout=JOIN_S / 4, set_as_default=False)
        else:
            cluster = dask.LocalCluster(
                n_workers=crew.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",  # nobody else is to join
                dashboard_address=None,
                memory_limit=0,  # what an image needs is checked when it is read
                silence_logs=logging.CRITICAL,
            )
            client = dask.Client(cluster, set_as_default=False)
    except (OSError, ValueError) as error:
        if cluster is not None:
            cluster.close()
        raise ClusterError(
            f"No scheduler answers at {crew.scheduler or 'this machine'!r}: {error}. "
            "Start one with 'dask scheduler', and give the address that it tells."
        ) from error
    try:
        yield client
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def _check_workers(client: Any, paths: Sequence[Path]) -> None:
    """Wait for a worker, and see that every worker can do the work."""
    try:
        client.wait_for_workers(1, timeout=JOIN_S)
    except TimeoutError as error:
        raise ClusterError(
            f"No worker has joined the scheduler within {JOIN_S:.0f} s. "
            "Start some with 'dask worker' and the scheduler's address."
        ) from error
    answers = client.run(_seen, [str(path) for path in paths], on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            raise ClusterError(
                f"Worker {worker} cannot run this package ({type(answer).__name__}: {answer}). "
                "Install the same version of napari-rwkv-seg there."
            )
        its_version, missing = answer
        if its_version != version("napari-rwkv-seg"):
            raise ClusterError(
                f"Worker {worker} has version {its_version} of napari-rwkv-seg, not "
                f"{version('napari-rwkv-seg')}. Install the same version there."
            )
        if missing:
            raise ClusterError(
                f"Worker {worker} does not see {missing[0]!r}. Images, results and models must "
                "lie on a disk that all workers share, under the same path."
            )


def _seen(paths: list[str]) -> tuple[str, list[str]]:
    """Return the version of this package, and those of `paths` that are not there; on a worker."""
    return version("napari-rwkv-seg"), [path for path in paths if not os.path.exists(path)]


def _drive(client: Any, tasks: Sequence[Task]) -> Steps:
    """Hand out tasks, a few more than there are workers, until all have ended."""
    dask: Any = importlib.import_module("distributed")
    token, waiting = secrets.token_hex(4), list(reversed(tasks))
    given: dict[Any, Task] = {}
    try:
        while waiting or given:
            share, threads = _threads(client)
            while waiting and len(given) < max(1, _AHEAD * threads):
                task = waiting.pop()
                key = f"napari-rwkv-seg-{token}-{task.key}"
                call = (share, task.function, task.arguments)
                given[client.submit(_do, *call, key=key, pure=False)] = task
                yield TaskNews(task)
            try:
                with client.as_current():
                    dask.wait(list(given), timeout=_BEAT_S, return_when="FIRST_COMPLETED")
            except TimeoutError:
                yield TaskNews()
            for future in [each for each in given if each.status != "pending"]:
                yield _ended(future, given.pop(future))
    finally:
        client.cancel(list(given), force=True)


def _ended(future: Any, task: Task) -> TaskNews:
    """Return what has become of a task that is not under way any more."""
    dask: Any = importlib.import_module("distributed")
    if future.status == "finished":
        return TaskNews(task, "done", future.result())
    if future.status != "error":
        raise ClusterError(
            "The scheduler was lost while it had work. Start it again and repeat the command: "
            "what is done is kept."
        )
    error: BaseException = future.exception()
    if isinstance(error, dask.KilledWorker):
        error = ClusterError(
            "Several workers died while they had this one; most often memory does not suffice. "
            "Give them more, or start fewer on one machine."
        )
    return TaskNews(task, "lost", error=error)


def _threads(client: Any) -> tuple[int, int]:
    """Return how many tasks run on one machine at a time, at most, and how many in all."""
    hosts: dict[str, int] = {}
    for address, threads in client.nthreads().items():  # "tcp://host:port"
        host = address.rpartition(":")[0]
        hosts[host] = hosts.get(host, 0) + threads
    return max(hosts.values(), default=1), sum(hosts.values())


def _do(share: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Do a task; on a worker. Torch gets its share of the cores."""
    import torch

    torch.set_num_threads(max(1, _cores() // share))
    return function(*arguments)


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
