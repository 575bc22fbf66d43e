"""The workers of a Dask cluster: started here, or found through a scheduler, and checked.

Needs the extra `cluster`; nothing of it is imported before it is wanted.
"""

import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import ClusterError, SettingsError

JOIN_S = 60.0  # for the first worker to join a scheduler
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


@contextmanager
def connected(crew: Crew) -> Iterator[Any]:
    """Give a client of the crew's scheduler."""
    dask: Any = importlib.import_module("distributed")
    cluster = None
    try:
        if crew.scheduler:
            _check_address(crew.scheduler)
            client = dask.Client(crew.scheduler, timeout=JOIN_S / 4, set_as_default=False)
        else:
            cluster = dask.LocalCluster(
                n_workers=crew.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",  # nobody else is to join
                dashboard_address="127.0.0.1:0",  # any free port: there may be other batches
                memory_limit=0,  # what an image needs is checked when it is read
                silence_logs=logging.CRITICAL,
            )
            client = dask.Client(cluster, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
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


def _check_address(address: str) -> None:
    """Refuse what is no address: a client of it would be waited for when Python ends.

    Raises
    ------
    ValueError
        If the address names a protocol that is not known, or no port.
    """
    comm: Any = importlib.import_module("distributed.comm")
    scheme, place = comm.parse_address(address)
    comm.registry.get_backend(scheme)
    if scheme != "inproc":
        comm.parse_host_port(place)


def check_workers(client: Any, paths: Sequence[Path]) -> None:
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


def shares_of(client: Any) -> dict[str, int]:
    """Return how many cores each task may use, by the addresses of the workers.

    Workers that may use the very same cores of a machine share them; a scheduler such as
    SLURM gives each worker cores of its own.
    """
    cores = client.run(_cores, on_error="ignore")
    threads = client.nthreads()
    takers: dict[tuple[str, tuple[int, ...]], int] = {}
    for worker, ours in cores.items():
        place = (_host(worker), ours)
        takers[place] = takers.get(place, 0) + threads.get(worker, 1)
    return {
        worker: max(1, len(ours) // takers[_host(worker), ours]) for worker, ours in cores.items()
    }


def _host(worker: str) -> str:
    """Return the machine of a worker's address, such as "tcp://host:port"."""
    return worker.rpartition(":")[0]


def _cores() -> tuple[int, ...]:
    """Return the cores that this process may use; on a worker."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
