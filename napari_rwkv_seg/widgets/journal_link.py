"""Between a viewer's Labels layers and its journal: hear edits, hand over pixels, restore.

One a viewer, from the first dock of ours to the end of the window. Layers and
viewer are held weakly. An edit costs a note of its bounding box; pixels are
copied later, a few megabytes at a time. napari tells of strokes, fills and new
data, but not of undo and redo: after those, as after whatever else made the layer
draw itself anew without its view having moved, all its chunks are looked at again.
"""

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QWidget

from napari_rwkv_seg.controllers.journal import Journal, LayerJournal
from napari_rwkv_seg.controllers.journal_folders import Entry
from napari_rwkv_seg.controllers.journal_recovery import Recovery, restored_name
from napari_rwkv_seg.controllers.journal_snapshot import Facts

from .adding import keeping_stroke
from .layer_facts import box_of, facts_of, keywords_of, look_at

if TYPE_CHECKING:
    from concurrent.futures import Future

IDLE_MS = 500  # between looks whether a save is due
SAVING_MS = 10  # between two steps of a save: the window draws and paints in between

_links: "weakref.WeakKeyDictionary[Any, JournalLink]" = weakref.WeakKeyDictionary()


class JournalLink(QObject):
    """Joins one viewer and one journal.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    journal : Journal
        Closed when the viewer's window is gone.
    """

    def __init__(self, viewer: Any, journal: Journal) -> None:
        super().__init__()
        self.journal = journal
        self.recovery = Recovery()
        self._viewer = weakref.ref(viewer)
        self._layers: weakref.WeakKeyDictionary[Labels, _Followed] = weakref.WeakKeyDictionary()
        self._window: weakref.ref[QWidget] | None = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        journal.problem_changed.connect(_warn)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        for layer in viewer.layers:
            self._follow(layer)
        self._found: Future[list[Entry]] | None = journal.look()
        self._timer.start(IDLE_MS)

    @classmethod
    def of(cls, viewer: Any) -> "JournalLink":
        """Return the link of a viewer; the first call makes it."""
        link = _links.get(viewer)
        if link is None:
            link = _links[viewer] = cls(viewer, Journal())
        return link

    def watch(self, window: QWidget) -> None:
        """Save when this window, the viewer's, closes, and let go when it is gone."""
        if self._window is None or self._window() is not window:
            self._window = weakref.ref(window)
            window.installEventFilter(self)
            # The viewer may be forgotten before its window is: a lambda keeps the link until then.
            window.destroyed.connect(lambda: self.close())

    def restore(self, entry: Entry, facts: Facts, labels: Any) -> Labels | None:
        """Add kept labels as a new layer, and settle the offer once the layer is safe again."""
        viewer = self._viewer()
        if viewer is None:
            return None
        name, keywords = restored_name(entry), keywords_of(facts)
        with keeping_stroke(viewer):
            layer: Labels = viewer.add_labels(labels, name=name, **keywords)
        look_at(layer, facts)
        followed = self._layers.get(layer)
        if followed is not None:
            followed.journal.take_over(entry)
            self._wake(followed.journal)
        self.recovery.settle(entry)
        return layer

    def close(self) -> None:
        """Save what is left, and let go of viewer and layers."""
        viewer = self._viewer()
        self._timer.stop()
        for layer in list(self._layers):
            self._let_go(layer, is_closing=True)
        self.journal.close()
        if viewer is not None:
            viewer.layers.events.inserted.disconnect(self._on_inserted)
            viewer.layers.events.removed.disconnect(self._on_removed)
            _links.pop(viewer, None)
        self._viewer = _nothing

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Save when the window has closed; that it is to close may still be refused."""
        is_hidden = event.type() == QEvent.Type.Hide and not event.spontaneous()
        never_shown = event.type() == QEvent.Type.Close and not watched.isVisible()
        if is_hidden or never_shown:
            self._guarded(self._end_all)
        return super().eventFilter(watched, event)

    def _end_all(self) -> None:
        """Save and end all layers; should the window be shown again, the next edit goes on."""
        for layer, followed in list(self._layers.items()):
            followed.end(layer, self._viewer(), is_closing=True)
        self.journal.wait()

    def _follow(self, layer: Any) -> None:
        if not isinstance(layer, Labels) or layer in self._layers:
            return
        self._layers[layer] = _Followed(self.journal.follow(), self._view(layer))
        for signal, slot in self._signals(layer):
            signal.connect(slot)

    def _let_go(self, layer: Labels, *, is_closing: bool = False) -> None:
        followed = self._layers.pop(layer)
        for signal, slot in self._signals(layer):
            signal.disconnect(slot)
        self._guarded(lambda: followed.end(layer, self._viewer(), is_closing=is_closing))

    def _signals(self, layer: Labels) -> tuple[tuple[Any, Callable[[Any], None]], ...]:
        """Return what is heard of a layer, and by what."""
        return (
            (layer.events.paint, self._on_paint),
            (layer.events.data, self._on_data),
            (layer.events.set_data, self._on_drawn),
            (layer.events.visible, self._on_visible),
        )

    def _on_inserted(self, event: Any) -> None:
        self._guarded(lambda: self._follow(event.value))

    def _on_removed(self, event: Any) -> None:
        if event.value in self._layers:
            self._guarded(lambda: self._let_go(event.value))

    def _on_paint(self, event: Any) -> None:
        """Hear of a step of undo; napari tells before or after the pixels change."""
        followed = self._layers.get(event.source)
        if followed is not None:
            self._guarded(lambda: followed.painted(event.source, event.value))
            self._wake(followed.journal)

    def _on_data(self, event: Any) -> None:
        followed = self._layers.get(event.source)
        if followed is not None:
            self._guarded(followed.journal.edited)
            self._wake(followed.journal)

    def _on_drawn(self, event: Any) -> None:
        """Hear that a layer was drawn anew; when its view has moved, that is why."""
        followed = self._layers.get(event.source)
        if followed is None:
            return
        view = self._view(event.source)
        if view != followed.view:
            followed.view = view
        elif QGuiApplication.mouseButtons() != Qt.MouseButton.NoButton:
            followed.is_stroke = True  # its end is told
        else:
            followed.journal.suspect()
            self._wake(followed.journal)

    def _on_visible(self, event: Any) -> None:
        """Hear that a layer was shown or hidden; hidden ones are not drawn after an undo."""
        followed = self._layers.get(event.source)
        if followed is not None and event.source.visible:
            followed.journal.suspect()
            self._wake(followed.journal)

    def _view(self, layer: Labels) -> object:
        """Return what part of a layer is shown; napari draws it anew when just this changes."""
        viewer = self._viewer()
        if viewer is None:
            return None
        dims = viewer.dims
        first = dims.ndim - layer.ndim  # a layer has the last axes of the viewer's
        order = tuple(axis - first for axis in dims.order if axis >= first)
        return dims.ndisplay, order, dims.point[-layer.ndim :]

    def _wake(self, journal: LayerJournal) -> None:
        """See to it that a save begins when it is due."""
        wanted = SAVING_MS if journal.is_due else IDLE_MS
        # a timer that is started again and again by many edits would never come to its end
        if not self._timer.isActive() or wanted < self._timer.interval():
            self._timer.start(wanted)

    def _tick(self) -> None:
        self._guarded(self._look)
        self._guarded(self._save)

    def _look(self) -> None:
        """Offer what earlier processes have lost, once that is known."""
        if self._found is not None and self._found.done():
            found, self._found = self._found, None
            self.recovery.offer(found.result())

    def _save(self) -> None:
        """Go on with the saves that are under way or due; rest when there is none."""
        viewer = self._viewer()
        for layer, followed in list(self._layers.items()):
            followed.step(layer, viewer)
        journals = [followed.journal for followed in self._layers.values()]
        if any(journal.is_saving for journal in journals):
            self._timer.setInterval(SAVING_MS)
        elif self._found is not None or any(journal.is_busy for journal in journals):
            self._timer.setInterval(IDLE_MS)
        else:
            self._timer.stop()

    def _guarded(self, work: Callable[[], object]) -> None:
        """Do something that must never disturb painting."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a fault of the journal must not stop the brush
            self.journal.fail(error)


