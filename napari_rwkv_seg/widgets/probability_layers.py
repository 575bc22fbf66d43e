"""Probabilities as image layers, one for each class, without holding up the window.

Those of a whole image are shown as they are kept, not copied: a volume has hundreds of
megabytes of them. They are read-only, since they are what labels are made of.
"""

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from .marks import METADATA_KEY
from .placement import lay_over

if TYPE_CHECKING:
    from .result import Result


def add_map(viewer: Any, result: "Result", index: int) -> Image:
    """Add the probabilities of a class as an image, and leave the selection as it is.

    Parameters
    ----------
    viewer : napari viewer
        Gets the layer.
    result : Result
        Whose probabilities.
    index : int
        The number of the class.
    """
    selected = set(viewer.layers.selection)
    layer: Image = viewer.add_image(
        _whole(result, index, None),
        name=f"{result.title} · probability of {result.card.classes[index].name}",
        colormap="magma",
        contrast_limits=(0, 1),
        blending="additive",
        metadata={METADATA_KEY: deepcopy(result.provenance)},
        **result.place.transform,
    )
    viewer.layers.selection = selected
    return layer


def update_map(layer: Image, result: "Result", index: int) -> None:
    """Show newer probabilities in a layer that `add_map` made; other regions keep theirs."""
    layer.data = _whole(result, index, layer.data)
    lay_over(layer, result.place.transform)
    layer.refresh()


def _whole(result: "Result", index: int, before: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return the probabilities of the whole image: outside of the region, those of before or 0."""
    place, part = result.place, result.probabilities[index]
    if not place.is_partial:
        whole: NDArray[np.float32] = part.reshape(place.shape)
        whole.flags.writeable = False
        return whole
    if before is None or before.shape != place.shape:
        before = np.zeros(place.shape, dtype=np.float32)
    elif not before.flags.writeable:
        before = before.copy()
    place.fill(before, part)
    return before
