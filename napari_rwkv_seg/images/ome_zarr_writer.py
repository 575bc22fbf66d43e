"""Write labels as OME-Zarr: into a new folder, or into the folder of their image.

Pyramids of labels take every second pixel, never a mean, so numbers stay numbers of
objects; the first pixel stays where it is, so all levels have one origin.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_rwkv_seg.errors import OutputError, UnreadableFileError
from napari_rwkv_seg.files import write_atomically, write_folder_atomically

from .geometry import Geometry
from .image_file import needed_to_write
from .tiff_meaning import geometry_as_json
from .writers import smallest_dtype
from .zarr_metadata import KEY, attributes, is_zarr, zarr_format

NAME = "labels"  # of the labels in a new folder
_CHUNK = 512
_COARSEST = 256  # pixels along the longer side of the last level, at most
_MOST_LEVELS = 8
_TYPES = {"T": "time", "Z": "space", "Y": "space", "X": "space"}


def write_ome_zarr(
    path: Path,
    labels: Any,
    geometry: Geometry,
    classes: Sequence[tuple[str, str]] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write labels as OME-Zarr.

    Parameters
    ----------
    path : Path
        A new folder, which gets a group `labels/labels` in OME-Zarr 0.4 (read by most
        programs); or `IMAGE.zarr/labels/NAME` within an OME-Zarr image, in its version.
    labels : integer array
        With the axes of the geometry; lazy ones are read piece by piece.
    geometry : Geometry
        Where they lie; an affine, for which OME-Zarr has no words, is kept in attributes of ours.
    classes : sequence of (name, colour)
        Of the numbers 0, 1, 2 …; the colour is `#rrggbb` or "".
    provenance : mapping, optional
        How the labels were made; kept in the group's attributes.

    Raises
    ------
    OutputError
        If zarr is missing, something else is there already, or it cannot be written.
    ValueError
        If the labels are not whole numbers from 0 to 2³² - 1.
    """
    needed_to_write("zarr", "zarr", path)
    image = path.parent.parent if path.parent.name == "labels" else None
    within = image if image is not None and is_zarr(image) else None
    if within is not None and not re.fullmatch(r"\w[\w. +-]{0,99}", path.name):
        raise OutputError(f"{path.name!r} cannot name labels: use letters, numbers, -, _ and dots.")
    _check_replaced(path, within)
    version: Literal[2, 3] = 3 if within is not None and zarr_format(within) == 3 else 2
    extra = dict(provenance or {})
    if geometry.affine is not None:
        extra["geometry"] = geometry_as_json(geometry)
    told = _image_label(classes, version, within is not None) | ({KEY: extra} if extra else {})
    dtype = smallest_dtype(labels)

    def write(folder: Path) -> None:
        import zarr

        group = zarr.create_group(str(folder), zarr_format=version)
        if within is None:
            listed = group.create_group("labels")
            listed.attrs.update(_of_version({"labels": [NAME]}, version))
            group = listed.create_group(NAME)
        levels = _write_levels(group, labels, dtype, geometry, version)
        group.attrs.update(_of_version(_multiscales(geometry, levels) | told, version))

    if within is not None:
        _ensure_labels_group(path.parent, version)
    write_folder_atomically(path, write, replace=True)
    if within is not None:
        _list_labels(path.parent, path.name, version)


def _check_replaced(path: Path, within: Path | None) -> None:
    """Refuse to replace anything but labels: an image, or a folder of something else."""
    if not path.exists():
        return
    try:
        told = attributes(path) if path.is_dir() else {}
    except UnreadableFileError:
        told = {}
    is_labels = "image-label" in told
    if within is None and path.is_dir() and "multiscales" not in told:
        is_labels = _names(path) <= {"labels"} and _names(path / "labels") <= {NAME}
    if not is_labels:
        raise OutputError(
            f"{str(path)!r} is there already and does not hold labels alone: choose another name, "
            "or put the labels into an image as IMAGE.zarr/labels/NAME."
        )


def _names(folder: Path) -> set[str]:
    """Return what a group of Zarr 2 holds beside what it says of itself; nothing if it is none."""
    names = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    return names - {".zgroup", ".zattrs"}


def _of_version(told: dict[str, Any], version: int) -> dict[str, Any]:
    """Return attributes as OME-Zarr 0.5 (Zarr 3) or 0.4 (Zarr 2) wants them."""
    return {"ome": {"version": "0.5", **told}} if version == 3 else told


