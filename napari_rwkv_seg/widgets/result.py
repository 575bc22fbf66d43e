"""What a run hands to those who show it, as plain values."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import weakref

    from napari.layers import Image

    from napari_rwkv_seg.zoo.card import ModelCard

    from .placement import Placement


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
        (*spatial) and (K, *spatial) of the region; ours: layers get a copy of labels, and show
        probabilities read-only.
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
