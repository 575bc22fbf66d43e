"""Between a viewer's layers and a controller: read the image, run the job, write the labels.

The only place that hands pixels over. Arrays are copied on the main thread when
a run begins (lazy ones are read in the worker), layers are touched on the main
thread only, and everything is let go when the dock or the window closes.
"""

import logging
import weakref
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.controllers.segment import Job, Outcome, SegmentController
from napari_rwkv_seg.controllers.sentences import mishap
from napari_rwkv_seg.controllers.settings import SegmentSettings
from napari_rwkv_seg.controllers.streaming import Crop, StreamPlan
from napari_rwkv_seg.errors import ImageError, RwkvSegError

from .image_choice import ImageChoice
from .job_runner import JobRunner, ignored
from .label_changes import Change
from .placement import Asked, place
from .regions import find_region, level_data, pixel_reader
from .result import Result
from .result_layers import ResultLayers
from .stream_choice import stream_forecast, stream_plan
from .streamed_layers import StreamedLayers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)


class ViewerLink:
    """Joins one viewer and one controller.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    controller : SegmentController
        Its jobs are run here, its results shown here.
    """

    def __init__(self, viewer: Any, controller: SegmentController) -> None:
        self._viewer = weakref.ref(viewer)
        self._controller = controller
        self.choice = ImageChoice(viewer, controller)
        self._results = ResultLayers(viewer)
        self._streamed = StreamedLayers(viewer)
        self._network = JobRunner("Segment", on_cancel=controller.stop)
        self._labels = JobRunner()
        self._asked: dict[int, Asked] = {}
        self._adjust_again = False
        self._with_probabilities = False
        self.store: Path | None = None  # what the last streamed run fills
        self._connections: list[tuple[Any, Callable[..., object]]] = [
            (controller.settings_changed, self._adjust),
        ]
        for signal, slot in self._connections:
            signal.connect(slot)

    @property
    def is_busy(self) -> bool:
        """Whether a run or the making of labels is under way."""
        return self._network.is_busy or self._labels.is_busy

    def run(self) -> None:
        """Begin a job on the chosen image, as the controller's settings say."""
        try:
            settings = self._settings_of_run()
            asked, image, about, plan = self._prepare(settings)
        except RwkvSegError as error:
            self._controller.failed.emit(str(error))
            return
        self.store = None
        job = self._controller.begin(image, about, plan, settings)
        self._asked = {job.number: asked, **self._kept_asked()}
        self._network.start(
            partial(self._controller.steps, job),
            partial(self._on_step, job),
            partial(self._on_end, job),
        )

    def show_probabilities(self, wanted: bool) -> None:
        """Show the kept probabilities as image layers, now and after every run, or remove them."""
        self._with_probabilities = wanted
        kept = self._controller.kept
        if not wanted:
            self._results.hide_probabilities()
        elif kept is not None:
            self._show(lambda: self._results.show_probabilities(self._result(kept)))

    def forecast(self) -> str:
        """Return what will happen if the chosen image is streamed; "" if it will not be."""
        layer = self.choice.image
        if layer is None or self.choice.facts().problem:
            return ""
        return stream_forecast(layer, self._settings_of_run())

    def mask_of(self, outcome: Outcome) -> "NDArray[np.bool_] | None":
        """Return which pixels (Y, X) of a result count; None if all do."""
        return self._asked[outcome.job.number].region.mask

    def copy_view(self) -> None:
        """Copy what is in view of streamed labels into a layer that can be painted on."""
        try:
            self._streamed.copy_view()
        except RwkvSegError as error:
            self._controller.failed.emit(str(error))

    @property
    def has_streamed(self) -> bool:
        """Whether there are streamed labels to copy from."""
        return self._streamed.has_layer()

    def stop(self) -> None:
        """Cancel what runs, and wait until it has ended."""
        self._adjust_again = False
        self._controller.stop()
        self._controller.stop_relabel()
        self._network.wait()
        self._labels.wait()

    def close(self) -> None:
        """Cancel, wait, and let go of viewer and controller."""
        self.stop()
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections.clear()
        self.choice.close()

    def _prepare(
        self, settings: SegmentSettings
    ) -> tuple[Asked, Callable[[], Any], dict[str, Any], StreamPlan | None]:
        """Return where the result goes, what reads the pixels, facts, and how it is streamed."""
        viewer, layer = self._viewer(), self.choice.image
        problem = self.choice.facts().problem
        if viewer is None or layer is None or problem:
            raise ImageError(problem)
        region = find_region(viewer, layer, settings.scope, settings.axes, settings.level)
        where = place(layer, settings.axes, settings.level, region)
        asked = Asked(weakref.ref(layer), layer.name, settings.axes, settings.level, region, where)
        about = {
            "layer": layer.name,
            "scope": settings.scope,
            "region": region.spans(),
            "level": settings.level,
        }
        pixels = level_data(layer, settings.level)
        plan = stream_plan(layer, settings, region, where)
        if plan is not None:
            return asked, lambda: Crop(pixels, region.box), about, plan
        return asked, pixel_reader(pixels, region.box), about, None

    def _settings_of_run(self) -> SegmentSettings:
        """Return the choices for a run now: only a whole volume has planes from the side."""
        settings = self._controller.settings
        if settings.scope == "whole layer" and self.choice.facts().is_volume:
            return replace(settings, spacing=self.choice.spacing())
        return replace(settings, directions="Z", spacing=None)

    def _on_step(self, job: Job, progress: Any) -> None:
        self._controller.hear(job, progress)
        if job.plan is not None and job.number in self._asked:
            self._show(partial(self._fill, job, progress.store))
        self._network.show(progress.done, progress.total)

    def _fill(self, job: Job, store: Path | None) -> None:
        """Show the store that a streamed run fills, once it is there."""
        if store is not None:
            asked, self.store = self._asked[job.number], store
            title = f"{asked.name_now()} · {Path(job.settings.model).name}"
            self._streamed.begin(store, title, asked.place_now(), asked.axes)
        elif self.store is not None:
            self._streamed.refresh(self.store)

    def _on_end(self, job: Job, outcome: Outcome | None) -> None:
        """Let a worker find what a new result changes, before the job is said to have ended."""
        is_wanted = self._controller.running is job and not job.stopped.is_set()
        if outcome is None or outcome.segmentation is None or not is_wanted:
            self._on_found(job, outcome, None)
            return
        result = self._result(outcome)
        find = partial(self._results.begin(result), result)
        self._labels.start(find, ignored, partial(self._on_found, job, outcome))

    def _on_found(self, job: Job, outcome: Outcome | None, change: Change | None) -> None:
        """Show new labels; make them anew if the user has adjusted the settings meanwhile."""
        kept = self._finish(job, outcome)
        if kept is not None:
            self._show(partial(self._show_new, kept, change))
        elif job.plan is not None and self.store is not None:
            self._show(partial(self._show_streamed, self.store, outcome))
        if kept is not None or self._adjust_again:
            self._adjust_again = False
            self._adjust()

    def _show_streamed(self, folder: Path, outcome: Outcome | None) -> None:
        """Show a store as the run has left it."""
        done = outcome.streamed if outcome is not None else None
        if done is None:
            self._streamed.refresh(folder, at_once=True)
        else:
            output = done.settings.output
            self._streamed.end(folder, done.card.classes, output, done.provenance)

    def _show_new(self, outcome: Outcome, change: Change | None) -> None:
        result = self._result(outcome)
        self._results.show(result, change=change)
        if self._with_probabilities:
            self._results.show_probabilities(result)

    def _finish(self, job: Job, outcome: Outcome | None) -> Outcome | None:
        """End a job; return what the controller keeps if that is new."""
        before = self._controller.kept
        self._controller.finish(outcome or Outcome(job))
        kept = self._controller.kept
        return kept if kept is not before else None

    def _show(self, show: Callable[[], object]) -> None:
        """Touch the layers; say so if that fails, when a job has ended and the dock says so."""
        try:
            show()
        except Exception as error:  # noqa: BLE001 - a job's boundary: a layer may need too much memory
            _log.exception("A result could not be shown")
            self._controller.failed.emit(mishap(error))

    def _adjust(self, _: object = None) -> None:
        """Make labels anew from kept probabilities; while that runs, remember to do it again."""
        kept = self._controller.kept
        if kept is None or kept.job.settings.model != self._controller.settings.model:
            return
        if self._labels.is_busy:
            self._adjust_again = True
            self._controller.stop_relabel()
            return
        job = self._controller.begin_relabel()
        if job is not None:
            result = self._result(kept)
            find = self._results.begin(result, adjusted=True)
            steps = partial(self._relabel, job, result, find)
            self._labels.start(steps, ignored, partial(self._on_adjusted, job))

    def _relabel(
        self,
        job: Job,
        result: Result,
        find: Callable[[Result], Generator[None, None, Change | None]],
    ) -> Generator[Any, None, tuple[Outcome, Change | None]]:
        """Make labels anew and find what they change; in a worker."""
        outcome = yield from self._controller.steps(job)
        made = outcome.segmentation
        if made is None:
            return outcome, None
        newer = replace(result, labels=made.labels, output=made.settings.output)
        change = yield from find(newer)
        return (Outcome(job) if job.stopped.is_set() else outcome), change

    def _on_adjusted(self, job: Job, found: tuple[Outcome, Change | None] | None) -> None:
        outcome, change = found or (None, None)
        kept = self._finish(job, outcome)
        if kept is not None:
            show = self._results.show
            self._show(lambda: show(self._result(kept), adjusted=True, change=change))
        if self._adjust_again:
            self._adjust_again = False
            self._adjust()

    def _kept_asked(self) -> dict[int, Asked]:
        """Return what the kept result was asked for, which adjustments still need."""
        kept = self._controller.kept
        return {} if kept is None else {kept.job.number: self._asked[kept.job.number]}

    def _result(self, outcome: Outcome) -> Result:
        """Return what the layers need of an outcome, with the names and places of now."""
        asked, segmentation = self._asked[outcome.job.number], outcome.segmentation
        if segmentation is None:
            raise ValueError("Only an outcome with a segmentation can be shown.")
        return Result(
            image=asked.image,
            title=f"{asked.name_now()} · {segmentation.card.name}",
            labels=segmentation.labels,
            probabilities=segmentation.probabilities,
            card=segmentation.card,
            output=segmentation.settings.output,
            place=asked.place_now(),
            provenance=segmentation.provenance,
        )
