"""Between a viewer's Labels layers and an evaluation: read two, run the job, show differences.

Arrays are copied on the main thread when a job begins (lazy ones are read in the worker), and
layers are touched on the main thread only. The user's layers are read and never changed.
"""

import weakref
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from napari_rwkv_seg.controllers.evaluate import EvaluateController, Evaluated, EvaluateJob
from napari_rwkv_seg.controllers.evaluate_about import are_alike
from napari_rwkv_seg.controllers.evaluate_layers import LayerFacts
from napari_rwkv_seg.controllers.evaluate_table import DIFFERENCE_COLORS, DIFFERENCE_MEANINGS
from napari_rwkv_seg.controllers.finetune_work import attempt

from .evaluate_changes import PIXELS_OR_PLACE, PairWatch
from .finetune_matching import is_ours_to_show, meaning
from .job_runner import JobRunner, ignored
from .marks import METADATA_KEY
from .placement import transform_of
from .regions import is_lazy, level_data
from .shown_labels import ShownLabels

OPACITY = 0.8  # the image stays visible beneath


class EvaluateLink:
    """Joins one viewer and one controller.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    controller : EvaluateController
        Its jobs are run here, its differences shown here.
    """

    layers_changed = Signal()
    edited = Signal()  # a layer of a pair that was evaluated is not as it was
    saved = Signal(str, str)  # a path, or why it could not be written

    def __init__(self, viewer: Any, controller: EvaluateController) -> None:
        self._viewer = weakref.ref(viewer)
        self._controller = controller
        self._jobs = JobRunner("Evaluate", on_cancel=controller.stop)
        self._files = JobRunner(name="Save scores")
        self._watches: dict[int, PairWatch] = {}  # of the layers of jobs
        self._shown = ShownLabels("differences")
        self._connections: list[tuple[Any, Callable[..., object]]] = []
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed):
            self._connect(emitter, self._on_layers)
        for layer in self.layers():
            self._follow(layer)

    @property
    def is_busy(self) -> bool:
        """Whether a worker is under way."""
        return any(one.is_busy for one in (self._jobs, self._files, *self._watches.values()))

    @property
    def edited_layer(self) -> str:
        """The name of a layer of the last scores that was edited since; "" if none was."""
        watch = self._watch()
        return watch.edited if watch is not None else ""

    def is_evaluated(self, found: Labels | None, true: Labels | None) -> bool:
        """Return whether the last scores are of these layers and of the choices as they are."""
        kept, watch = self._controller.kept, self._watch()
        if kept is None or not are_alike(kept.job.choices, self._controller.choices):
            return False
        pair = tuple(one.unique_id for one in (found, true) if one is not None)
        return watch is None or watch.pair == pair

    def layers(self) -> list[Labels]:
        """Return the Labels layers but those that only show something of ours, topmost first."""
        viewer = self._viewer()
        layers = reversed(viewer.layers) if viewer is not None else ()
        return [one for one in layers if isinstance(one, Labels) and not is_ours_to_show(one)]

    def likeliest(self) -> tuple[Labels | None, Labels | None]:
        """Return what may be the prediction, a result of ours or the topmost layer, and the truth.

        The truth is the next one below.
        """
        layers = self.layers()
        layers.sort(key=lambda one: METADATA_KEY not in one.metadata)  # keeps their order otherwise
        found, true, *_ = (*layers, None, None)
        return found, true

    def run(self, found: Labels | None, true: Labels | None) -> None:
        """Begin to compare two layers, or the folders of the choices."""
        chosen = [facts_of(one, copied=True) for one in (found, true) if one is not None]
        is_layers = self._controller.choices.what == "layers"
        job = self._controller.begin(chosen if is_layers else ())
        kept = self._controller.kept
        for number in [one for one in self._watches if not kept or one != kept.job.number]:
            self._watches.pop(number).close()
        viewer = self._viewer()
        if is_layers and viewer is not None and found is not None and true is not None:
            self._watches[job.number] = PairWatch(viewer, (found, true), self.edited.emit)
        self._jobs.start(
            partial(self._steps, job, self._watches.get(job.number)),
            partial(self._on_step, job),
            partial(self._on_end, job),
        )

    def show_differences(self) -> None:
        """Show where the last two layers differ, in a layer of its own for these two."""
        kept, viewer = self._controller.kept, self._viewer()
        if viewer is None or kept is None or kept.differences is None:
            return
        watch = self._watches[kept.job.number]
        layer = self._shown.show(viewer, watch.pair, kept.differences.copy(), watch.place)
        layer.name = " compared with ".join(one.name for one in kept.job.layers)
        colors = {None: "#ffffff", 0: "#00000000", **DIFFERENCE_COLORS}
        layer.colormap = DirectLabelColormap(color_dict=colors)
        layer.opacity = OPACITY
        count = len(DIFFERENCE_MEANINGS)
        layer.features = {"index": range(count), "class": list(DIFFERENCE_MEANINGS)}

    def save(self, path: Path) -> None:
        """Write the table of the last scores; `saved` tells what became of it."""

        def steps() -> Any:
            yield
            return attempt(partial(self._controller.save, path))

        def ended(outcome: Any) -> None:
            if outcome is not None:
                self.saved.emit(str(outcome.value or ""), outcome.sentence)

        self._files.start(steps, ignored, ended)

    def close(self) -> None:
        """End all work, wait for it, and let go of the viewer."""
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections.clear()
        self._controller.stop()
        self._jobs.wait()
        self._files.wait()
        for watch in self._watches.values():
            watch.close()

    def _watch(self) -> PairWatch | None:
        """Return what follows the layers of the last scores."""
        kept = self._controller.kept
        return self._watches.get(kept.job.number) if kept is not None else None

    def _steps(self, job: EvaluateJob, watch: PairWatch | None) -> Generator[Any, None, Evaluated]:
        """Do a job's work in the worker."""
        if watch is not None:
            watch.hold([one.read() for one in job.layers])
        return (yield from self._controller.steps(job))

    def _on_step(self, job: EvaluateJob, progress: Any) -> None:
        thousandths = round(1000 * progress.done / max(1, progress.total))
        self._jobs.show(thousandths, 1000)
        self._controller.hear(job, progress)

    def _on_end(self, job: EvaluateJob, outcome: Evaluated | None) -> None:
        self._controller.finish(outcome or Evaluated(job))
        if watch := self._watches.get(job.number):
            watch.look_if_due()

    def _on_layers(self, event: Any) -> None:
        layer = event.value
        if not isinstance(layer, Labels):
            return
        if layer in self.layers():
            self._follow(layer)
        else:
            ours = [one for one in self._connections if getattr(one[0], "source", None) is layer]
            for emitter, callback in ours:
                emitter.disconnect(callback)
                self._connections.remove((emitter, callback))
        self.layers_changed.emit()

    def _follow(self, layer: Labels) -> None:
        """Hear of a new name, and of new data or another place, of a layer."""
        events = layer.events
        for name in ("name", *PIXELS_OR_PLACE):
            if hasattr(events, name):
                self._connect(getattr(events, name), self._on_changed)

    def _on_changed(self, event: Any) -> None:
        self.layers_changed.emit()

    def _connect(self, emitter: Any, callback: Callable[..., object]) -> None:
        emitter.connect(callback)
        self._connections.append((emitter, callback))


