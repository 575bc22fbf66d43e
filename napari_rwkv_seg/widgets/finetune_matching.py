"""Which image a Labels layer belongs to, and how its axes follow the image's.

Our own results say which image they were made of. Any other Labels layer belongs
to the image of the same size and place that lies nearest below it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_rwkv_seg.controllers.finetune_pairs import Meaning
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.axes import AXES_CHOICES, guess_axes

from .regions import level_data
from .result_layers import METADATA_KEY

ROLE = "role"  # of layers that are shown only, in their metadata; see `is_ours_to_show`
_SAME_PLACE = 0.01  # of a pixel


@dataclass(frozen=True)
class Fit:
    """How the axes of labels follow those of their image.

    Parameters
    ----------
    axes : str
        One letter for every axis of the image's array.
    level : int
        The level of a multiscale image whose pixels the labels have.
    channel : int, optional
        The only channel that the labels were made of.
    """

    axes: str
    level: int = 0
    channel: int | None = None


def is_ours_to_show(layer: Any) -> bool:
    """Return whether a layer only shows something of a run: a preview, differences."""
    told = layer.metadata.get(METADATA_KEY)
    return isinstance(told, dict) and ROLE in told


def image_layers(viewer: Any) -> list[Image]:
    """Return the images that can be learnt from, topmost first."""
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image) and METADATA_KEY not in layer.metadata
    ]


def fit(image: Image, labels: Labels, *, is_wanted: bool = False) -> Fit:
    """Return how labels follow an image.

    Parameters
    ----------
    image, labels : Image, Labels
        The layers.
    is_wanted : bool
        Whether the user has put them together: then any axes that fit will do, such as
        many channels where a stack would be guessed.

    Raises
    ------
    ImageError
        If they do not.
    """
    if labels.multiscale:
        raise ImageError(f"The labels {labels.name!r} have several levels; convert them to one.")
    told = _told(labels, image)
    level, channel = told.get("level", 0), told.get("channel")
    levels = range(len(image.data)) if image.multiscale else range(1)
    for tried in [level, *(one for one in levels if one != level)]:
        shape = tuple(level_data(image, tried).shape)
        for axes in _axes_tried(image, shape, told.get("axes", ""), is_wanted):
            if _follows(shape, axes, tuple(labels.data.shape)):
                return Fit(axes, tried, channel if "C" in axes else None)
    sizes = (" × ".join(map(str, one.data.shape)) for one in (labels,))
    shape = " × ".join(map(str, level_data(image, 0).shape))
    raise ImageError(
        f"The labels {labels.name!r} ({', '.join(sizes)}) do not fit the image {image.name!r} "
        f"({shape}); choose labels of the same size."
    )


def image_of(viewer: Any, labels: Labels) -> Image | None:
    """Return the image that labels belong to, or None."""
    images = [image for image in image_layers(viewer) if _fits(image, labels)]
    told = [image for image in images if _told(labels, image)]
    index = viewer.layers.index(labels)
    here = [image for image in told or images if _is_same_place(image, labels)] or told
    below = [image for image in here if viewer.layers.index(image) < index]
    return next(iter(below or here), None)


def _fits(image: Image, labels: Labels) -> bool:
    try:
        fit(image, labels)
    except ImageError:
        return False
    return True


def _told(labels: Labels, image: Image) -> dict[str, Any]:
    """Return what labels say of the image that they were made of, if it is this one."""
    told = labels.metadata.get(METADATA_KEY)
    return told if isinstance(told, dict) and told.get("layer") == image.name else {}


def meaning(labels: Labels) -> Meaning | Literal[""]:
    """Return what the numbers of labels mean, if they are a result of ours."""
    told = labels.metadata.get(METADATA_KEY)
    settings = told.get("settings") if isinstance(told, dict) else None
    output = settings.get("output") if isinstance(settings, dict) else ""
    return output if output in ("classes", "objects") else ""


def _axes_tried(image: Image, shape: tuple[int, ...], told: str, is_wanted: bool) -> Iterator[str]:
    """Yield orders of axes that an image may have, the likeliest first."""
    if len(told) == len(shape):
        yield told
    try:
        names = getattr(image, "axis_labels", None)
        yield guess_axes(shape, rgb=bool(image.rgb), labels=names)
        if not is_wanted:
            return
    except ImageError:
        pass  # the shape of the labels may decide
    for axes in AXES_CHOICES:
        if len(axes) == len(shape) and (axes[-1] == "C") == bool(image.rgb):
            yield axes


def _follows(shape: tuple[int, ...], axes: str, labels: tuple[int, ...]) -> bool:
    """Return whether labels have an image's axes but C, or one entry along C."""
    pairs = list(zip(shape, axes, strict=True))
    without = tuple(length for length, letter in pairs if letter != "C")
    single = tuple(1 if letter == "C" else length for length, letter in pairs)
    return labels in (without, single)


def labels_axes(axes: str, ndim: int) -> str:
    """Return one letter for every axis of labels of `ndim` axes, given those of their image."""
    return axes if len(axes) == ndim else axes.replace("C", "")


def check_same_place(image: Image, labels: Labels) -> None:
    """Refuse labels that say they lie elsewhere than an image; if one says nothing, shapes decide.

    Raises
    ------
    ImageError
        If they do.
    """
    if any(_has_no_place(layer) for layer in (image, labels)) or _is_same_place(image, labels):
        return
    raise ImageError(
        f"The labels {labels.name!r} do not lie where the image {image.name!r} does; give both "
        "layers the same scale and translate, or choose other labels."
    )


def _has_no_place(layer: Any) -> bool:
    """Return whether nobody said where a layer lies: its pixels are the world's units."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return bool(np.array_equal(_world(layer, corners), corners))


def _is_same_place(image: Image, labels: Labels) -> bool:
    """Return whether the corners of a plane of both lie in the same place of the world."""
    rows, columns = labels.data.shape[-2:]
    corners = np.zeros((3, 2))
    corners[1, 0], corners[2, 1] = rows, columns
    ours = _world(labels, corners)
    if image.rgb or not image.multiscale:
        factors = np.ones(2)
    else:
        factors = np.asarray(image.downsample_factors[fit(image, labels).level])[-2:]
    theirs = _world(image, corners * factors)
    pixel = np.abs(ours[1:] - ours[0]).max() / max(rows, columns, 1)
    return bool(np.allclose(ours, theirs, atol=_SAME_PLACE * max(float(pixel), 1e-12)))


def _world(layer: Any, corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where points of a layer's first plane lie, (N, 2) for the last two axes."""
    first = [0.0] * (layer.ndim - 2)
    return np.asarray([layer.data_to_world([*first, *corner])[-2:] for corner in corners])
