"""Open files as napari layers, and save Labels layers; napari itself is not imported.

Layers keep under `SOURCE_KEY` in their metadata where they came from, so that labels
which lie on an image can be saved exactly as its file wants them.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_rwkv_seg.errors import ImageError, OutputError, UnreadableFileError

from .axes import guess_axes, lengths_without_channels
from .dicom import list_series
from .geometry import Geometry
from .image_file import PIXEL_LIMIT, ImageFile, check_size
from .kinds import Kind, kind_of
from .napari_place import geometry_of, is_placed, place_of
from .readers import levels, open_image, read_image
from .saving import LabelClass, save_labels, told_format
from .writers import default_axes

SOURCE_KEY = "napari-rwkv-seg source"  # in a layer's metadata: path, axes, shape, geometry
PROVENANCE_KEY = "napari-rwkv-seg"  # where the docks keep how labels were made
LayerData = tuple[Any, dict[str, Any], str]
_MOST_CLASSES = 255  # numbers above are objects
_MOST_SERIES = 20  # of a folder, that are opened as layers at once
_MOST_PAINTED = 2**30  # bytes of a pyramid of labels, as int32, that is read to be painted on


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return what opens a path, or None if it is nothing that is read here (npe2 reader)."""
    if isinstance(path, list):
        if len(path) != 1:
            return None
        path = path[0]
    try:
        kind_of(Path(path))
    except UnreadableFileError:
        return None
    return read_layers


def read_layers(path: str | list[str]) -> list[LayerData]:
    """Return the layers of a file or a folder: of several DICOM series, one layer each.

    Of several series those that cannot be read, such as a localizer, are left out with a warning.

    Raises
    ------
    UnreadableFileError
        If it cannot be read; the text says what to do.
    """
    file = Path(path[0] if isinstance(path, list) else path)
    if kind_of(file) is not Kind.DICOM or file.is_file():
        return [_layer(file, None, _name(file))]
    series = list_series(file, PIXEL_LIMIT)
    if len(series) > _MOST_SERIES:
        raise UnreadableFileError(
            f"{str(file)!r} holds {len(series)} DICOM series; open the folder of one of them."
        )
    names = [f"{_name(file)} {number}" for number in range(1, len(series) + 1)]
    names = [_name(file)] if len(series) == 1 else names
    layers: list[LayerData] = []
    left_out: dict[str, UnreadableFileError] = {}
    for uid, name in zip(series, names, strict=True):
        try:
            layers.append(_layer(file, uid, name))
        except UnreadableFileError as error:
            left_out[name] = error
    for name, reason in left_out.items():
        if not layers:
            raise reason
        warnings.warn(f"The series {name!r} is left out: {reason}", stacklevel=2)  # napari shows it
    return layers


def _name(path: Path) -> str:
    """Return the name of a file without the endings that say its format."""
    name = path.name
    for ending in (".gz", ".zarr", ".nii", ".dcm", ".tif", ".tiff", ".ome"):
        name = name.removesuffix(ending)
    return name or path.name


def _layer(path: Path, series: str | None, name: str) -> LayerData:
    """Return an image as napari wants it: lazily, with all its levels."""
    image, data = _opened(path, series)
    is_rgb = image.axes.endswith("C") and image.data.shape[-1] in (3, 4) and not image.is_labels
    keywords: dict[str, Any] = {"name": name, **place_of(image.geometry)}
    channel = image.axes.find("C")
    if image.is_labels:
        data = [to_paint_on(one) for one in data]
    else:
        keywords["rgb"] = is_rgb
        if channel >= 0 and not is_rgb:
            keywords["channel_axis"] = channel
            keywords["name"] = [f"{name} {each}" for each in range(image.data.shape[channel])]
    if len(data) > 1:
        keywords["multiscale"] = True
    told = {"path": str(path), "axes": image.geometry.axes, "geometry": image.geometry}
    told |= {"shape": lengths_without_channels(image.data.shape, image.axes), "notes": image.notes}
    keywords["metadata"] = {SOURCE_KEY: told}
    return (data if len(data) > 1 else data[0]), keywords, _KINDS[image.is_labels]


def _opened(path: Path, series: str | None) -> tuple[ImageFile, list[Any]]:
    """Return an image and the pixels of all its levels, lazily but for labels to be painted on.

    napari paints on no pyramid, so of labels the finest level alone is read, if there is memory
    for it; of others a warning says that they can only be looked at.
    """
    image = _without_channel(open_image(path, series=series))
    coarser = levels(path, series=series)[1:] if hasattr(image.data, "dask") else ()
    is_float = image.data.dtype.kind == "f"
    if image.is_labels and coarser and not is_float and _is_large(path, image.data.size):
        warnings.warn(  # napari shows it
            f"The labels {path.name!r} have {image.data.size:,} pixels, too many to be held here: "
            "they are shown as a pyramid, on which napari does not paint; cut them into smaller "
            "files to correct them, or close other programs.",
            stacklevel=4,
        )
    elif image.is_labels:
        if hasattr(image.data, "dask"):
            image = _without_channel(read_image(path, series=series))
        image = _whole_numbers(image) if is_float else image
        return image, [image.data]
    rest = [_without_channel(open_image(path, each.index, series=series)) for each in coarser]
    return image, [each.data for each in (image, *rest)]


def _is_large(path: Path, pixels: int) -> bool:
    """Return whether labels are too many for the memory, as int32."""
    try:
        check_size(path, pixels * np.int32().itemsize, _MOST_PAINTED)
    except UnreadableFileError:
        return True
    return False


