"""Labels that only show something of ours: one layer for each thing, kept up to date.

Once a user has painted on such a layer, or locked it, the next is a new one.
"""

import weakref
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from .as_written import digest, remember, rewrite, still_holds_it
from .marks import METADATA_KEY, ROLE


class ShownLabels:
    """The layers of one kind in one viewer.

    Parameters
    ----------
    role : str
        What they show; nothing is learnt from layers with a role.
    """

    def __init__(self, role: str) -> None:
        self._role = role
        self._layers: dict[Hashable, weakref.ref[Labels]] = {}

    def show(
        self, viewer: Any, key: Hashable, data: NDArray[Any], transform: Mapping[str, Any]
    ) -> Labels:
        """Show labels in the layer of this key, or in a new one above all others.

        Parameters
        ----------
        viewer : napari viewer
            Has the layers.
        key : hashable
            What is shown; labels that were shown under it before make way.
        data : array
            The labels; they become the layer's own.
        transform : mapping
            Where they lie, as keywords of a layer.
        """
        layer = self.layer(viewer, key)
        if layer is not None and _is_ours(layer, data.ndim):
            rewrite(layer, data)
            for name, value in transform.items():
                setattr(layer, name, value)
        else:
            if layer is not None:
                layer.visible = False  # it would show through
            layer = self._add(viewer, data, transform)
            self._layers[key] = weakref.ref(layer)
        remember(layer, digest(data))
        if not layer.visible:
            layer.visible = True  # napari leaves the tool, too
        return layer

    def layer(self, viewer: Any, key: Hashable) -> Labels | None:
        """Return the layer of a key, if it is still in the viewer."""
        known = self._layers.get(key)
        layer = known() if known is not None else None
        return layer if layer is not None and layer in viewer.layers else None

    def _add(self, viewer: Any, data: NDArray[Any], transform: Mapping[str, Any]) -> Labels:
        """Add labels on top; the selection stays as it is: the user may be painting."""
        selected = set(viewer.layers.selection)
        told = {METADATA_KEY: {ROLE: self._role}}
        layer: Labels = viewer.add_labels(data, name=self._role, metadata=told, **transform)
        if selected:
            viewer.layers.selection = selected
        return layer


def _is_ours(layer: Labels, ndim: int) -> bool:
    """Return whether a layer can be written anew: nobody has painted on it or locked it."""
    data = layer.data
    is_fit = isinstance(data, np.ndarray) and data.ndim == ndim and layer.editable
    return is_fit and still_holds_it(layer)()
