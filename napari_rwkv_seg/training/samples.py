"""Images with their true labels, read from a folder with a split file.

The split file `split.csv` has the columns file, mask and split (train, val or
test), with paths relative to its folder. An optional `meta.csv` has the columns
file (a file name) and group: images of one kind, which are drawn as often as
the square root of their number so that rare kinds are seen.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.images.readers import read_image


@dataclass(frozen=True)
class Sample:
    """One image with the truth.

    Attributes
    ----------
    name : str
        File name of the image.
    image : ndarray, shape (Y, X) or (Y, X, 3)
        Pixels as they are in the file.
    objects : ndarray of int32, shape (Y, X)
        True labels: one number an object, 0 for background.
    group : str
        Kind of image; empty if none is stated.
    """

    name: str
    image: NDArray[np.generic]
    objects: NDArray[np.int32]
    group: str


def read_split(folder: Path, split: str) -> list[Sample]:
    """Return the samples of one split in the order of the split file.

    Parameters
    ----------
    folder : Path
        Holds `split.csv` and what it names.
    split : str
        train, val or test.

    Raises
    ------
    UnreadableFileError
        If an image or mask cannot be read.
    ValueError
        If the split is empty or a mask does not fit its image.
    """
    groups = _read_groups(folder / "meta.csv")
    with (folder / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split and row["mask"]]
    if not rows:
        table = folder / "split.csv"
        raise ValueError(f"{table} names no images with masks for the split {split!r}.")
    return [_read_sample(folder, row, groups) for row in rows]


def sampling_weights(samples: list[Sample]) -> NDArray[np.float64]:
    """Return how often to draw each sample (sum 1): a group of n images counts as sqrt(n)."""
    names = [sample.group for sample in samples]
    weights = np.array([names.count(name) ** -0.5 for name in names])
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _read_groups(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if {"file", "group"} <= row.keys()]
    return {row["file"]: row["group"] for row in rows}


def _read_sample(folder: Path, row: dict[str, str], groups: dict[str, str]) -> Sample:
    image = read_image(folder / row["file"]).data
    objects = read_image(folder / row["mask"]).data
    if objects.shape != image.shape[:2]:
        raise ValueError(f"Mask {row['mask']} has shape {objects.shape}, its image {image.shape}.")
    name = Path(row["file"]).name
    return Sample(name, image, objects.astype(np.int32), groups.get(name, ""))
