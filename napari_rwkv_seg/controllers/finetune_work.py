"""What fine-tuning has a worker do: make the run's folder, and foresee what will be held out.

Functions on plain values; they touch no layer, no widget and no torch. `attempt` is
the one place where everything is caught.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import CancelledError
from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.training.pairs import TrainingPair, check_pairs
from napari_rwkv_seg.training.run_folder import prepare_run
from napari_rwkv_seg.training.run_settings import RunSettings
from napari_rwkv_seg.training.split import BAND, split_pairs

from .finetune_pairs import Planes
from .finetune_runs import discard_run
from .sentences import mishap

_log = logging.getLogger(__name__)

Value = TypeVar("Value")
Mine = tuple[Hashable, Planes]


@dataclass(frozen=True)
class Attempt(Generic[Value]):
    """What a worker brought: a value, a sentence why there is none, or neither if cancelled."""

    value: Value | None = None
    sentence: str = ""


@dataclass(frozen=True, eq=False)
class RunJob:
    """A run as it was asked for; later changes of the choices do not touch it.

    Parameters
    ----------
    settings : RunSettings
        The choices when it began.
    planes : tuple of (key, callable)
        The row of each pair, and what gives its pixels as they were then.
    folder : Path
        Where the run is to lie.
    origins : list of key
        Filled by `prepare`: the row that each pair of the run came from.
    """

    settings: RunSettings
    planes: tuple[Mine, ...]
    folder: Path
    origins: list[Hashable] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Plan:
    """What would become of the pairs, before any training.

    Parameters
    ----------
    sentence : str
        What is learnt from and what is held out.
    warnings : tuple of str
        What is unwise but can be done.
    """

    sentence: str
    warnings: tuple[str, ...] = ()


def attempt(work: Callable[[], Value]) -> Attempt[Value]:
    """Return what `work` returns, or why it did not."""
    try:
        return Attempt(work())
    except CancelledError:
        return Attempt()
    except BaseException as error:  # noqa: BLE001 - a job's boundary, see SegmentController
        sentence = mishap(error)
        _log.debug("A part of fine-tuning ended by an error", exc_info=True)
        return Attempt(sentence=sentence)


def prepare(job: RunJob) -> Path:
    """Make the folder of a run and return it; it is there whole or not at all.

    Raises
    ------
    CancelledError
        If the job was stopped.
    RwkvSegError
        If nothing can be learnt from the pairs, or the folder cannot be written.
    """
    pairs = []
    for key, pair in _read(job.planes, job.stopped):
        pairs.append(pair)
        job.origins.append(key)
    _checked(pairs, job.settings)
    folder = prepare_run(job.folder, job.settings, pairs).path
    if job.stopped.is_set():
        discard_run(folder)
        raise CancelledError("The user cancelled.")
    return folder


def plan(settings: RunSettings, planes: Sequence[Mine], stopped: threading.Event) -> Plan:
    """Return how a run with these settings would split these pairs.

    Raises
    ------
    CancelledError
        If it was stopped.
    RwkvSegError
        If nothing can be learnt from the pairs, or nothing held out.
    """
    pairs = [pair for _, pair in _read(planes, stopped)]
    warnings = check_pairs(pairs, settings)
    split = split_pairs(pairs, settings.labels, len(settings.classes), BAND, settings.seed)
    return Plan(split.sentence, warnings)


def save_pixels(path: Path, pixels: NDArray[Any]) -> None:
    """Write the pixels that a preview is wanted of, for the process that trains.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_atomically(path, lambda file: np.save(file, pixels, allow_pickle=False))


def _checked(pairs: Sequence[TrainingPair], settings: RunSettings) -> None:
    """Refuse pairs that the run would refuse, before anything is written."""
    check_pairs(pairs, settings)
    split_pairs(pairs, settings.labels, len(settings.classes), BAND, settings.seed)


def _read(
    planes: Sequence[Mine], stopped: threading.Event
) -> Iterator[tuple[Hashable, TrainingPair]]:
    """Yield every pair with the row that it came from."""
    for key, read in planes:
        for pair in read():
            if stopped.is_set():
                raise CancelledError("The user cancelled.")
            yield key, pair
