"""The one way from an image to labels, shared by window, command and library.

Whoever wants to show progress and to cancel drives `segment_steps`; `segment`
drives it to the end. torch is imported only when a model is loaded.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL

from .labels import empty_labels, label_planes
from .linking import link_labels
from .loading import Model, load_model, with_views
from .predictor import Prediction
from .progress import Progress
from .provenance import provenance_of
from .settings import LabelSettings, Views, plain_channel, plain_tile_size
from .steps import drained
from .volumes import Spacing, predict_volume_steps


@dataclass(frozen=True)
class Segmentation:
    """The labels of an image, and how they came about.

    Parameters
    ----------
    labels : array (..., Y, X)
        Class numbers as uint8 or object numbers as int32; 0 is background.
    probabilities : float array (K, ..., Y, X)
        Kept, so that labels can be made anew by `relabel`.
    card : ModelCard
        The model's card.
    settings : LabelSettings
        What the labels were made with.
    axes : str
        Axes of the image; those of the labels are the same without C.
    notes : tuple of str
        Sentences for the user.
    provenance : dict
        All that is needed to make the labels again, as plain values for JSON.
    """

    labels: NDArray[np.integer[Any]]
    probabilities: NDArray[np.floating[Any]]
    card: ModelCard
    settings: LabelSettings
    axes: str
    notes: tuple[str, ...]
    provenance: dict[str, Any]


def segment_steps(  # noqa: PLR0913 - the choices of a run are its parameters
    image: Any,
    model: Model | str | Path = DEFAULT_MODEL,
    *,
    axes: str | None = None,
    device: str = "auto",
    views: Views | None = None,
    settings: LabelSettings | None = None,
    tile_size: int | None = None,
    channel: int | None = None,
    directions: str = "Z",
    spacing: Spacing | None = None,
) -> Generator[Progress, None, Segmentation]:
    """Segment an image, yielding before every step; see `segment` for the parameters.

    Parameters
    ----------
    image, model, axes, device, views, settings, tile_size, channel, directions, spacing
        As in `segment`.

    Yields
    ------
    Progress
        Before the model is loaded, before the first tile, after every tile, and
        after every plane of labels. Closing the generator cancels; nothing is left behind.

    Returns
    -------
    Segmentation
        As `segment` returns it.
    """
    channel, tile_size = plain_channel(channel), plain_tile_size(tile_size)
    if not isinstance(model, Model):
        yield Progress(0, 1, note=f"Loading model {Path(model).name}…")
        model = load_model(model, device)
    if views is not None:
        model = with_views(model, views)
    if settings is None:
        settings = LabelSettings.for_model(model.card)
    prediction = yield from predict_volume_steps(
        image,
        model,
        axes=axes,
        tile_size=tile_size,
        channel=channel,
        directions=directions,
        spacing=spacing,
    )
    labels = empty_labels(prediction.probabilities, settings)
    yield Progress(1, 1, 0.0, "Making labels…")
    for _ in label_planes(prediction.probabilities, settings, labels):
        yield Progress(1, 1, 0.0)
    return Segmentation(
        labels=_linked(labels, prediction.axes, settings),
        probabilities=prediction.probabilities,
        card=model.card,
        settings=settings,
        axes=prediction.axes,
        notes=(*model.notes, *prediction.notes, *_unlinked(prediction.axes, settings)),
        provenance=_provenance(model, prediction, settings, channel)
        | {"directions": directions, "spacing": list(spacing) if spacing else None},
    )


def segment(  # noqa: PLR0913 - the choices of a run are its parameters
    image: Any,
    model: Model | str | Path = DEFAULT_MODEL,
    *,
    axes: str | None = None,
    device: str = "auto",
    views: Views | None = None,
    settings: LabelSettings | None = None,
    tile_size: int | None = None,
    channel: int | None = None,
    directions: str = "Z",
    spacing: Spacing | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Segmentation:
    """Segment an image.

    Parameters
    ----------
    image : array
        Any bool, integer or float dtype, 2 to 5 axes of T, Z, C, Y, X; never changed.
        Planes are segmented one by one.
    model : Model, str or Path
        A loaded model, a model's name, or a model folder.
    axes : str, optional
        One letter per axis, such as "YX", "YXC", "ZYX"; guessed where that is safe.
    device : str
        "auto", "cpu", "cuda"; only used if `model` is to be loaded here.
    views : 1, 4 or 8
        How often each tile is looked at, mirrored (4) and turned (8), to take the mean; as
        the model was loaded if not given.
    settings : LabelSettings, optional
        How to make labels; class labels as the model's card recommends if not given.
    tile_size : int, optional
        Longest side of a tile in pixels, 64 to 4096; the model's own if not given.
    channel : int, optional
        The only channel to use, from 0.
    directions : "Z", "Y", "X" or "ZYX"
        Across which axis a volume is cut into planes; "ZYX" averages over all three.
    spacing : (float, float, float), optional
        Distances of pixels along Z, Y and X: planes across Y and X get square pixels.
    progress : callable, optional
        Called with every `Progress`; an error that it raises ends the run.

    Returns
    -------
    Segmentation
        Labels in the image's axes without C, and how they came about.

    Raises
    ------
    ImageError
        If the image is empty, of a wrong dtype or channel count, without a finite
        pixel, or its axes must be stated.
    ModelError
        If the model is not there, damaged, or answers with nonsense.
    DeviceError
        If the device is not there.
    SettingsError
        If `tile_size`, `channel` or `views` is out of range.
    RwkvSegError
        If memory does not suffice.
    """
    steps = segment_steps(
        image,
        model,
        axes=axes,
        device=device,
        views=views,
        settings=settings,
        tile_size=tile_size,
        channel=channel,
        directions=directions,
        spacing=spacing,
    )
    return drained(steps, progress)


def relabel_steps(
    segmentation: Segmentation, settings: LabelSettings
) -> Generator[Progress, None, Segmentation]:
    """Make labels anew from kept probabilities, yielding between the planes of a stack.

    No network runs; closing the generator cancels.

    Returns
    -------
    Segmentation
        `segmentation` with new labels and settings; the given one is not changed.
    """
    labels = empty_labels(segmentation.probabilities, settings)
    total = math.prod(labels.shape[:-2])
    for done in label_planes(segmentation.probabilities, settings, labels):
        if done < total:
            yield Progress(done, total)
    before, after = (
        _unlinked(segmentation.axes, each) for each in (segmentation.settings, settings)
    )
    return replace(
        segmentation,
        labels=_linked(labels, segmentation.axes, settings),
        settings=settings,
        notes=(*(note for note in segmentation.notes if note not in before), *after),
        provenance=segmentation.provenance | {"settings": settings.to_dict()},
    )


def relabel(segmentation: Segmentation, settings: LabelSettings) -> Segmentation:
    """Return what `relabel_steps` returns."""
    return drained(relabel_steps(segmentation, settings))


def _linked(
    labels: NDArray[np.integer[Any]], axes: str, settings: LabelSettings
) -> NDArray[np.integer[Any]]:
    """Return labels with objects linked from plane to plane, if that is wished."""
    if not settings.link or settings.output != "objects":
        return labels
    return link_labels(
        labels.astype(np.int32), axes.replace("C", ""), settings.link, settings.link_overlap
    )


def _unlinked(axes: str, settings: LabelSettings) -> tuple[str, ...]:
    """Return a sentence if objects were to be linked along what a stack has not."""
    is_wished = settings.link and settings.output == "objects"
    if not is_wished or set(settings.link) & set(axes) or not set("ZT") & set(axes):
        return ()
    return (
        f"Objects were not linked along {settings.link}: the image was read as {axes}. Say which "
        "axis it is, or link along that which it has.",
    )


def _provenance(
    model: Model, prediction: Prediction, settings: LabelSettings, channel: int | None
) -> dict[str, Any]:
    """Return how a segmentation was made, as plain values."""
    return {
        **provenance_of(model, settings),
        "axes": prediction.axes,
        "channel": channel,
        "tile_size": prediction.tile_size,
        "notes": [*model.notes, *prediction.notes],
        "image_sha256": prediction.image_sha256,
    }
