"""Layers that a run shows: the present prediction, and where the new model differs.

They are marked as ours to show, so that nothing learns from them. One preview layer, and
one of the differences of each pair, is kept up to date, until a user paints on it: then
the next is a new one. Differences lie over their image if it is still open, those of all
planes of a stack in one layer, and bring the image or the plane that the run has kept if not.
"""

import math
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap, label_colormap
from numpy.typing import NDArray

from napari_rwkv_seg.controllers.finetune_differences import Difference
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.zoo.card import ClassCard

from .as_written import digest
from .finetune_layers import LayerPair
from .marks import METADATA_KEY, ROLE
from .placement import Placement, place, transform_of
from .regions import Region, find_region, level_data, pixel_reader
from .result_layers import DTYPE
from .shown_labels import ShownLabels

MOST_PREVIEWED = 16_000_000  # pixels: 64 MB of labels
MOST_COMPARED = 1_000_000_000  # pixels of a stack: 1 GB, which is looked through in 0.6 s
RIGHT, WRONG = "#009e73", "#d55e00"  # Okabe and Ito's green and vermillion
_PREVIEW = "preview"
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
        self._previews = ShownLabels("preview")
        self._differences = ShownLabels("differences")
        self._kept_images: dict[Hashable, weakref.ref[Image]] = {}

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
        layer = self._previews.show(viewer, _PREVIEW, data, asked.place.box_transform)
        layer.name = f"{asked.name} · current prediction"
        _dress(layer, classes)

    def show_differences(
        self, found: Sequence[Difference], pairs: Mapping[int | str, LayerPair]
    ) -> str:
        """Show where the models differ; return what could not be shown and why, or "".

        Parameters
        ----------
        found : sequence of Difference
            What to show.
        pairs : mapping of int or str to LayerPair
            Those that are still open, by their number in the run, or their group there.
        """
        viewer = self._viewer()
        if viewer is None:
            return ""
        preview = self._previews.layer(viewer, _PREVIEW)
        if preview is not None:
            preview.visible = False  # it would cover what is to be seen
        stacks: dict[LayerPair, list[Difference]] = {}
        for one in found:
            pair = pairs.get(one.number) or pairs.get(one.group)
            if pair is not None and pair.stack:
                stacks.setdefault(pair, []).append(one)
            elif pair is not None and (transform := _place_of(pair, one.changes.shape)) is not None:
                layer = self._differences.show(viewer, pair.key, one.changes, transform)
                _dress_differences(layer, one.name)
            elif one.image is not None:
                self._show_kept(viewer, one, one.image)
        return " ".join(filter(None, (self._show_stack(viewer, *each) for each in stacks.items())))

    def _show_stack(self, viewer: Any, pair: LayerPair, found: Sequence[Difference]) -> str:
        """Show the differences of all planes of a stack upon its labels; return why not, or ""."""
        labels = pair.labels
        try:
            if labels is None or labels not in viewer.layers:
                raise ValueError("The labels were closed.")
            data = _whole(found, labels.data.shape, pair.labels_axes)
        except (IndexError, ValueError):
            return (
                f"The differences of {pair.image_name!r} are not shown: its labels are not as "
                "they were when the run began; close them, and press 'Show differences' again to "
                "see the planes that the run has kept."
            )
        except (ImageError, MemoryError):
            return (
                f"The differences of {pair.image_name!r} are not shown: its labels are too large "
                "for another layer of their size; fine-tune on a copy of a part of them."
            )
        layer = self._differences.show(viewer, pair.key, data, transform_of(labels))
        _dress_differences(layer, pair.image_name)
        return ""

    def _show_kept(self, viewer: Any, one: Difference, image: NDArray[Any]) -> None:
        """Show differences over the image that a run has kept; a plane at its number."""
        key = (one.number, one.name, digest(image))
        ahead = (1,) * len(one.plane)
        place = {"translate": (*one.plane, 0, 0)} if one.plane else {}
        changes = one.changes.reshape(ahead + one.changes.shape)
        above = self._differences.show(viewer, key, changes, place)
        _dress_differences(above, one.name)
        known = self._kept_images.get(key)
        if known is not None and known() in viewer.layers:
            return
        is_rgb = image.ndim == 3 and image.shape[-1] in (3, 4)
        pixels = image if is_rgb or image.ndim == 2 else image[..., 0]
        pixels = pixels.reshape(ahead + pixels.shape)
        told = {METADATA_KEY: {ROLE: "kept image"}}
        selected = set(viewer.layers.selection)  # the user may be painting
        layer = viewer.add_image(pixels, name=one.name, rgb=is_rgb, metadata=told, **place)
        viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(above))
        viewer.layers.selection = selected
        self._kept_images[key] = weakref.ref(layer)


def _place_of(pair: LayerPair, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Return where labels of `shape` lie over an image; None if it is gone or of another shape."""
    image = pair.image
    if image is None:
        return None
    spans = pair.fit.box or ((0, length) for length in level_data(image, pair.fit.level).shape)
    box = tuple(slice(*span) for span in spans)
    try:
        where = place(image, pair.fit.axes, pair.fit.level, Region(box))
    except (ImageError, IndexError):
        return None
    is_fit = tuple(part.stop - part.start for part in where.box) == shape
    return where.box_transform if is_fit else None


def _whole(found: Sequence[Difference], shape: tuple[int, ...], axes: str) -> NDArray[np.uint8]:
    """Return the differences of planes at their places in labels of a shape, nothing elsewhere.

    Raises
    ------
    ImageError
        If the labels are too large.
    IndexError, ValueError
        If the planes are not there, or have another shape.
    """
    if math.prod(shape) > MOST_COMPARED:
        raise ImageError("The labels are too large.")
    whole = np.zeros(shape, np.uint8)
    for one in found:
        at = dict(zip((letter for letter in axes if letter in "TZ"), one.plane, strict=True))
        plane = whole[tuple(at.get(letter, 0 if letter == "C" else slice(None)) for letter in axes)]
        if plane.shape != one.changes.shape:
            raise ValueError("The labels have another shape.")
        plane[...] = one.changes
    return whole


def _dress_differences(layer: Labels, name: str) -> None:
    layer.name = f"{name} · differences"
    layer.colormap = _colors({1: RIGHT, 2: WRONG})
    layer.opacity = 1.0
    layer.features = {"index": range(len(_MEANINGS)), "class": list(_MEANINGS)}


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