def _image_label(
    classes: Sequence[tuple[str, str]], version: int, has_image: bool
) -> dict[str, Any]:
    """Return what is told of the labels: colours and names of classes."""
    told: dict[str, Any] = {} if version == 3 else {"version": "0.4"}
    numbered = list(enumerate(classes))[1:]
    if numbered:
        told["properties"] = [{"label-value": n, "class": name} for n, (name, _) in numbered]
    colors = [(n, color) for n, (_, color) in numbered if color]
    if colors:
        told["colors"] = [
            {"label-value": n, "rgba": [*bytes.fromhex(color[1:]), 255]} for n, color in colors
        ]
    if has_image:
        told["source"] = {"image": "../../"}
    return {"image-label": told}


def _multiscales(geometry: Geometry, levels: Sequence[tuple[float, ...]]) -> dict[str, Any]:
    """Return the metadata of a pyramid; `levels` are the factors of all axes."""
    axes = [
        {"name": letter.lower(), "type": _TYPES[letter]}
        | ({"unit": unit} if unit not in ("pixel", "frame") else {})
        for letter, unit in zip(geometry.axes, geometry.units, strict=True)
    ]
    datasets = []
    for index, factors in enumerate(levels):
        scale = [s * f for s, f in zip(geometry.spacing, factors, strict=True)]
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        steps.append({"type": "translation", "translation": list(geometry.origin)})
        datasets.append({"path": str(index), "coordinateTransformations": steps})
    told = {"name": NAME, "axes": axes, "datasets": datasets, "type": "nearest"}
    return {"multiscales": [told | {"version": "0.4"}]}


def _write_levels(
    group: Any, labels: Any, dtype: Any, geometry: Geometry, version: int
) -> list[tuple[float, ...]]:
    """Write all levels; return the factors of each."""
    factors, before = [1.0] * labels.ndim, labels
    made: list[tuple[float, ...]] = []
    while True:
        step = (slice(None),) * (labels.ndim - 2) + (slice(None, None, 2),) * 2 * bool(made)
        shape = before.shape if not made else (*before.shape[:-2], *_halved(before.shape[-2:]))
        options: dict[str, Any] = {"chunk_key_encoding": {"name": "default", "separator": "/"}}
        if version == 2:
            options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        else:
            options["dimension_names"] = [letter.lower() for letter in geometry.axes]
        chunks = (1,) * (labels.ndim - 2) + tuple(min(_CHUNK, length) for length in shape[-2:])
        array = group.create_array(
            str(len(made)), shape=shape, chunks=chunks, dtype=dtype, fill_value=0, **options
        )
        for region in _regions(shape, chunks):
            array[region] = np.asarray(before[_doubled(region) if made else region])[step]
        made.append(tuple(factors))
        if max(shape[-2:]) <= _COARSEST or len(made) == _MOST_LEVELS:
            return made
        before = array
        factors = [*factors[:-2], factors[-2] * 2, factors[-1] * 2]


def _halved(lengths: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-length // 2) for length in lengths)


def _regions(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the boxes of all chunks."""
    counts = [-(-length // chunk) for length, chunk in zip(shape, chunks, strict=True)]
    for index in np.ndindex(*counts):
        yield tuple(
            slice(i * c, min(length, (i + 1) * c))
            for i, c, length in zip(index, chunks, shape, strict=True)
        )


def _doubled(region: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return the box of the finer level that a box of the coarser one is taken from."""
    fine = (slice(part.start * 2, part.stop * 2) for part in region[-2:])
    return (*region[:-2], *fine)


def _ensure_labels_group(folder: Path, version: int) -> None:
    """Make the group `labels` of an image, if it has none."""
    if is_zarr(folder):
        return
    name = "zarr.json" if version == 3 else ".zgroup"
    told: dict[str, Any] = {"zarr_format": version}
    if version == 3:
        told |= {"node_type": "group", "attributes": _of_version({"labels": []}, version)}

    def write(made: Path) -> None:
        write_atomically(made / name, lambda file: file.write(json.dumps(told).encode()))

    write_folder_atomically(folder, write)


def _list_labels(folder: Path, name: str, version: int) -> None:
    """Add a name to the list of labels that a group keeps."""
    path = folder / ("zarr.json" if version == 3 else ".zattrs")
    told = json.loads(path.read_bytes()) if path.exists() else {}
    within = told.setdefault("attributes", {}) if version == 3 else told
    within = within.setdefault("ome", {"version": "0.5"}) if version == 3 else within
    names = within.setdefault("labels", [])
    if name not in names:
        names.append(name)
        text = json.dumps(told, indent=2).encode()
        write_atomically(path, lambda file: file.write(text))
