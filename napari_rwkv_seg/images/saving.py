"""Save labels in the format that the file's name, or the caller, asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import OutputError

from .axes import check_axes
from .coco import write_coco
from .dicom_seg import write_seg
from .geometry import Geometry, flat_geometry
from .image_file import ImageFile
from .nifti_writer import write_nifti
from .ome_zarr_writer import write_ome_zarr
from .orientation import as_stored
from .png import write_png
from .writers import default_axes, write_ome_tiff

SUFFIXES = {  # of the name, the longest first: the format
    ".ome.tiff": "ome-tiff",
    ".ome.tif": "ome-tiff",
    ".tiff": "ome-tiff",
    ".tif": "ome-tiff",
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".dcm": "dicom-seg",
    ".zarr": "ome-zarr",
    ".json": "coco",
    ".png": "png",
}


@dataclass(frozen=True)
class LabelClass:
    """What a number in a class map means.

    Parameters
    ----------
    name : str
        As shown to people.
    color : str
        `#rrggbb`, or "" for any.
    """

    name: str
    color: str = ""


@dataclass(frozen=True)
class Saving:
    """Labels on their way into a file.

    Parameters
    ----------
    path : Path
        The file or the folder to make.
    labels : integer array
        With the axes of the geometry.
    geometry : Geometry
        Where they lie.
    source : ImageFile or None
        The image that they were drawn on.
    classes : tuple of LabelClass
        Of the numbers 0, 1, 2 …; empty where every number is an object.
    provenance : mapping
        How the labels were made.
    """

    path: Path
    labels: NDArray[np.integer[Any]]
    geometry: Geometry
    source: ImageFile | None
    classes: tuple[LabelClass, ...]
    provenance: Mapping[str, Any]


def save_labels(
    path: str | Path,
    labels: NDArray[np.integer[Any]],
    source: ImageFile | None = None,
    *,
    axes: str | None = None,
    format: str | None = None,
    classes: Sequence[Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Save labels; what is there appears complete or not at all.

    Parameters
    ----------
    path : path
        The file (of OME-Zarr: the folder) to make or to replace.
    labels : integer array
        Not negative; 0 is background.
    source : ImageFile, optional
        The image that they were made from, whose place in the world they get; if it was
        turned when it was read, they are turned back to the array of its file.
    axes : str, optional
        One letter of T, Z, Y, X per axis; those of the source without C if not given.
    format : str, optional
        One of `FORMATS`; by the name's ending if not given.
    classes : sequence, optional
        For class maps: what 0, 1, 2 … mean, each a name or anything with `name` and `color`.
        Without it every number is one object.
    provenance : mapping, optional
        How the labels were made; kept where the format has room.

    Raises
    ------
    OutputError
        If the format is unknown, cannot hold these labels, needs a library that is not
        installed, or the file cannot be written; what was there before is untouched.
    ValueError
        If the labels are not whole numbers from 0 to 2³² - 1, or the axes do not fit.
    """
    path = Path(path)
    write = _WRITERS[format_of(path, format)]
    axes = axes or _axes_of(labels, source)
    named = tuple(_as_class(each) for each in classes or ())
    labels, geometry = as_stored(labels, _geometry(source, check_axes(labels.shape, axes)))
    write(Saving(path, labels, geometry, source, named, dict(provenance or {})))


def format_of(path: Path, format: str | None = None) -> str:
    """Return the format to write, one of `FORMATS`.

    Raises
    ------
    OutputError
        If it is not known; the text lists those that are.
    """
    wanted = told_format(path) if format is None else format
    if wanted not in _WRITERS:
        raise OutputError(
            f"Labels cannot be saved as {wanted or path.name!r}: end the name with one of "
            f"{', '.join(SUFFIXES)}, or choose a format of {', '.join(FORMATS)}."
        )
    return wanted


def told_format(path: Path) -> str:
    """Return the format that a name tells, one of `FORMATS`, or "" if it tells none."""
    name = path.name.lower()
    by_name = next((found for end, found in SUFFIXES.items() if name.endswith(end)), "")
    if not by_name and path.parent.name == "labels" and path.parent.parent.suffix == ".zarr":
        return "ome-zarr"  # the name of labels within an image
    return by_name


def _axes_of(labels: Any, source: ImageFile | None) -> str:
    """Return the axes of labels of which nobody said them."""
    letters = source.axes.replace("C", "") if source else ""
    return letters if len(letters) == labels.ndim else default_axes(labels)


def _geometry(source: ImageFile | None, axes: str) -> Geometry:
    """Return where labels of `axes` lie, made from `source`."""
    if source is None:
        return flat_geometry(axes, None)
    if not source.geometry.axes:  # made by hand
        return flat_geometry(axes, source.pixel_size)
    return source.geometry.of_axes(axes)


def _as_class(told: Any) -> LabelClass:
    """Return a class from its name, or from anything with a name and a colour."""
    if isinstance(told, str):
        return LabelClass(told)
    return LabelClass(str(told.name), str(getattr(told, "color", "") or ""))


def _save_ome_tiff(saving: Saving) -> None:
    write_ome_tiff(saving.path, saving.labels, saving.geometry, saving.provenance)


def _save_nifti(saving: Saving) -> None:
    write_nifti(saving.path, saving.labels, saving.geometry, saving.provenance)


def _save_seg(saving: Saving) -> None:
    names = [each.name for each in saving.classes]
    write_seg(saving.path, saving.labels, saving.geometry, names, saving.provenance)


def _save_ome_zarr(saving: Saving) -> None:
    classes = [(each.name, each.color) for each in saving.classes]
    write_ome_zarr(saving.path, saving.labels, saving.geometry, classes, saving.provenance)


def _save_coco(saving: Saving) -> None:
    names = [each.name for each in saving.classes]
    image = saving.source.path.name if saving.source else saving.path.name
    write_coco(saving.path, saving.labels, image, names, saving.provenance)


def _save_png(saving: Saving) -> None:
    colors = tuple(each.color for each in saving.classes)
    write_png(saving.path, saving.labels, colors, saving.provenance)


_WRITERS: dict[str, Callable[[Saving], None]] = {
    "ome-tiff": _save_ome_tiff,
    "nifti": _save_nifti,
    "dicom-seg": _save_seg,
    "ome-zarr": _save_ome_zarr,
    "coco": _save_coco,
    "png": _save_png,
}
FORMATS = tuple(_WRITERS)