def _without_channel(image: ImageFile) -> ImageFile:
    """Return labels without their one channel, which napari's have not; as an image if of more."""
    axis = image.axes.find("C")
    if axis < 0 or not image.is_labels:
        return image
    count = image.data.shape[axis]
    if count == 1:
        data = image.data[(slice(None),) * axis + (0,)]
        return replace(image, data=data, axes=image.axes.replace("C", ""))
    note = f"It says that it holds labels, but it has {count} channels: it is shown as an image."
    return replace(image, is_labels=False, notes=(*image.notes, note))


def to_paint_on(labels: Any) -> Any:
    """Return labels in a type in which objects can be added: files hold the smallest that fits."""
    is_small = isinstance(labels, np.ndarray) and labels.dtype.itemsize < np.int32().itemsize
    return labels.astype(np.int32) if is_small or labels.dtype == bool else labels


def _whole_numbers(image: ImageFile) -> ImageFile:
    """Return labels of floats as whole numbers, which napari wants; as an image if they are not."""
    with np.errstate(invalid="ignore"):  # what is no number fits none either
        whole = image.data.astype(np.int32)
    if np.array_equal(whole, image.data):
        return replace(image, data=whole)
    note = "It says that it holds labels, but its numbers are not whole: it is shown as an image."
    return replace(image, is_labels=False, notes=(*image.notes, note))


_KINDS = {False: "image", True: "labels"}


def write_labels_layer(
    path: str, data: Any, meta: Mapping[str, Any], *, ending: str = ""
) -> list[str]:
    """Save a Labels layer in the format of the name's ending (npe2 writer of one layer).

    Parameters
    ----------
    path : str
        As napari's dialog gives it, which offers a layer's name without an ending.
    data, meta : array, mapping
        Of the layer.
    ending : str
        Of the kind that was chosen in the dialog; added to a name that says no format.

    Raises
    ------
    OutputError
        If it cannot be written, or the format cannot hold it; the text says what to use. Also
        if the name with the ending is taken: the dialog did not ask whether to replace that.
    """
    if ending and not told_format(Path(path)):
        path += ending
        if Path(path).exists():
            raise OutputError(
                f"{Path(path).name!r} exists already; choose another name, or give the name "
                "with its ending to replace it."
            )
    labels = data[0] if meta.get("multiscale") else data
    metadata = meta.get("metadata") or {}
    told = metadata.get(SOURCE_KEY)
    source = _source(labels, told, meta) if isinstance(told, Mapping) else None
    source = source or _by_transforms(labels, meta, told)
    provenance = metadata.get(PROVENANCE_KEY)
    try:
        save_labels(
            path,
            labels,
            source,
            axes=source.geometry.axes,
            classes=_classes(labels, meta),
            provenance=provenance if isinstance(provenance, Mapping) else None,
        )
    except (ValueError, ImageError) as error:
        raise OutputError(f"{Path(path).name!r} cannot be saved: {error}") from error
    return [path]


# What is chosen in napari's dialog says the format where the name does not.
write_as_ome_tiff = partial(write_labels_layer, ending=".ome.tif")
write_as_nifti = partial(write_labels_layer, ending=".nii.gz")
write_as_ome_zarr = partial(write_labels_layer, ending=".ome.zarr")
write_as_coco = partial(write_labels_layer, ending=".json")
write_as_dicom_seg = partial(write_labels_layer, ending=".dcm")
write_as_png = partial(write_labels_layer, ending=".png")


def _classes(labels: Any, meta: Mapping[str, Any]) -> list[LabelClass] | None:
    """Return what the numbers of a layer mean, if it says so as the docks' layers do.

    Those have the features `index` and `class`, and a colour for each. Numbers that were
    painted beyond them are named by their number.
    """
    features = meta.get("features")
    if features is None or not {"index", "class"} <= set(features):
        return None
    names = {
        int(n): str(name) for n, name in zip(features["index"], features["class"], strict=True)
    }
    highest = max(int(labels.max()), *names) if labels.size and names else 0
    if not names or min(names) < 0 or highest > _MOST_CLASSES:
        return None
    colors = getattr(meta.get("colormap"), "color_dict", {})
    return [
        LabelClass(names.get(number, f"class {number}"), _hex(colors.get(number)))
        for number in range(highest + 1)
    ]


def _hex(color: Any) -> str:
    """Return a colour of napari, RGBA from 0 to 1, as `#rrggbb`; "" for none."""
    if color is None:
        return ""
    red, green, blue = (round(float(part) * 255) for part in color[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _source(labels: Any, told: Mapping[str, Any], meta: Mapping[str, Any]) -> ImageFile | None:
    """Return the image that labels lie on, if they still have its shape and place."""
    geometry, shape = told.get("geometry"), told.get("shape")
    if not isinstance(geometry, Geometry) or shape is None:
        return None
    if tuple(shape) != tuple(labels.shape) or not is_placed(geometry, meta):
        return None
    return ImageFile(labels, geometry.axes, None, Path(str(told.get("path", ""))), geometry)


def _by_transforms(labels: Any, meta: Mapping[str, Any], told: Any) -> ImageFile:
    """Return an image in the place where the layer lies."""
    names = tuple(str(name) for name in meta.get("axis_labels") or ())
    try:
        axes = guess_axes(labels.shape, rgb=False, labels=names)
    except ImageError:
        axes = default_axes(labels)
    axes = axes if "C" not in axes else default_axes(labels)
    path = Path(str(told.get("path", ""))) if isinstance(told, Mapping) else Path()
    name = path if path.name else Path(f"{meta.get('name', 'labels')}")
    return ImageFile(labels, axes, None, name, geometry_of(axes, meta))
