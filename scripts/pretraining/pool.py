"""The images and classes that encoders are pretrained on: training splits of several data sets.

Planes of volumes count as images; those without any labelled pixel are left out. Test
images are never read. Pixels are kept as uint8 in 0 … 255 to fit into memory.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_rwkv_seg.inference.normalize import normalize_plane
from napari_rwkv_seg.training.samples import read_split
from napari_rwkv_seg.zoo.card import Normalization

CLASSES = {
    "dsb2018_nuclei": ("nucleus",),
    "kvasir_seg": ("polyp",),
    "isic2017": ("skin lesion",),
    "busi": ("breast lesion",),
    "glas": ("gland",),
    "phc_u373_timeseries": ("cell",),
    "acdc_cardiac": ("right ventricle", "myocardium", "left ventricle"),
    "msd_hippocampus": ("anterior hippocampus", "posterior hippocampus"),
}
"""Foreground classes of each set, in the order of their numbers."""

_UNIT = Normalization(kind="percentile", mean=[0.0], std=[1.0])


@dataclass(frozen=True, eq=False)
class Plane:
    """An image with its classes.

    Attributes
    ----------
    name : str
        Which data set it is of.
    image : uint8 array (3, Y, X)
        From the 1st to the 99th percentile; grey images three times over.
    classes : uint8 array (Y, X)
        0 for background, then the set's own classes.
    """

    name: str
    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]


def read_pool(data: Path, split: str, names: list[str]) -> dict[str, list[Plane]]:
    """Return the planes of a split ("train" or "val") of these sets.

    Raises
    ------
    ValueError
        If the split is another one: test images choose nothing and teach nothing.
    """
    if split not in ("train", "val"):
        raise ValueError(f"Only training and validation images are read here, not {split!r}.")
    return {name: list(_planes(data / name, split)) for name in names}


def _planes(folder: Path, split: str) -> Iterator[Plane]:
    if folder.name in ("acdc_cardiac", "msd_hippocampus", "phc_u373_timeseries"):
        yield from _stack_planes(folder, split)
        return
    is_binary = folder.name not in ("dsb2018_nuclei", "glas")
    for sample in read_split(folder, split):
        objects = sample.objects > (127 if is_binary and sample.objects.max() > 1 else 0)
        yield _plane(folder.name, np.atleast_3d(sample.image), objects)


def _stack_planes(folder: Path, split: str) -> Iterator[Plane]:
    """Yield the planes of volumes (X, Y, Z in the file) or series (T, Y, X) with labels."""
    with (folder / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split and row["mask"]]
    for row in rows:
        image, mask = (_stack(folder / row[key]) for key in ("file", "mask"))
        if folder.name == "phc_u373_timeseries":
            mask = mask > 0
        for pixels, classes in zip(image, mask, strict=True):
            if classes.any():
                yield _plane(folder.name, np.atleast_3d(pixels), classes)


def _stack(path: Path) -> NDArray[np.generic]:
    """Return the planes of a file along the first axis."""
    if path.suffix == ".tif":
        return np.asarray(tifffile.imread(path))
    return np.moveaxis(np.asanyarray(nibabel.load(path).dataobj), -1, 0)  # type: ignore[attr-defined]


def _plane(name: str, image: NDArray[np.generic], classes: NDArray[np.generic]) -> Plane:
    pixels = np.clip(normalize_plane(image, _UNIT, 3), 0, 1)
    return Plane(name, np.round(255 * pixels).astype(np.uint8), classes.astype(np.uint8))
