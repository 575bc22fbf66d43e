"""What a user does who segments: choose, run, cancel, adjust.

A `SegmentController` holds the choices, starts jobs, and keeps the probabilities
of the last one, so that labels can be made anew at once. The work of a job is a
generator that any thread may run; news is told on the thread that calls `hear`
and `finish`, so a window calls these on its own thread. Of several jobs the
newest wins, whichever ends last. Knows no Qt, no napari and no torch.
"""

import logging
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal

from napari_rwkv_seg.errors import CancelledError, ImageError

from .engine import Engine, InferenceEngine
from .sentences import license_warning, mishap
from .settings import SegmentSettings
from .streaming import StreamPlan

if TYPE_CHECKING:
    from napari_rwkv_seg.inference.progress import Progress
    from napari_rwkv_seg.inference.segment import Segmentation
    from napari_rwkv_seg.inference.streaming import StreamedSegmentation

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Job:
    """One run, as it was asked for; later changes of the settings do not touch it.

    Parameters
    ----------
    kind : "segment" or "relabel"
        Whether the network runs, or labels are made anew from kept probabilities.
    number : int
        Counts the jobs of a kind; the highest is the newest.
    settings : SegmentSettings
        The choices when it began.
    image : callable, optional
        Returns the pixels, in the axes of `settings.axes`; called in the worker.
    about : dict
        Plain facts that go into the result's provenance.
    segmentation : Segmentation, optional
        What a "relabel" starts from.
    plan : StreamPlan, optional
        Where the result goes if it is streamed.
    """

    kind: Literal["segment", "relabel"]
    number: int
    settings: SegmentSettings
    image: Callable[[], Any] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    segmentation: "Segmentation | None" = None
    plan: StreamPlan | None = None
    stopped: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a segmentation, streamed or whole, by a sentence, or cancelled."""

    job: Job
    segmentation: "Segmentation | None" = None
    sentence: str = ""
    running_on: tuple[str, str] = ("", "")
    streamed: "StreamedSegmentation | None" = None


class SegmentController:
    """Choices, jobs and the last result of one window.

    Parameters
    ----------
    engine : Engine, optional
        What does the work; by default this package's inference.
    settings : SegmentSettings, optional
        The choices to start with.
    """

    settings_changed = Signal(SegmentSettings)
    started = Signal(Job)
    progressed = Signal(object)  # a Progress
    segmented = Signal(Outcome)
    streamed = Signal(Outcome)
    relabelled = Signal(Outcome)
    cancelled = Signal(Job)
    failed = Signal(str)

    def __init__(
        self, engine: Engine | None = None, settings: SegmentSettings | None = None
    ) -> None:
        self._engine: Engine = engine or InferenceEngine()
        self._settings = settings or SegmentSettings()
        self._newest = {"segment": 0, "relabel": 0}
        self._running: Job | None = None
        self._relabelling: Job | None = None
        self._kept: Outcome | None = None

    @property
    def settings(self) -> SegmentSettings:
        """The choices as they are now."""
        return self._settings

    @property
    def running(self) -> Job | None:
        """The run of the network that is under way."""
        return self._running

    @property
    def kept(self) -> Outcome | None:
        """The last result with its probabilities; ours, so layers get copies."""
        return self._kept

    def choose(self, **changes: Any) -> None:
        """Change settings by name; names of `LabelSettings` count too.

        Raises
        ------
        SettingsError
            If a value lies outside its range; then nothing is changed.
        TypeError
            If there is no such setting.
        """
        own = {name: changes.pop(name) for name in list(changes) if hasattr(self._settings, name)}
        labels = own.pop("labels", self._settings.labels)
        settings = replace(self._settings, **own, labels=replace(labels, **changes))
        if settings != self._settings:
            self._settings = settings
            self.settings_changed.emit(settings)

    def begin(
        self,
        image: Callable[[], Any],
        about: dict[str, Any] | None = None,
        plan: StreamPlan | None = None,
        settings: SegmentSettings | None = None,
    ) -> Job:
        """Make the newest job; an older one is told to stop.

        Parameters
        ----------
        image : callable
            Returns the pixels in the axes of the settings; called by the worker.
        about : dict, optional
            Plain facts for the result's provenance, such as the layer's name.
        plan : StreamPlan, optional
            Where to stream the result; it is kept whole if there is none.
        settings : SegmentSettings, optional
            What the job does; the choices as they are if there is none.
        """
        self.stop()
        number = self._count("segment")
        job = Job("segment", number, settings or self._settings, image, about or {}, plan=plan)
        self._running = job
        self.started.emit(job)
        return job

    def begin_relabel(self) -> Job | None:
        """Make a job that makes labels anew by the settings; None if they are so already."""
        kept = self._kept
        if kept is None or kept.segmentation is None:
            return None
        if kept.segmentation.settings == self._settings.labels:
            return None
        number = self._count("relabel")
        self._relabelling = Job(
            "relabel", number, self._settings, about=kept.job.about, segmentation=kept.segmentation
        )
        return self._relabelling

    def steps(self, job: Job) -> Generator["Progress", None, Outcome]:
        """Do a job's work, step by step, in whatever thread runs the generator.

        Closing the generator, or `stop`, cancels between two steps. It never
        raises: however a job ends, that is its outcome.
        """
        try:
            return (yield from self._work(job))
        except GeneratorExit:
            raise
        except CancelledError:
            return Outcome(job)
        except BaseException as error:  # noqa: BLE001 - a job's boundary: even SystemExit in a library must end it
            _log.exception("A job ended by an error")
            return Outcome(job, sentence=mishap(error))

    def hear(self, job: Job, progress: "Progress") -> None:
        """Tell how far a job is, unless it was stopped or is not the newest any more."""
        if job is self._running and not job.stopped.is_set():
            self.progressed.emit(progress)

    def finish(self, outcome: Outcome) -> None:
        """Keep and tell the outcome of a job; of a job that is not the newest, nothing."""
        job = outcome.job
        if job.number != self._newest[job.kind]:
            return
        if job.kind == "relabel":
            self._finish_relabel(outcome)
            return
        self._running = None
        if outcome.streamed is not None:
            self._kept = None  # there are no probabilities that could be adjusted
            self.streamed.emit(outcome)
        elif job.stopped.is_set() or (outcome.segmentation is None and not outcome.sentence):
            self.cancelled.emit(job)
        elif outcome.sentence:
            self.failed.emit(outcome.sentence)
        else:  # the image may be large, and is needed no more
            self._kept = replace(outcome, job=replace(job, image=None))
            self.segmented.emit(self._kept)

    def stop(self) -> None:
        """Tell the running job to stop after its present step."""
        if self._running is not None:
            self._running.stopped.set()

    def stop_relabel(self) -> None:
        """Tell the making of labels, if it is under way, to stop after its present plane."""
        if self._relabelling is not None:
            self._relabelling.stopped.set()

    def _count(self, kind: str) -> int:
        self._newest[kind] += 1
        return self._newest[kind]

    def _finish_relabel(self, outcome: Outcome) -> None:
        """Keep new labels, unless another run has brought new probabilities meanwhile."""
        if self._kept is None or outcome.job.segmentation is not self._kept.segmentation:
            return
        if outcome.sentence:
            self.failed.emit(outcome.sentence)
            return
        if outcome.segmentation is None:
            return
        self._kept = replace(self._kept, segmentation=outcome.segmentation)
        self.relabelled.emit(self._kept)

    def _work(self, job: Job) -> Generator["Progress", None, Outcome]:
        """Load, read, run and label; raises whatever goes wrong."""
        from napari_rwkv_seg.inference.progress import Progress

        if job.segmentation is not None:
            yield Progress(0, 0, None, "Making labels …")
            steps = self._engine.relabel(job.segmentation, job.settings.labels)
            return Outcome(job, (yield from _until_stopped(job, steps)))
        yield Progress(0, 0, None, "Loading the model …")
        _check(job)
        settings = job.settings
        model = self._engine.load(settings.model, settings.device, settings.views)
        yield Progress(0, 0, None, "Reading the image …")
        _check(job)
        if job.image is None:
            raise ImageError("There is no image to segment; open one.")
        if job.plan is not None:
            card = model.card
            about = {**job.about, **_license_facts(card.license)}
            fill = self._engine.stream(job.image(), model, job.settings, job.plan, about)
            streamed = yield from _until_stopped(job, fill)
            return Outcome(job, streamed=streamed, running_on=self._engine.running_on(model))
        steps = self._engine.steps(job.image(), model, job.settings)
        segmentation = yield from _until_stopped(job, steps)
        facts = segmentation.provenance | job.about | _license_facts(segmentation.card.license)
        segmentation = replace(segmentation, provenance=facts)
        return Outcome(job, segmentation, running_on=self._engine.running_on(model))


def _license_facts(license_: str) -> dict[str, Any]:
    """Return what a result's provenance says of its model's licence."""
    return {"license": license_, "license_warning": license_warning(license_)}


def _until_stopped(
    job: Job, steps: Generator["Progress", None, Any]
) -> Generator["Progress", None, Any]:
    """Pass on the steps of the engine, and return what they return, unless the job is stopped."""
    try:
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                return end.value
            _check(job)
            yield progress
            _check(job)
    finally:
        steps.close()


def _check(job: Job) -> None:
    """End a job that was told to stop."""
    if job.stopped.is_set():
        raise CancelledError("The user cancelled.")
