"""Which image a Labels layer belongs to, and how its axes follow the image's.

Our own results say which image they were made of, and may be of a part of it. Any other
Labels layer belongs to the image of the same size and place that lies nearest below it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from napari.layers import Image, Labels

from napari_rwkv_seg.controllers.finetune_pairs import Meaning
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.axes import AXES_CHOICES, guess_axes

from .finetune_place import (
    Box,
    box_of,
    has_no_place,
    is_same_place,
    is_stored_otherwise,
    labels_axes,
)
from .made_of import made_of, remember_image
from .marks import METADATA_KEY, ROLE
from .regions import level_data


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
    box : tuple of (int, int), optional
        Start and stop, along every axis of the image's array, of the part that the labels
        cover; None if they cover all of it.
    """

    axes: str
    level: int = 0
    channel: int | None = None
    box: Box | None = None


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
    part = _fit_of_part(image, labels, told)
    if part is not None:
        return part
    sizes = (" × ".join(map(str, one.data.shape)) for one in (labels,))
    shape = " × ".join(map(str, level_data(image, 0).shape))
    raise ImageError(
        f"The labels {labels.name!r} ({', '.join(sizes)}) do not fit the image {image.name!r} "
        f"({shape}); choose labels of the same size."
    )


def image_of(viewer: Any, labels: Labels) -> Image | None:
    """Return the image that labels belong to, or None."""
    tried = ((image, _fit_if_any(image, labels)) for image in image_layers(viewer))
    fits = {image: found for image, found in tried if found is not None}
    told = [image for image in fits if image is made_of(labels)]
    told = told or [image for image in fits if _told(labels, image)]
    index = viewer.layers.index(labels)
    here = [image for image in told or fits if _is_here(image, labels, fits[image])]
    below = [image for image in here or told if viewer.layers.index(image) < index]
    found = next(iter(below or here or told), None)
    if found in told and found in here:
        remember_image(labels, found)  # it may be renamed from now on
    return found


def _fit_if_any(image: Image, labels: Labels) -> Fit | None:
    try:
        return fit(image, labels)
    except ImageError:
        return None


def _fit_of_part(image: Image, labels: Labels, told: dict[str, Any]) -> Fit | None:
    """Return how labels follow the part of their own image that they lie upon, if they do.

    Such are copies of the view of streamed labels.
    """
    axes, level, channel = (told.get(key) for key in ("axes", "level", "channel"))
    level = level if image.multiscale and level in range(len(image.data)) else 0
    if axes not in AXES_CHOICES or len(axes) != level_data(image, level).ndim:
        return None
    if len(labels_axes(axes, labels.ndim)) != labels.ndim:
        return None
    box = box_of(image, labels, axes, level)
    return None if box is None else Fit(axes, level, channel if "C" in axes else None, box)


def _told(labels: Labels, image: Image) -> dict[str, Any]:
    """Return what labels say of the image that they were made of, if it is this one."""
    told = labels.metadata.get(METADATA_KEY)
    if not isinstance(told, dict):
        return {}
    return told if made_of(labels) is image or told.get("layer") == image.name else {}


def meaning(labels: Labels) -> Meaning | Literal[""]:
    """Return what the numbers of labels mean, if they are a result of ours."""
    told = labels.metadata.get(METADATA_KEY)
    settings = told.get("settings") if isinstance(told, dict) else None
    output = settings.get("output") if isinstance(settings, dict) else ""
    return output if output in ("classes", "objects") else ""


def model_of(labels: Labels) -> str:
    """Return the name of the model that made labels, if they are a result of ours."""
    told = labels.metadata.get(METADATA_KEY)
    name = told.get("model") if isinstance(told, dict) else ""
    return name if isinstance(name, str) else ""


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


def check_same_place(image: Image, labels: Labels, found: Fit) -> None:
    """Refuse labels that say they lie elsewhere than an image; if one says nothing, shapes decide.

    Raises
    ------
    ImageError
        If they do, or are of a file that says nothing while the image was turned when opened.
    """
    if is_stored_otherwise(image, labels):
        raise ImageError(
            f"The image {image.name!r} was turned when it was opened, and the file of the labels "
            f"{labels.name!r} does not say where they lie; fine-tune on the files (folders), "
            "where both are turned."
        )
    if any(has_no_place(layer) for layer in (image, labels)) or _is_here(image, labels, found):
        return
    raise ImageError(
        f"The labels {labels.name!r} do not lie where the image {image.name!r} does; give both "
        "layers the same scale and translate, or choose other labels."
    )


def _is_here(image: Image, labels: Labels, found: Fit) -> bool:
    """Return whether labels lie upon the image that they fit, or the part of it."""
    return found.box is not None or is_same_place(image, labels, found.axes, found.level)
