"""Results as ordinary layers: add them, keep them up to date, never touch what a user has edited.

Every layer gets its own copy of the labels. What we last wrote is remembered as
a digest: while a layer still holds it, newer labels go into it as one step that
Ctrl+Z takes back; once a user has changed a pixel, newer labels go into a new layer.
Labels of another kind, classes for objects, are no step: a layer has one dress.
"""

import weakref
from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels

from .adding import keeping_stroke
from .as_written import remember
from .label_changes import (
    DTYPE,
    Change,
    Target,
    Written,
    change_steps,
    find_change,
    take_back,
    write,
)
from .made_of import remember_image
from .marks import METADATA_KEY
from .placement import lay_over
from .probability_layers import add_map, update_map
from .result import Result

__all__ = ["DTYPE", "ResultLayers", "dress"]


@dataclass(eq=False)
class _Made:
    """A layer that we made, and what it held after we wrote to it."""

    image: "weakref.ref[Image]"
    model: str
    layer: "weakref.ref[Labels]"
    written: Written
    maps: dict[int, "weakref.ref[Image]"] = field(default_factory=dict)
    """Probability layers by class."""

    def is_there(self) -> bool:
        """Return whether a layer of it is still known to anyone."""
        return any(one() is not None for one in (self.layer, *self.maps.values()))


class ResultLayers:
    """The layers that one dock has made in one viewer."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._made: list[_Made] = []

    def begin(
        self, result: Result, *, adjusted: bool = False
    ) -> Callable[[Result], Generator[None, None, Change | None]]:
        """Return what finds, in a worker, what labels change in the layer as it is now.

        Parameters
        ----------
        result : Result
            Says for which image, model and place; that of the worker may hold other labels.
        adjusted : bool
            As for `show`.
        """
        return partial(change_steps, self._target(result, adjusted))

    def show(
        self, result: Result, *, adjusted: bool = False, change: Change | None = None
    ) -> Labels | None:
        """Write labels into the layer of this image and model, or into a new one.

        Parameters
        ----------
        result : Result
            What to show.
        adjusted : bool
            Whether only the making of the labels was adjusted: then consecutive
            adjustments become one step of undo.
        change : Change, optional
            What a worker has found; it is found here if there is none, or it fits no more.

        Returns
        -------
        Labels or None
            The layer; None if the viewer is gone, or there is no layer left to adjust.
        """
        viewer, made = self._viewer(), self._latest(result)
        layer = self._layer(made)
        if viewer is None or (adjusted and layer is None):
            return None
        target = self._target(result, adjusted)
        if change is None or not change.still_fits(target):
            change = find_change(target, result)
        if made is None or layer is None or change.held is None:
            return self._add(viewer, result, change)
        if change.replaced is not None and not take_back(layer, change.replaced):
            target = replace(target, written=replace(made.written, step=None))
            change = find_change(target, result)
        self._update(made, layer, result, change)
        return layer

    def show_probabilities(self, result: Result) -> None:
        """Add or update one image layer of probabilities for every class but the background."""
        viewer, record = self._viewer(), self._latest(result)
        if viewer is None or record is None:
            return
        labels = self._layer(record)
        for index in range(1, len(result.card.classes)):
            old = record.maps.get(index, _nothing)()
            if old is not None and old in viewer.layers:
                update_map(old, result, index)
                continue
            layer = add_map(viewer, result, index)
            if labels is not None:
                viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(labels))
            record.maps[index] = weakref.ref(layer)

    def hide_probabilities(self) -> None:
        """Remove the probability layers again."""
        viewer = self._viewer()
        for record in self._made:
            for reference in record.maps.values():
                layer = reference()
                if viewer is not None and layer is not None and layer in viewer.layers:
                    viewer.layers.remove(layer)
            record.maps.clear()

    def _latest(self, result: Result) -> _Made | None:
        """Return the newest record of this image and model."""
        same_model = (one for one in reversed(self._made) if one.model == result.card.name)
        return next((one for one in same_model if _is_same(one.image, result.image)), None)

    def _layer(self, made: _Made | None) -> Labels | None:
        """Return the layer of a record, if it is still in the viewer."""
        viewer, layer = self._viewer(), made.layer() if made else None
        return layer if viewer is not None and layer in viewer.layers else None

    def _target(self, result: Result, adjusted: bool) -> Target:
        """Return where labels go now."""
        made = self._latest(result)
        layer = self._layer(made)
        data = layer.data if layer is not None and _fits(layer, result) else None
        return Target(data, made.written if made else None, adjusted)

    def _add(self, viewer: Any, result: Result, change: Change) -> Labels:
        """Add a layer of the full image size with the region filled."""
        place = result.place
        layer = Labels(
            change.data, name=result.title, metadata=dict(place.source), **place.transform
        )
        _dress(layer, result)
        remember(layer, change.written.digest)
        remember_image(layer, result.image())
        with keeping_stroke(viewer):  # whoever hears of the layer must find all that is known of it
            viewer.add_layer(layer)
        made = _Made(result.image, result.card.name, weakref.ref(layer), change.written)
        previous = self._latest(result)
        made.maps = previous.maps if previous else {}
        self._made = [one for one in self._made if one.is_there()]
        self._made.append(made)
        return layer

    def _update(self, made: _Made, layer: Labels, result: Result, change: Change) -> None:
        """Write newer labels into a layer that holds what we wrote last."""
        output = made.written.output
        made.written = write(layer, change)
        remember(layer, made.written.digest)
        if output != result.output:
            _dress(layer, result)
        provenance = {METADATA_KEY: deepcopy(result.provenance)}
        layer.metadata = {**layer.metadata, **result.place.source, **provenance}
        if not change.target.adjusted:
            lay_over(layer, result.place.transform)


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
