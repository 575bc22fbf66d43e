"""What a user does who evaluates: choose labels and the truth, compare, save the table.

The work of a job is a generator that any thread may run; news is told on the thread that
calls `hear` and `finish`. Knows no Qt, no napari and no torch.
"""

import logging
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_rwkv_seg.errors import CancelledError, SettingsError
from napari_rwkv_seg.evaluation.comparison import EvaluationSettings, Meaning
from napari_rwkv_seg.evaluation.run import (
    Compared,
    Evaluation,
    PairSource,
    evaluate_steps,
    file_sources,
    read_tolerance,
)
from napari_rwkv_seg.evaluation.tables import write_scores

from .evaluate_layers import STACKS, LayerComparison, LayerFacts, Stack, check_place
from .sentences import mishap

_log = logging.getLogger(__name__)

What = Literal["layers", "folders"]
WHATS: tuple[What, ...] = ("layers", "folders")
MEANINGS: tuple[Meaning, ...] = ("classes", "objects")
NO_LAYERS = "Open two Labels layers: a prediction and the truth. Or compare two folders."
NO_FOLDERS = "Choose a folder of predictions and one of true labels."
SAME_LAYER = "Prediction and truth are the same layer; choose two."


@dataclass(frozen=True)
class EvaluateChoices:
    """The choices of the window.

    Parameters
    ----------
    what : "layers" or "folders"
        What is compared.
    labels : "classes" or "objects"
        What numbers stand for.
    stack : "body" or "planes"
        How stacks in layers are compared.
    tolerance : str
        Of the surface Dice, with its unit; "" for one pixel.
    found, true : Path, optional
        The folders.
    """

    what: What = "layers"
    labels: Meaning = "classes"
    stack: Stack = "body"
    tolerance: str = ""
    found: Path | None = None
    true: Path | None = None

    def __post_init__(self) -> None:
        for value, values in (
            (self.what, WHATS),
            (self.labels, MEANINGS),
            (self.stack, STACKS),
        ):
            if value not in values:
                raise SettingsError(f"{value!r} is none of {', '.join(values)}.")


@dataclass(frozen=True, eq=False)
class EvaluateJob:
    """One evaluation as it was asked for; later changes of the choices do not touch it.

    Parameters
    ----------
    number : int
        Counts the jobs.
    choices : EvaluateChoices
        As they were.
    layers : tuple of LayerFacts
        Labels and the truth; () for folders.
    """

    number: int
    choices: EvaluateChoices
    layers: tuple[LayerFacts, ...] = ()
    stopped: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Evaluated:
    """How a job ended: with scores, by a sentence, or (neither) cancelled.

    Parameters
    ----------
    job : EvaluateJob
        What was asked for.
    evaluation : Evaluation, optional
        The scores.
    differences : uint8 array, optional
        Where two layers differ, in the shape of their arrays.
    sentence : str
        Why there are no scores.
    """

    job: EvaluateJob
    evaluation: Evaluation | None = None
    differences: NDArray[np.uint8] | None = None
    sentence: str = ""


