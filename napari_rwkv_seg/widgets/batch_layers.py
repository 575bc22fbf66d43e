"""Layers as images of a batch, and images of files as layers, each where it lies in the world."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image

from napari_rwkv_seg.controllers.batch_items import BatchItem
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.axes import check_axes, guess_axes, lengths_without_channels
from napari_rwkv_seg.images.geometry import Geometry
from napari_rwkv_seg.images.image_file import ImageFile
from napari_rwkv_seg.images.napari_io import SOURCE_KEY, to_paint_on
from napari_rwkv_seg.images.napari_place import geometry_of, is_placed, place_of

from .image_choice import axis_names
from .placement import transform_of, without_axis
from .regions import level_data


def items_of(layers: list[Image], axes: str = "") -> list[BatchItem]:
    """Return layers as images of a batch, with names that files may have.

    Parameters
    ----------
    layers : list of Image
        The layers.
    axes : str
        One letter for every axis of each; "" for what each layer says.
    """
    items: dict[str, BatchItem] = {}
    for layer in layers:
        name = plain = "".join("_" if sign in '/\\:*?"<>|' else sign for sign in layer.name)
        count = 1
        while name.casefold() in items:
            count += 1
            name = f"{plain} ({count})"
        items[name.casefold()] = BatchItem(Path(name), name, _reader(layer, name, axes))
    return list(items.values())


def add_image(viewer: Any, image: ImageFile) -> None:
    """Add an image: colours as one layer, other channels as one each."""
    data, options = _as_layer(image)
    if "C" not in image.axes:
        viewer.add_image(data, **options)
    elif image.axes.endswith("C") and data.shape[-1] in (3, 4):
        viewer.add_image(data, rgb=True, **options)
    else:
        viewer.add_image(data, channel_axis=image.axes.index("C"), **options)


def add_labels(viewer: Any, image: ImageFile) -> None:
    """Add the labels that a file holds."""
    data, options = _as_layer(image)
    viewer.add_labels(to_paint_on(data), **options)


def _as_layer(image: ImageFile) -> tuple[Any, dict[str, Any]]:
    """Return the pixels of a file as napari slices them, and the keywords of their layer."""
    return image.data, {"name": image.path.name, **place_of(image.geometry)}


def _reader(layer: Image, name: str, stated: str) -> Callable[[], ImageFile]:
    """Return what gives a layer as an image; its pixels are read in the worker."""
    data, rgb, names = level_data(layer, 0), bool(layer.rgb), axis_names(layer)
    transform, told = transform_of(layer), layer.metadata.get(SOURCE_KEY)

    def read() -> ImageFile:
        shape = data.shape
        axes = check_axes(shape, stated) if stated else guess_axes(shape, rgb=rgb, labels=names)
        if rgb and not axes.endswith("C"):
            raise ImageError(
                f"Layer {name!r} has colours along its last axis, but the axes {axes!r} do not "
                "end with C. Choose others under 'Axes'."
            )
        here = transform if rgb or "C" not in axes else without_axis(transform, axes.index("C"))
        geometry = _geometry(axes, shape, here, told)
        pixels = data if np.ma.isMaskedArray(data) else np.asarray(data)
        return ImageFile(pixels, axes, geometry.pixel_size, Path(name), geometry)

    return read


def _geometry(axes: str, shape: tuple[int, ...], transform: dict[str, Any], told: Any) -> Geometry:
    """Return where a layer lies.

    Of a layer that lies as it was opened it is the geometry of its file, which can hold more than
    transforms do: what its format needs to take labels back exactly.
    """
    letters = axes.replace("C", "")
    lengths = lengths_without_channels(shape, axes)
    geometry = told.get("geometry") if isinstance(told, Mapping) else None
    if isinstance(geometry, Geometry) and geometry.axes == letters:
        if lengths == tuple(told.get("shape") or ()) and is_placed(geometry, transform):
            return geometry
    return geometry_of(letters, transform)