def facts_of(layer: Labels, *, copied: bool = False) -> LayerFacts:
    """Return what is known of a layer; with a copy of its pixels if they are to be read."""
    data = level_data(layer, 0)
    place = transform_of(layer)
    affine = place["affine"]
    axes = layer.ndim
    inner = place["rotate"] @ place["shear"] @ np.diag(place["scale"])
    pixels = data.copy() if copied and not is_lazy(data) else data
    units = place.get("units", ("pixel",) * axes)
    names = [str(each).strip().lower() for each in place.get("axis_labels", ())]
    told = layer.metadata.get(METADATA_KEY)
    made_of = str(told.get("axes", "")) if isinstance(told, dict) else ""
    return LayerFacts(
        layer.name,
        tuple(data.shape),
        lambda: pixels,
        affine[:axes, :axes] @ inner,
        affine[:axes, :axes] @ place["translate"] + affine[:axes, axes],
        tuple(str(each) for each in units),
        meaning(layer),
        _class_names(layer),
        names[:1] in (["t"], ["time"]) or (axes == 3 and made_of.startswith("T")),
    )


def _class_names(layer: Labels) -> dict[int, str]:
    """Return the names of classes, where the layer has some."""
    features = layer.features
    if not {"index", "class"} <= set(features):
        return {}
    pairs = zip(features["index"].tolist(), features["class"].tolist(), strict=True)
    return {int(number): str(name) for number, name in pairs if isinstance(number, int | float)}
