"""Between a viewer's layers and the list of pairs: which there are, and what they hold.

Follows the viewer: layers that come, go, are renamed or painted on. Counting and
foreseeing the split is done by a worker, some time after the last change, so that
painting is never held up. Everything is let go when the dock or the window closes.
"""

import threading
import weakref
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from napari.layers import Labels, Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_rows import count_rows
from napari_rwkv_seg.controllers.finetune_work import Attempt, Plan, attempt, plan
from napari_rwkv_seg.errors import RwkvSegError

from .finetune_layers import LayerPair, find_pairs, new_row
from .finetune_matching import image_layers, is_ours_to_show
from .job_runner import JobRunner, ignored

SETTLED_MS = 500  # after the last change, counting begins
MOST_PLANNED = 50_000_000  # pixels; foreseeing the split holds them all in memory


class FinetuneLink:
    """Joins one viewer and one controller.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    controller : FinetuneController
        Is told the pairs.
    """

    layers_changed = Signal()
    planned = Signal(Attempt)

    def __init__(self, viewer: Any, controller: FinetuneController) -> None:
        self._viewer = weakref.ref(viewer)
        self._controller = controller
        self._counter = JobRunner(name="Counting labels")
        self._stopped = threading.Event()
        self._edited: set[int] = set()
        self._steps: dict[int, tuple[int, ...]] = {}
        self._plan_of: tuple[Any, ...] = ()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLED_MS)
        self._timer.timeout.connect(self._work)
        self._connections: list[tuple[Any, Callable[..., object]]] = []
        events = viewer.layers.events
        self._connect(events.inserted, self._on_inserted)
        self._connect(events.removed, self._on_removed)
        self._connect(events.reordered, self._on_listed)
        self._connect(controller.rows.changed, self._settle)
        self._connect(controller.choices_changed, self._settle)
        for layer in viewer.layers:
            self._follow(layer)
        self.refresh()

    @property
    def viewer(self) -> Any:
        """The viewer, or None if it is gone."""
        return self._viewer()

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be counted or foreseen."""
        return self._counter.is_busy or self._timer.isActive()

    def refresh(self) -> None:
        """List the pairs of the layers as they are now."""
        viewer, rows = self._viewer(), self._controller.rows
        if viewer is None:
            return
        gone = [
            row.source.key
            for row in rows
            if isinstance(row.source, LayerPair) and not _is_open(viewer, row.source)
        ]
        rows.offer(find_pairs(viewer))
        rows.remove(gone)
        self._controller.guess()
        self.layers_changed.emit()

    def images(self) -> list[Any]:
        """Return the image layers that can be learnt from, topmost first."""
        viewer = self._viewer()
        return image_layers(viewer) if viewer is not None else []

    def labels(self) -> list[Labels]:
        """Return the Labels layers that can be learnt from, topmost first."""
        viewer = self._viewer()
        layers = reversed(viewer.layers) if viewer is not None else ()
        return [one for one in layers if isinstance(one, Labels) and not is_ours_to_show(one)]

    def drawings(self) -> list[tuple[Any, str]]:
        """Return key and name of the Shapes layers, topmost first."""
        viewer = self._viewer()
        layers = reversed(viewer.layers) if viewer is not None else ()
        return [(one.unique_id, one.name) for one in layers if isinstance(one, Shapes)]

    def add_layers(self, image: Any, labels: Labels) -> None:
        """List two layers as a pair, whether they seem to belong together or not."""
        viewer = self._viewer()
        if viewer is not None:
            self._controller.rows.add([new_row(LayerPair(viewer, image, labels, is_wanted=True))])

    def new_boxes(self) -> Any:
        """Add a Shapes layer, ready for drawing rectangles; return it."""
        viewer = self._viewer()
        if viewer is None:
            return None
        layer = viewer.add_shapes(
            name="Checked regions",
            ndim=max(2, viewer.dims.ndim),
            scale=viewer.layers.extent.step,  # edges are as wide as pixels, not millimetres
            units=getattr(viewer.dims, "units", None),
            edge_color="#56b4e9",
            edge_width=2,
            face_color="#56b4e922",
        )
        layer.mode = "add_rectangle"
        return layer

    def close(self) -> None:
        """Stop counting, and let go of viewer and controller."""
        self._timer.stop()
        self._stopped.set()
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections.clear()
        self._counter.wait()

    # Layers come, go and change.

    def _connect(self, emitter: Any, callback: Callable[..., object]) -> None:
        emitter.connect(callback)
        self._connections.append((emitter, callback))

    def _follow(self, layer: Any) -> None:
        viewer = self._viewer()
        if viewer is not None:
            self._steps[id(layer)] = viewer.dims.current_step
        self._connect(layer.events.name, self._on_listed)
        self._connect(layer.events.data, self._on_data)
        if isinstance(layer, Labels):
            self._connect(layer.events.metadata, self._on_listed)  # which image and model made it
            self._connect(layer.events.paint, self._on_edited)
            self._connect(layer.events.set_data, self._on_drawn)

    def _on_inserted(self, event: Any) -> None:
        self._follow(event.value)
        self.refresh()

    def _on_removed(self, event: Any) -> None:
        ours = [one for one in self._connections if getattr(one[0], "source", None) is event.value]
        for emitter, callback in ours:
            emitter.disconnect(callback)
            self._connections.remove((emitter, callback))
        self._steps.pop(id(event.value), None)
        self.refresh()

    def _on_listed(self, event: Any) -> None:
        self.refresh()

    def _on_data(self, event: Any) -> None:
        """Take note of new data; a shape that was drawn changes what lies in the boxes."""
        self._edited.add(id(event.source))
        self._settle()

    def _on_edited(self, event: Any) -> None:
        self._edited.add(id(event.source))
        self._settle()

    def _on_drawn(self, event: Any) -> None:
        """Take note of undo and redo, of which napari tells only that the layer is drawn anew."""
        viewer, layer = self._viewer(), event.source
        if viewer is None:
            return
        step = viewer.dims.current_step
        if self._steps.get(id(layer)) == step:  # else another plane is shown
            self._on_edited(event)
        self._steps[id(layer)] = step

    # Counting.

    def _settle(self, _: object = None) -> None:
        """Count when nothing has changed for a while."""
        self._timer.start()

    def _work(self) -> None:
        """Count what has changed; when all is counted, foresee the split."""
        if self._counter.is_busy:
            self._timer.start()
            return
        self._forget_edited()
        choices = self._controller.choices
        waiting = self._controller.rows.pending()
        if waiting:
            self._timer.stop()
            self._counter.start(
                partial(count_rows, waiting, choices.labels, choices.classes),
                self._on_counted,
                self._settle,
            )
            return
        self._timer.stop()  # `pending` may have told of a problem
        self._controller.guess()
        self._foresee()

    def _forget_edited(self) -> None:
        """Have the pairs of layers counted anew that were edited."""
        edited, self._edited = self._edited, set()
        viewer = self._viewer()
        if not edited or viewer is None:
            return
        drawn = {one.unique_id for one in viewer.layers if id(one) in edited}
        keys = [
            row.source.key
            for row in self._controller.rows
            if isinstance(row.source, LayerPair)
            and (id(row.source.labels) in edited or row.checked.boxes in drawn)
        ]
        if any(id(one.image) in edited for one in self._layer_pairs()):
            self.refresh()
        self._controller.rows.forget(keys)

    def _layer_pairs(self) -> list[LayerPair]:
        return [row.source for row in self._controller.rows if isinstance(row.source, LayerPair)]

    def _on_counted(self, counted: Any) -> None:
        if not self._stopped.is_set():
            self._controller.rows.take(*counted)

    def _foresee(self) -> None:
        """Have the split foreseen, unless that was done for these very pairs."""
        controller = self._controller
        used = controller.rows.used
        key = (controller.choices.labels, controller.choices.classes, controller.problem())
        key += tuple((row.source.key, row.checked, row.facts) for row in used)
        if key == self._plan_of:
            return
        self._plan_of = key
        if controller.problem():
            self.planned.emit(Attempt())
            return
        if sum(row.facts.total for row in used if row.facts) > MOST_PLANNED:
            self.planned.emit(Attempt(Plan("What is held out is told when the training begins.")))
            return
        try:
            planes = [
                (row.source.key, row.source.planes(row.checked, copied=False)) for row in used
            ]
            settings = controller.choices.settings("plan")
        except RwkvSegError as error:
            self.planned.emit(Attempt(sentence=str(error)))
            return
        self._counter.start(
            lambda: _one_step(lambda: attempt(lambda: plan(settings, planes, self._stopped))),
            ignored,
            self._on_planned,
        )

    def _on_planned(self, outcome: Attempt[Plan] | None) -> None:
        if outcome is not None and not self._stopped.is_set():
            self.planned.emit(outcome)


def _is_open(viewer: Any, pair: LayerPair) -> bool:
    return pair.image in viewer.layers and pair.labels in viewer.layers


def _one_step(work: Callable[[], Any]) -> Generator[None, None, Any]:
    """Return what `work` returns, as a generator that a worker runs."""
    yield
    return work()
