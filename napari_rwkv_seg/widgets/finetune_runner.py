"""Between a controller's run and the viewer: prepare it, drain its events, show what it brings.

A timer drains the events; whatever takes long is done by a worker. When the dock or
the window goes, the process is told to leave, and waited for.
"""

import contextlib
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_differences import read_differences
from napari_rwkv_seg.controllers.finetune_pairs import PairRow
from napari_rwkv_seg.controllers.finetune_runs import (
    KeptRun,
    adopt_model,
    decline_model,
    discard_run,
    find_runs,
    run_settings,
)
from napari_rwkv_seg.controllers.finetune_story import Ended, RunStory
from napari_rwkv_seg.controllers.finetune_work import Attempt, attempt, prepare, save_pixels
from napari_rwkv_seg.controllers.sentences import mishap
from napari_rwkv_seg.errors import ImageError, RwkvSegError
from napari_rwkv_seg.images.axes import guess_axes

from .finetune_layers import LayerPair
from .finetune_link import FinetuneLink
from .finetune_shown import Asked, RunLayers, in_view
from .job_runner import JobRunner, ignored
from .regions import level_data

POLL_MS = 200
MOST_DIFFERENCES = 8  # layers, so that the layer list stays readable


class FinetuneRunner:
    """Does what the buttons of a run say.

    Parameters
    ----------
    link : FinetuneLink
        Knows the layers.
    controller : FinetuneController
        Its run is driven.
    """

    found = Signal(list, list)  # runs that wait for a word, and finished ones
    adopted = Signal(Attempt)

    def __init__(self, link: FinetuneLink, controller: FinetuneController) -> None:
        self._link = link
        self._controller = controller
        self._layers = RunLayers(link.viewer)
        self._prepare = JobRunner("Prepare fine-tuning", on_cancel=controller.cancel)
        self._tasks = JobRunner(name="Files of a run")
        self._asked: dict[str, Asked] = {}
        self._shown = ""
        self._count = 0
        self._timer = QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(controller.poll)
        self._connections: list[tuple[Any, Callable[..., object]]] = [
            (controller.state_changed, self._on_state),
            (controller.heard, self._on_heard),
            (controller.ended, self._on_ended),
        ]
        for signal, slot in self._connections:
            signal.connect(slot)

    @property
    def is_busy(self) -> bool:
        """Whether a worker is under way."""
        return self._prepare.is_busy or self._tasks.is_busy

    def run(self) -> None:
        """Keep the pairs as they are now, and train on them."""
        try:
            job = self._controller.begin()
        except (RwkvSegError, MemoryError) as error:
            self._controller.failed.emit(mishap(error))
            return
        self._work(partial(prepare, job), partial(self._controller.prepared, job), self._prepare)

    def find(self) -> None:
        """Look for runs that wait for a word, and for those that have pairs to offer."""
        self._work(partial(find_runs, self._controller.runs), self._on_found)

    def discard(self, run: KeptRun) -> None:
        """Remove an interrupted run, or decline an ended one's model; look for others."""
        end = decline_model if run.is_undecided else discard_run
        self._work(partial(end, run.folder), self._then_find)

    def keep(self) -> None:
        """Keep the old model; the new one of the last run is not offered again."""
        folder = self._controller.folder
        self._controller.dismiss()
        if folder is not None:
            self._work(partial(decline_model, folder), self._then_find)

    def use(self, title: str) -> None:
        """Put the new model among the user's models."""
        folder = self._controller.folder
        if folder is not None:
            self._work(partial(adopt_model, folder, title), self.adopted.emit)

    def preview(self) -> None:
        """Ask for the present prediction on what is in view."""
        folder, viewer = self._controller.folder, self._link.viewer
        if folder is None or viewer is None:
            return
        try:
            asked = self._in_view(viewer)
        except RwkvSegError as error:
            self._controller.failed.emit(str(error))
            return
        self._count += 1
        path = folder / f"preview-{self._count}.npy"
        self._asked = {**self._asked, str(path): asked}
        self._work(lambda: save_pixels(path, asked.read()), partial(self._on_saved, path))

    def differences(self) -> None:
        """Show where the new model of the last run differs from the old one."""
        folder, job = self._controller.folder, self._controller.job
        if folder is None:
            return
        pairs = _open_pairs(list(self._controller.rows), job.origins if job is not None else ())
        stacks = {known: pair.key for known, pair in pairs.items() if pair.stack}
        read = partial(read_differences, folder, MOST_DIFFERENCES, stacks)
        self._work(read, partial(self._on_differences, pairs))

    def close(self) -> None:
        """End the run so that it can be resumed, and wait until nothing is left of it."""
        self._timer.stop()
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections.clear()
        self._controller.close()
        self._prepare.wait()
        self._tasks.wait()

    def _work(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], object],
        runner: JobRunner | None = None,
    ) -> None:
        """Have a worker do something; `then` is given the attempt, on the main thread."""

        def steps() -> Any:
            yield
            return attempt(work)

        def ended(outcome: Any) -> None:
            if self._connections:  # not after the dock was closed
                then(outcome or Attempt())

        (runner or self._tasks).start(steps, ignored, ended)

    def _in_view(self, viewer: Any) -> Asked:
        """Return what is in view of the image that the user looks at."""
        active = viewer.layers.selection.active
        pairs = [
            row.source
            for row in self._controller.rows
            if isinstance(row.source, LayerPair) and row.source.image in viewer.layers
        ]
        for pair in sorted(pairs, key=lambda one: active not in (one.image, one.labels)):
            if pair.fit.level == 0 and not pair.problem:
                return in_view(viewer, pair.image, pair.fit.axes, pair.fit.channel)
        images = self._link.images()
        if not images:
            raise ImageError("Open an image to see a prediction on.")
        image = active if active in images else images[0]
        labels = getattr(image, "axis_labels", None)
        axes = guess_axes(level_data(image, 0).shape, rgb=bool(image.rgb), labels=labels)
        return in_view(viewer, image, axes, None)

    def _on_state(self, state: str) -> None:
        """Drain events while a process is there."""
        if state == "training":
            self._timer.start()
        else:
            self._timer.stop()

    def _on_heard(self, story: RunStory) -> None:
        """Show a prediction that has come."""
        path = story.previewed
        if path == self._shown or path not in self._asked:
            return
        self._shown = path
        if story.preview_problem:
            self._controller.failed.emit(story.preview_problem)
            return
        self._work(partial(_read_labels, path), partial(self._on_previewed, path))

    def _on_saved(self, path: Path, outcome: Attempt[Any]) -> None:
        if outcome.sentence:
            self._controller.failed.emit(outcome.sentence)
        else:
            self._controller.preview(path)

    def _on_previewed(self, path: str, outcome: Attempt[Any]) -> None:
        asked = self._asked.pop(path, None)
        if asked is None or outcome.value is None:
            return
        settings = run_settings(self._controller.folder)
        classes = settings.classes if settings is not None and settings.labels == "classes" else ()
        try:
            self._layers.show_preview(asked, outcome.value, classes)
        except RwkvSegError as error:
            self._controller.failed.emit(str(error))

    def _on_differences(self, pairs: dict[int | str, LayerPair], outcome: Attempt[Any]) -> None:
        sentence = outcome.sentence
        if outcome.value is not None:
            sentence = self._layers.show_differences(outcome.value, pairs)
        if sentence:
            self._controller.failed.emit(sentence)

    def _on_ended(self, ended: Ended) -> None:
        self._asked.clear()
        if ended.how == "cancelled":
            self._work(partial(discard_run, ended.folder), self._then_find)
        else:
            self.find()

    def _then_find(self, outcome: Attempt[Any]) -> None:
        if outcome.sentence:
            self._controller.failed.emit(outcome.sentence)
        self.find()

    def _on_found(self, outcome: Attempt[Any]) -> None:
        self.found.emit(*(outcome.value or ([], [])))


def _open_pairs(rows: list[PairRow], origins: Sequence[Hashable]) -> dict[int | str, LayerPair]:
    """Return the pairs of open layers by their numbers in a run whose pairs have these origins.

    Stacks also by their group, which a run that was resumed still knows.
    """
    sources = [row.source for row in rows if isinstance(row.source, LayerPair)]
    pairs = {pair.key: pair for pair in sources if pair.image is not None}
    known: dict[int | str, LayerPair] = {
        pair.group: pair for pair in reversed(pairs.values()) if pair.stack
    }
    known.update((number, pairs[key]) for number, key in enumerate(origins) if key in pairs)
    return known


def _read_labels(path: str) -> Any:
    """Return the prediction for the image in a file, and remove both; in a worker."""
    image, labels = Path(path), Path(f"{path}.labels.npy")
    read = np.load(labels, allow_pickle=False)
    for one in (image, labels):
        with contextlib.suppress(OSError):
            one.unlink()
    return read