class EvaluateController:
    """Choices, jobs and the last result of one window."""

    choices_changed = Signal(EvaluateChoices)
    started = Signal(EvaluateJob)
    progressed = Signal(Compared)
    evaluated = Signal(Evaluated)
    cancelled = Signal(EvaluateJob)
    failed = Signal(str)

    def __init__(self) -> None:
        self._choices = EvaluateChoices()
        self._running: EvaluateJob | None = None
        self._kept: Evaluated | None = None
        self._count = 0

    @property
    def choices(self) -> EvaluateChoices:
        """The choices as they are now."""
        return self._choices

    @property
    def running(self) -> EvaluateJob | None:
        """The job that is under way."""
        return self._running

    @property
    def kept(self) -> Evaluated | None:
        """The last scores."""
        return self._kept

    def choose(self, **changes: Any) -> None:
        """Change choices by name.

        Raises
        ------
        SettingsError
            If a value is none of those that there are; then nothing is changed.
        """
        choices = replace(self._choices, **changes)
        if choices != self._choices:
            self._choices = choices
            self.choices_changed.emit(choices)

    def problem(self, found: LayerFacts | None, true: LayerFacts | None) -> str:
        """Return why there is nothing to compare, in a sentence; "" if there is."""
        choices = self._choices
        try:
            read_tolerance(choices.tolerance or None)
            if choices.what == "folders":
                return "" if choices.found and choices.true else NO_FOLDERS
            if found is None or true is None:
                return NO_LAYERS
            check_place(found, true)
        except Exception as error:  # noqa: BLE001 - told in the window, as a job's would be
            return mishap(error)
        return ""

    def begin(self, layers: Sequence[LayerFacts] = ()) -> EvaluateJob:
        """Make a job of the choices as they are; an older one is told to stop."""
        self.stop()
        self._count += 1
        self._running = EvaluateJob(self._count, self._choices, tuple(layers))
        self.started.emit(self._running)
        return self._running

    def steps(self, job: EvaluateJob) -> Generator[Compared, None, Evaluated]:
        """Do a job's work in whatever thread runs the generator; it never raises."""
        try:
            return (yield from _work(job))
        except GeneratorExit:
            raise
        except CancelledError:
            return Evaluated(job)
        except BaseException as error:  # noqa: BLE001 - a job's boundary, see SegmentController
            sentence = mishap(error)
            _log.debug("An evaluation ended by an error", exc_info=True)
            return Evaluated(job, sentence=sentence)

    def hear(self, job: EvaluateJob, progress: Compared) -> None:
        """Tell how far a job is, unless it was stopped or is not the newest any more."""
        if job is self._running and not job.stopped.is_set():
            self.progressed.emit(progress)

    def finish(self, outcome: Evaluated) -> None:
        """Keep and tell the outcome of a job; of a job that is not the newest, nothing."""
        job = outcome.job
        if job is not self._running:
            return
        self._running = None
        if outcome.sentence:
            self.failed.emit(outcome.sentence)
        elif job.stopped.is_set() or outcome.evaluation is None:
            self.cancelled.emit(job)
        else:
            self._kept = replace(outcome, job=_without_pixels(job))
            self.evaluated.emit(self._kept)

    def stop(self) -> None:
        """Tell the running job to stop."""
        if self._running is not None:
            self._running.stopped.set()

    def save(self, path: Path) -> Path:
        """Write the table of the last scores as CSV and return its path; any thread may do it.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        path, kept = table_path(path), self._kept
        write_scores(path, kept.evaluation.rows if kept and kept.evaluation else ())
        return path


def table_path(path: Path) -> Path:
    """Return the file that a table is written to: with the ending .csv."""
    return path if path.suffix.lower() == ".csv" else path.with_name(f"{path.name}.csv")


def _without_pixels(job: EvaluateJob) -> EvaluateJob:
    """Return a job that is over without its copies of two arrays of labels."""
    return replace(job, layers=tuple(replace(one, read=lambda: None) for one in job.layers))


def _work(job: EvaluateJob) -> Generator[Compared, None, Evaluated]:
    """Compare; raises whatever goes wrong."""
    choices = job.choices
    number, unit = read_tolerance(choices.tolerance or None)
    sources: Sequence[PairSource]
    notes: tuple[str, ...] = ()
    names: dict[int, str] = {}
    comparison = None
    if choices.what == "layers":
        found, true = job.layers
        comparison = LayerComparison(found, true, choices.stack, choices.labels)
        sources = [comparison.source()]
        names = {**found.class_names, **true.class_names} if choices.labels == "classes" else {}
    elif choices.found is not None and choices.true is not None:
        sources, notes = file_sources(choices.found, choices.true)
    else:
        raise SettingsError(NO_FOLDERS)
    settings = EvaluationSettings(choices.labels, number, unit, names)
    evaluation = yield from evaluate_steps(sources, settings, job.stopped.is_set)
    evaluation = replace(evaluation, notes=(*notes, *evaluation.notes))
    return Evaluated(job, evaluation, comparison.differences if comparison else None)
