"""Layers that a run shows: the present prediction, and where the new model differs.

They are marked as ours to show, so that nothing learns from them. One preview layer
is kept up to date, until a user paints on it: then the next is a new one. Differences
lie over their image if it is still open, and bring the image that the run has kept if not.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap, label_colormap
from numpy.typing import NDArray

from napari_rwkv_seg.controllers.finetune_runs import Difference
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.zoo.card import ClassCard

from .as_written import digest, remember, rewrite, still_holds_it
from .finetune_matching import ROLE
from .placement import Placement, place
from .regions import Region, find_region, level_data, pixel_reader
from .result_layers import DTYPE, METADATA_KEY

MOST_PREVIEWED = 16_000_000  # pixels: 64 MB of labels
RIGHT, WRONG = "#009e73", "#d55e00"  # Okabe and Ito's green and vermillion
_MEANINGS = ("unchanged or not held out", "newly right", "newly wrong")


@dataclass(frozen=True, eq=False)
class Asked:
    """What a prediction was asked for.

    Parameters
    ----------
    shape : (int, int)
        How many pixels were in view, Y and X.
    read : callable () -> array (Y, X) or (Y, X, C)
        Gives those pixels; for a worker.
    place : Placement
        Where they lie.
    name : str
        Of the image.
    """

    shape: tuple[int, int]
    read: Callable[[], NDArray[Any]]
    place: Placement
    name: str


def in_view(viewer: Any, image: Image, axes: str, channel: int | None) -> Asked:
    """Return what gives the pixels of an image that the viewer shows.

    Raises
    ------
    ImageError
        If nothing of it is in view, or too much, or it is not shown flat.
    """
    region = find_region(viewer, image, "current view", axes, 0)
    sizes = {letter: part.stop - part.start for part, letter in zip(region.box, axes, strict=True)}
    if sizes["Y"] * sizes["X"] > MOST_PREVIEWED:
        raise ImageError(
            f"{sizes['Y']} × {sizes['X']} pixels are in view, too many to show a prediction on; "
            "zoom in and try again."
        )
    where = place(image, axes, 0, region)
    key = tuple(
        part.start if letter in "TZ" else channel if letter == "C" and channel is not None else part
        for part, letter in zip(region.box, axes, strict=True)
    )
    reader = pixel_reader(level_data(image, 0), key)
    left = [letter for letter in axes if letter in "YX" or (letter == "C" and channel is None)]

    def read() -> NDArray[Any]:
        pixels = np.asarray(reader())
        return np.moveaxis(pixels, left.index("C"), -1) if "C" in left else pixels

    return Asked((sizes["Y"], sizes["X"]), read, where, image.name)


class RunLayers:
    """The layers that the runs of one viewer show.

    Parameters
    ----------
    viewer : napari viewer
        Held weakly.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._preview: weakref.ref[Labels] | None = None

    def show_preview(
        self, asked: Asked, labels: NDArray[Any], classes: Sequence[ClassCard]
    ) -> None:
        """Show the labels (Y, X) that the network sees now in what was in view.

        Parameters
        ----------
        asked : Asked
            What was in view.
        labels : array (Y, X)
            The prediction.
        classes : sequence of ClassCard
            What its numbers mean; () if they count objects.

        Raises
        ------
        ImageError
            If there are not as many pixels as were asked for.
        """
        viewer = self._viewer()
        if viewer is None:
            return
        if labels.shape != asked.shape:
            raise ImageError("The prediction does not fit the view that it was asked for.")
        shape = [part.stop - part.start for part in asked.place.box]
        data = labels.reshape(shape).astype(DTYPE)
        transform = asked.place.box_transform
        layer = self._preview() if self._preview is not None else None
        if layer is None or layer not in viewer.layers or not _is_ours(layer, data.ndim):
            layer = _add(viewer, data, "preview", transform)
            self._preview = weakref.ref(layer)
        else:
            rewrite(layer, data)
        remember(layer, digest(data))
        layer.name = f"{asked.name} · current prediction"
        for name, value in transform.items():
            setattr(layer, name, value)
        _dress(layer, classes)

    def show_differences(
        self, found: Sequence[Difference], images: Mapping[int, tuple[Image, str, int]]
    ) -> int:
        """Show where the models differ; return how many layers of differences that made.

        Parameters
        ----------
        found : sequence of Difference
            What to show.
        images : mapping of int to (Image, axes, level)
            The image that is still open of pairs, by their number in the run.
        """
        viewer = self._viewer()
        if viewer is None:
            return 0
        preview = self._preview() if self._preview is not None else None
        if preview is not None:
            preview.visible = False  # it would cover what is to be seen
        for one in found:
            transform = _place_of(images.get(one.number), one.changes.shape)
            if transform is None:
                transform = {}
                is_rgb = one.image.ndim == 3 and one.image.shape[-1] in (3, 4)
                pixels = one.image if is_rgb or one.image.ndim == 2 else one.image[..., 0]
                told = {METADATA_KEY: {ROLE: "kept image"}}
                viewer.add_image(pixels, name=one.name, rgb=is_rgb, metadata=told)
            name = f"{one.name} · differences"
            layer = _add(viewer, one.changes, "differences", transform)
            layer.name = name
            layer.colormap = _colors({1: RIGHT, 2: WRONG})
            layer.opacity = 1.0
            layer.features = {"index": range(len(_MEANINGS)), "class": list(_MEANINGS)}
        return len(found)


def _is_ours(layer: Labels, ndim: int) -> bool:
    """Return whether a preview can be written anew: nobody has painted on it or locked it."""
    data = layer.data
    is_fit = isinstance(data, np.ndarray) and data.ndim == ndim and layer.editable
    return is_fit and still_holds_it(layer)()


def _place_of(
    known: tuple[Image, str, int] | None, shape: tuple[int, ...]
) -> dict[str, Any] | None:
    """Return where labels of `shape` lie over an image; None if it is gone or of another shape."""
    if known is None:
        return None
    image, axes, level = known
    box = tuple(slice(0, length) for length in level_data(image, level).shape)
    try:
        where = place(image, axes, level, Region(box))
    except (ImageError, IndexError):
        return None
    return where.transform if where.shape == shape else None


def _add(viewer: Any, data: NDArray[Any], role: str, transform: Mapping[str, Any]) -> Labels:
    """Add labels on top, from which nothing is to be learnt.

    The selection stays as it is: the user may be painting.
    """
    selected = set(viewer.layers.selection)
    layer = viewer.add_labels(data, name=role, metadata={METADATA_KEY: {ROLE: role}}, **transform)
    if selected:
        viewer.layers.selection = selected
    return layer


def _colors(colors: Mapping[int, str]) -> DirectLabelColormap:
    return DirectLabelColormap(color_dict={None: "#ffffff", 0: "#00000000", **colors})


def _dress(layer: Labels, classes: Sequence[ClassCard]) -> None:
    """Give a preview the names and colours of classes, or the colours of objects."""
    if classes:
        layer.colormap = _colors({i: one.color for i, one in enumerate(classes) if i})
        names = [one.name for one in classes]
        layer.features = {"index": range(len(names)), "class": names}
    elif not layer.features.empty or isinstance(layer.colormap, DirectLabelColormap):
        layer.features = {}
        layer.colormap = label_colormap()
