"""What a kept copy says of a Labels layer, and how a layer is made like that again."""

from typing import Any

import numpy as np
from napari.layers import Image, Labels

from napari_rwkv_seg.controllers.journal_snapshot import Facts
from napari_rwkv_seg.controllers.journal_source import plain_source, source_of
from napari_rwkv_seg.images.napari_io import SOURCE_KEY

from .marks import METADATA_KEY
from .placement import transform_of

PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
MOST_CLASSES = 300  # colours and names of more are not kept

Box = tuple[slice, ...]


def facts_of(layer: Labels, viewer: Any) -> Facts:
    """Return what is known of a layer beside its pixels."""
    provenance = layer.metadata.get(METADATA_KEY, {})
    image = str(provenance.get("layer", ""))
    layers = viewer.layers if viewer is not None else ()
    paths = (one.source.path for one in layers if isinstance(one, Image) and one.name == image)
    return Facts(
        name=layer.name,
        shape=tuple(layer.data.shape),
        dtype=layer.data.dtype.str,
        image=image,
        image_path=str(next(paths, None) or ""),
        place={name: _plain(value) for name, value in transform_of(layer).items()},
        look=_look_of(layer),
        provenance=provenance,
        source=plain_source(layer.metadata.get(SOURCE_KEY)),
    )


def keywords_of(facts: Facts) -> dict[str, Any]:
    """Return the keywords of napari's `add_labels` that give a layer its place and file again."""
    keywords: dict[str, Any] = {
        name: tuple(value) if name in ("units", "axis_labels") else np.array(value)
        for name, value in facts.place.items()
        if name in PLACE
    }
    known = {SOURCE_KEY: source_of(facts.source), METADATA_KEY: facts.provenance}
    keywords["metadata"] = {key: told for key, told in known.items() if told}
    return keywords


def look_at(layer: Labels, facts: Facts) -> None:
    """Give a layer the colours and names of its classes again."""
    from napari.utils.colormaps import DirectLabelColormap

    colors = facts.look.get("colors", {})
    if colors:
        named = {None if key == "" else int(key): color for key, color in colors.items()}
        layer.colormap = DirectLabelColormap(color_dict=named)
    if facts.look.get("features"):
        layer.features = facts.look["features"]


def box_of(item: Any, ndim: int) -> Box | None:
    """Return the box of pixels that a step of undo changed; None if that cannot be told.

    Parameters
    ----------
    item : list
        What the event `Labels.events.paint` brings. Its parts are named tuples with
        a `slice_key` (napari 0.9 and later), or tuples that begin with the indices.
    ndim : int
        How many axes the labels have.
    """
    try:
        boxes = [_box_of_part(part) for part in item]
        return tuple(
            slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
            for axis in range(ndim)
        )
    except (TypeError, ValueError, IndexError, AttributeError, KeyError):
        return None


def _box_of_part(part: Any) -> Box:
    """Return the box of one part of a step."""
    indices = part.slice_key if hasattr(part, "slice_key") else part[0]
    if not isinstance(indices, tuple):
        raise TypeError("Indices are a tuple, one for every axis.")
    return tuple(
        slice(int(index.start), int(index.stop))
        if isinstance(index, slice)
        else slice(int(np.min(index)), int(np.max(index)) + 1)
        for index in indices
    )


def _plain(value: Any) -> Any:
    """Return an array as lists, units as words."""
    return value.tolist() if isinstance(value, np.ndarray) else [str(each) for each in value]


def _look_of(layer: Labels) -> dict[str, Any]:
    """Return colours and names of classes, where the layer has some of its own."""
    look: dict[str, Any] = {}
    colors = getattr(layer.colormap, "color_dict", {})
    if 0 < len(colors) <= MOST_CLASSES:
        look["colors"] = {
            "" if key is None else str(key): np.asarray(color, dtype=float).tolist()
            for key, color in colors.items()
        }
    features = layer.features
    if 0 < len(features) <= MOST_CLASSES:
        look["features"] = {name: features[name].tolist() for name in features}
    return look
