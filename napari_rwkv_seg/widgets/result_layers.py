"""Results as ordinary layers: add them, keep them up to date, never touch what a user has edited.

Every layer gets its own copy of the labels. What we last wrote is remembered as
a digest: while a layer still holds it, newer labels go into it as one step that
Ctrl+Z takes back; once a user has changed a pixel, newer labels go into a new layer.
"""

import weakref
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication

from .as_written import digest, remember, rewrite

if TYPE_CHECKING:
    from napari_rwkv_seg.zoo.card import ModelCard

    from .placement import Placement

METADATA_KEY = "napari-rwkv-seg"
DTYPE = np.int32  # classes too: the user may paint a 256th label, or ask for objects later
MOST_UNDOABLE = 4_000_000  # changed pixels in one undo step; each takes some 40 bytes of history


@dataclass(frozen=True, eq=False)
class Result:
    """Labels of one run, and all that their layer shows.

    Parameters
    ----------
    image : weak reference to an Image layer
        What was segmented.
    title : str
        The name of a new layer.
    labels, probabilities : array
        (*spatial) and (K, *spatial) of the region; ours, so they are copied on the way out.
    card : ModelCard
        Names and colours of the classes.
    output : "classes" or "objects"
        What a number in the labels means.
    place : Placement
        Where the region lies.
    provenance : dict
        What made the labels, as plain values.
    """

    image: "weakref.ref[Image]"
    title: str
    labels: NDArray[Any]
    probabilities: NDArray[Any]
    card: "ModelCard"
    output: str
    place: "Placement"
    provenance: dict[str, Any]


@dataclass(eq=False)
class _Written:
    """A layer that we made, and what it held after we wrote to it."""

    image: "weakref.ref[Image]"
    model: str
    layer: "weakref.ref[Labels]"
    output: str
    digest: int
    before: int | None = None
    """What it held before a step that the next adjustment may replace; None if there is none."""
    maps: dict[int, "weakref.ref[Image]"] = field(default_factory=dict)
    """Probability layers by class."""


class ResultLayers:
    """The layers that one dock has made in one viewer."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._written: list[_Written] = []

    def show(self, result: Result, *, adjusted: bool = False) -> Labels | None:
        """Write labels into the layer of this image and model, or into a new one.

        Parameters
        ----------
        result : Result
            What to show.
        adjusted : bool
            Whether only the making of the labels was adjusted: then consecutive
            adjustments become one step of undo.

        Returns
        -------
        Labels or None
            The layer; None if the viewer is gone, or there is no layer left to adjust.
        """
        viewer = self._viewer()
        if viewer is None or (adjusted and self._layer(viewer, self._latest(result)) is None):
            return None
        record = self._latest(result)
        layer = self._layer(viewer, record)
        held = digest(layer.data) if layer is not None and _fits(layer, result) else None
        is_ours = record is not None and held is not None and held in (record.digest, record.before)
        if record is None or layer is None or not is_ours:
            return self._add(viewer, result)
        if adjusted and record.before is not None and held == record.digest:
            layer.undo()  # one step of undo for all adjustments in a row
            held = record.before
        self._update(record, layer, result, held if adjusted else None)
        return layer

    def show_probabilities(self, result: Result) -> None:
        """Add or update one image layer of probabilities for every class but the background."""
        viewer, record = self._viewer(), self._latest(result)
        if viewer is None or record is None:
            return
        for index in range(1, len(result.card.classes)):
            whole = np.zeros(result.place.shape, dtype=np.float32)
            old = record.maps.get(index, _nothing)()
            if old is not None and old in viewer.layers and old.data.shape == whole.shape:
                result.place.fill(old.data, result.probabilities[index])
                old.refresh()
                continue
            result.place.fill(whole, result.probabilities[index])
            layer = _add_map(viewer, result, index, whole)
            labels = self._layer(viewer, record)
            if labels is not None:
                viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(labels))
            record.maps[index] = weakref.ref(layer)

    def hide_probabilities(self) -> None:
        """Remove the probability layers again."""
        viewer = self._viewer()
        for record in self._written:
            for reference in record.maps.values():
                layer = reference()
                if viewer is not None and layer is not None and layer in viewer.layers:
                    viewer.layers.remove(layer)
            record.maps.clear()

    def _latest(self, result: Result) -> _Written | None:
        """Return the newest record of this image and model."""
        same_model = (one for one in reversed(self._written) if one.model == result.card.name)
        return next((one for one in same_model if _is_same(one.image, result.image)), None)

    def _layer(self, viewer: Any, record: _Written | None) -> Labels | None:
        """Return the layer of a record, if it is still in the viewer."""
        layer = record.layer() if record else None
        return layer if layer is not None and layer in viewer.layers else None

    def _add(self, viewer: Any, result: Result) -> Labels:
        """Add a layer of the full image size with the region filled."""
        data = np.zeros(result.place.shape, dtype=DTYPE)
        result.place.fill(data, result.labels)
        active = viewer.layers.selection.active
        place = result.place
        layer = viewer.add_labels(
            data, name=result.title, metadata=dict(place.source), **place.transform
        )
        if QGuiApplication.mouseButtons() != Qt.MouseButton.NoButton:
            viewer.layers.selection.active = active  # the end of a stroke must reach its layer
        _dress(layer, result)
        held = digest(data)
        remember(layer, held)
        record = _Written(result.image, result.card.name, weakref.ref(layer), result.output, held)
        previous = self._latest(result)
        record.maps = previous.maps if previous else {}
        self._written = [one for one in self._written if one.layer() is not None]
        self._written.append(record)
        return layer

    def _update(self, record: _Written, layer: Labels, result: Result, before: int | None) -> None:
        """Write newer labels into a layer that holds what we wrote last.

        `before` is what the next adjustment may go back to; None after a run.
        """
        data = _refilled(layer.data, result)
        undoable = _write(layer, data)
        record.before = before if undoable else None
        record.digest = digest(layer.data)
        remember(layer, record.digest)
        if record.output != result.output:
            _dress(layer, result)
            record.output = result.output
        provenance = {METADATA_KEY: deepcopy(result.provenance)}
        layer.metadata = {**layer.metadata, **result.place.source, **provenance}
        if before is None:
            _set_transform(layer, result.place.transform)


def _nothing() -> None:
    """Stand in for a weak reference to nothing."""


def _is_same(first: "weakref.ref[Image]", second: "weakref.ref[Image]") -> bool:
    """Return whether two references mean one layer, even if it is gone."""
    return first is second or (first() is not None and first() is second())


def _fits(layer: Labels, result: Result) -> bool:
    """Return whether a layer can take a result, and the user lets it be changed."""
    data = layer.data
    is_array = isinstance(data, np.ndarray) and data.flags.writeable
    return is_array and data.shape == result.place.shape and layer.editable


def _refilled(held: NDArray[Any], result: Result) -> NDArray[Any]:
    """Return a copy of `held` with the region's labels; objects take numbers free outside of it."""
    if not result.place.is_partial:
        return result.labels.reshape(held.shape).astype(DTYPE)
    data = held.copy()
    result.place.fill(data, np.zeros_like(result.labels, dtype=held.dtype))
    offset = int(data.max(initial=0)) if result.output == "objects" else 0
    labels = result.labels.astype(DTYPE)
    result.place.fill(data, np.where(labels > 0, labels + offset, 0))
    return data


