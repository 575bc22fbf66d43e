"""Between a viewer and a batch: layers as images, the run in a worker, results as layers."""

import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from psygnal import Signal

from napari_rwkv_seg.controllers.batch_control import BatchController, BatchJob, BatchOutcome
from napari_rwkv_seg.controllers.batch_rows import Row
from napari_rwkv_seg.controllers.batch_run import News
from napari_rwkv_seg.controllers.sentences import mishap
from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.images.image_file import ImageFile

from .adding import keeping_stroke
from .batch_layers import add_image, add_labels, items_of
from .job_runner import JobRunner, ignored
from .marks import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Callable


class BatchLink:
    """Runs a controller's batch, and opens what it has made.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    controller : BatchController
        Its batch is run here.
    """

    layers_changed = Signal()
    failed = Signal(str)

    def __init__(self, viewer: Any, controller: BatchController) -> None:
        self._viewer = weakref.ref(viewer)
        self._controller = controller
        self._runner = JobRunner("Batch", on_cancel=controller.stop)
        self._opener = JobRunner(name="Open a result")
        self._connections: list[tuple[Any, Callable[..., object]]] = [
            (viewer.layers.events.inserted, self._on_layers),
            (viewer.layers.events.removed, self._on_layers),
        ]
        for signal, slot in self._connections:
            signal.connect(slot)

    @property
    def is_busy(self) -> bool:
        """Whether a batch runs, or a result is being opened."""
        return self._runner.is_busy or self._opener.is_busy

    def layers(self) -> list[Image]:
        """Return the image layers, but not those that show our own probabilities."""
        viewer = self._viewer()
        layers = viewer.layers if viewer is not None else ()
        return [
            one for one in layers if isinstance(one, Image) and METADATA_KEY not in one.metadata
        ]

    def run(self) -> None:
        """Begin, or go on with, the batch that is chosen."""
        wishes = self._controller.wishes
        try:
            items = items_of(self.layers(), wishes.axes) if wishes.source == "layers" else ()
            job = self._controller.begin(items)
        except RwkvSegError as error:
            self.failed.emit(str(error))
            return
        self._runner.start(
            partial(self._controller.steps, job),
            partial(self._on_news, job),
            partial(self._on_end, job),
        )

    def open(self, row: Row) -> None:
        """Add the image and the labels of a row to the viewer."""
        labels = self._controller.labels_of(row)
        if labels is None:
            self.failed.emit(f"{row.image} has no labels yet.")
            return
        paths = [Path(row.path), labels] if row.path else [labels]

        def steps() -> Any:
            yield
            try:
                return [_read(path) for path in paths]
            except Exception as error:  # noqa: BLE001 - a job's boundary, see SegmentController
                return mishap(error)

        self._opener.start(steps, ignored, partial(self._on_opened, labels))

    def close(self) -> None:
        """End the batch after its present tile, wait, and let go of the viewer."""
        self._controller.stop()
        self._runner.wait()
        self._opener.wait()
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections.clear()

    def _on_news(self, job: BatchJob, news: News) -> None:
        self._controller.hear(job, news)
        table = self._controller.table
        waiting = table.count("waiting") + table.count("running")
        self._runner.show(len(table.rows) - waiting, len(table.rows))

    def _on_end(self, job: BatchJob, outcome: BatchOutcome | None) -> None:
        self._controller.finish(job, outcome)

    def _on_opened(self, labels: Path, found: list[ImageFile] | str | None) -> None:
        viewer = self._viewer()
        if viewer is None or found is None:
            return
        if isinstance(found, str):
            self.failed.emit(found)
            return
        with keeping_stroke(viewer):
            for image in found:
                (add_labels if image.path == labels else add_image)(viewer, image)

    def _on_layers(self, _: Any) -> None:
        self.layers_changed.emit()


def _read(path: Path) -> ImageFile:
    from napari_rwkv_seg.images.readers import read_image

    return read_image(path)
