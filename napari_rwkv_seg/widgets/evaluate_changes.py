"""Hear whether two layers are still as they were when their labels were read for an evaluation."""

import weakref
from collections.abc import Callable, Generator, Hashable, Sequence
from functools import partial
from typing import Any

from napari.layers import Labels

from .as_written import digest
from .job_runner import JobRunner, ignored
from .placement import transform_of
from .regions import is_lazy, level_data

PIXELS_OR_PLACE = ("data", "scale", "translate", "rotate", "shear", "affine", "units")


class PairWatch:
    """Follows the two layers of one evaluation.

    napari tells of strokes and of new data, but of undo and redo only that a layer was drawn
    anew, as it is for many reasons; a worker then compares the labels with what was read.
    Arrays that are not in memory are not looked through for that.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    layers : sequence of Labels
        Labels and the truth; held weakly.
    on_edited : callable
        Called once, when one of them is not as it was.
    """

    def __init__(
        self, viewer: Any, layers: Sequence[Labels], on_edited: Callable[[], object]
    ) -> None:
        self.pair: tuple[Hashable, ...] = tuple(one.unique_id for one in layers)
        self.place = transform_of(layers[-1])
        self.edited = ""
        """The name of the layer that is not as it was."""
        self._viewer = weakref.ref(viewer)
        self._layers = [weakref.ref(one) for one in layers]
        self._on_edited = on_edited
        self._held: list[int | None] | None = None  # unknown until the labels are read
        self._looks = JobRunner(name="Looking for edited labels")
        self._is_due = False
        self._steps = {id(one): self._step() for one in layers}
        self._connections: list[tuple[Any, Callable[..., object]]] = []
        for layer in layers:
            for name in ("paint", *PIXELS_OR_PLACE):
                if hasattr(layer.events, name):
                    self._connect(getattr(layer.events, name), self._on_edit)
            self._connect(layer.events.set_data, self._on_drawn)

    @property
    def is_busy(self) -> bool:
        """Whether a worker is under way."""
        return self._looks.is_busy

    def hold(self, arrays: Sequence[Any]) -> None:
        """Take note of the labels as they were read; called in a worker."""
        self._held = [None if is_lazy(one) else digest(one) for one in arrays]

    def look_if_due(self) -> None:
        """Compare the layers with what was read, if one was drawn anew meanwhile."""
        if self._is_due and self._held is not None and not self.edited and not self.is_busy:
            self._is_due = False
            layers = [one() for one in self._layers]
            pairs = [
                (layer.name, level_data(layer, 0), held)
                for layer, held in zip(layers, self._held, strict=True)
                if layer is not None and held is not None
            ]
            self._looks.start(partial(_other_steps, pairs), ignored, self._on_looked)

    def close(self) -> None:
        """Let go of the layers, and wait for work that is under way."""
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections.clear()
        self._is_due = False
        self._looks.wait()

    def _connect(self, emitter: Any, callback: Callable[..., object]) -> None:
        emitter.connect(callback)
        self._connections.append((emitter, callback))

    def _on_edit(self, event: Any) -> None:
        self._tell(event.source.name)

    def _on_drawn(self, event: Any) -> None:
        """Suspect an undo, unless the layer was drawn anew because another plane is shown."""
        before, step = self._steps[id(event.source)], self._step()
        self._steps[id(event.source)] = step
        if step == before:
            self._is_due = True
            self.look_if_due()

    def _on_looked(self, name: str | None) -> None:
        if name:
            self._tell(name)
        self.look_if_due()  # drawn once more meanwhile

    def _tell(self, name: str) -> None:
        if not self.edited:
            self.edited = name
            self._on_edited()

    def _step(self) -> tuple[int, ...]:
        viewer = self._viewer()
        return tuple(viewer.dims.current_step) if viewer is not None else ()


def _other_steps(pairs: Sequence[tuple[str, Any, int]]) -> Generator[None, None, str]:
    """Return the name of the first layer whose labels are others than what was read, or ""."""
    for name, data, held in pairs:
        yield
        if is_lazy(data) or digest(data) != held:
            return name
    return ""