def _write(layer: Labels, data: NDArray[Any]) -> bool:
    """Make `layer` hold `data`; return whether that is a step of undo."""
    changed = layer.data != data
    count = int(np.count_nonzero(changed))
    if count == 0:
        return False
    if count <= MOST_UNDOABLE:
        where = np.nonzero(changed)
        layer.data_setitem(where, data[where])
        return True
    rewrite(layer, data)
    return False


def dress(layer: Labels, classes: Any, output: str, provenance: dict[str, Any]) -> None:
    """Give a layer the names and colours that its numbers mean, and its provenance.

    Parameters
    ----------
    layer : Labels
        The layer.
    classes : sequence of ClassCard
        From the model's card.
    output : "classes" or "objects"
        What a number means.
    provenance : dict
        What made the labels, as plain values; copied.
    """
    from napari.utils.colormaps import DirectLabelColormap, label_colormap

    if output == "classes":
        colors: dict[int | None, str] = {None: "#ffffff", 0: "#00000000"}
        colors.update({index: classes[index].color for index in range(1, len(classes))})
        layer.colormap = DirectLabelColormap(color_dict=colors)
        layer.features = {"index": range(len(classes)), "class": [one.name for one in classes]}
    elif not layer.features.empty:
        layer.features = {}
        layer.colormap = label_colormap()
    layer.metadata = {**layer.metadata, METADATA_KEY: deepcopy(provenance)}


def _dress(layer: Labels, result: Result) -> None:
    """Dress a layer as a result says."""
    dress(layer, result.card.classes, result.output, result.provenance)


def _set_transform(layer: Labels, transform: dict[str, Any]) -> None:
    """Lay an existing layer over the image, in case that was moved."""
    for name, value in transform.items():
        setattr(layer, name, value)


def _add_map(viewer: Any, result: Result, index: int, data: NDArray[np.float32]) -> Image:
    """Add the probabilities of one class as an image, and leave the selection as it is."""
    one = result.card.classes[index]
    selected = set(viewer.layers.selection)
    layer = viewer.add_image(
        data,
        name=f"{result.title} · probability of {one.name}",
        colormap="magma",
        contrast_limits=(0, 1),
        blending="additive",
        metadata={METADATA_KEY: deepcopy(result.provenance)},
        **result.place.transform,
    )
    viewer.layers.selection = selected
    return layer