class _Followed:
    """A layer's journal, and what is known of the layer meanwhile."""

    def __init__(self, journal: LayerJournal, view: object) -> None:
        self.journal = journal
        self.view = view
        self.is_stroke = False

    def painted(self, layer: Labels, item: Any) -> None:
        """Hear of a step of undo."""
        self.is_stroke = False
        self.journal.edited(box_of(item, layer.ndim))

    def step(self, layer: Labels, viewer: Any) -> None:
        """Go on with a save."""
        if self.is_stroke and QGuiApplication.mouseButtons() == Qt.MouseButton.NoButton:
            self.is_stroke = False  # there was no stroke to tell of
            self.journal.suspect()
        if _can_be_kept(layer.data):
            self.journal.step(layer.data, partial(facts_of, layer, viewer))

    def end(self, layer: Labels, viewer: Any, *, is_closing: bool) -> None:
        """Save what is left, and note that the layer was closed in the ordinary way.

        Only a window that closes waits for that: one that stays open would stand still.
        """
        if self.is_stroke:
            self.journal.suspect()
        if _can_be_kept(layer.data):
            save = self.journal.flush if is_closing else self.journal.leave
            save(layer.data, partial(facts_of, layer, viewer))
        self.journal.end()


def _can_be_kept(data: Any) -> bool:
    """Return whether labels lie in memory; edits of other arrays go to where those lie."""
    return isinstance(data, np.ndarray) and data.ndim >= 2 and data.size > 0


def _warn(problem: str) -> None:
    """Tell a problem once, however many docks show it."""
    if problem:
        show_warning(problem)


def _nothing() -> None:
    """Stand in for a weak reference to nothing."""
