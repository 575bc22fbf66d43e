"""The data sets of the table: what is in them, and how their images become planes with labels."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.evaluation import Spacing
from napari_rwkv_seg.images import read_image
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.zoo.card import Normalization

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
PER_PLANE = Normalization()
PER_VOLUME = Normalization(kind="fixed", scale=1, mean=[0], std=[1])  # volumes come standardised
VALIDATION_SHARE = 0.1  # of the training images, where a set brings no validation split
SYNTHETIC = {"train": 12, "val": 4, "test": 4}


@dataclass(frozen=True)
class DataSet:
    """What is to be known of a set.

    Parameters
    ----------
    classes : tuple of str
        The foreground classes, from 1 on.
    labels : "classes" or "objects"
        What numbers in the masks stand for; "objects" are instances.
    with_objects : bool
        Whether object F1 is told. Where masks are no instances, objects are connected parts.
    spacing : Spacing, optional
        Of a volume or a plane, where it is known; else no HD95 is told.
    longest : int
        Images are made smaller to this longest side in pixels; 0 leaves them as they are.
    turns : bool
        Whether crops are turned and mirrored: not where the side tells classes apart.
    note : str
        What a reader of the table must know.
    """

    classes: tuple[str, ...]
    labels: Literal["classes", "objects"] = "classes"
    with_objects: bool = False
    spacing: Spacing | None = None
    longest: int = 0
    normalization: Normalization = PER_PLANE
    turns: bool = True
    note: str = ""


SETS = {
    "kvasir_seg": DataSet(("polyp",), longest=352, note="made smaller to a longest side of 352"),
    "isic2017": DataSet(("lesion",)),
    "busi": DataSet(("lesion",)),
    "glas": DataSet(("gland",), with_objects=True, note="objects are connected parts"),
    "acdc_cardiac": DataSet(
        ("right ventricle", "myocardium", "left ventricle"),
        normalization=PER_VOLUME,
        turns=False,
        note="Dice per volume; the spacing is not known; crops are neither turned nor mirrored",
    ),
    "dsb2018_nuclei": DataSet(("nucleus",), "objects", with_objects=True),
    "msd_hippocampus": DataSet(
        ("anterior", "posterior"),
        spacing=Spacing((1.0, 1.0, 1.0), "mm"),
        normalization=PER_VOLUME,
        turns=False,
        note="Dice and HD95 per volume, in three dimensions; crops are neither turned nor mirrored",
    ),
}
SMOKE = {"synthetic": DataSet(("disc",), "objects", with_objects=True, spacing=Spacing((1, 1)))}
ALL = SETS | SMOKE


@dataclass(frozen=True, eq=False)
class Case:
    """A test image: one plane, or a volume of several.

    Parameters
    ----------
    name : str
        File name of the image.
    images : tuple of arrays (Y, X) or (Y, X, C)
        Its planes.
    truths : tuple of integer arrays (Y, X)
        Their labels.
    is_volume : bool
        Whether the planes are scored as one body.
    """

    name: str
    images: tuple[NDArray[Any], ...]
    truths: tuple[NDArray[np.int32], ...]
    is_volume: bool = False


def read_cases(name: str, split: str, most: int = 0) -> list[Case]:
    """Return the images of a split in the order of its file; the first `most` if not 0."""
    if name == "synthetic":
        return synthetic_cases(split)
    rows, _ = split_rows(name, split)
    return [_read(name, row) for row in rows[: most or None]]


def split_rows(name: str, split: str) -> tuple[list[dict[str, str]], bool]:
    """Return the rows of a split, and whether its validation split was made here, from train."""
    with (DATA / name / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["mask"]]
    is_made = not any(row["split"] == "val" for row in rows)
    if is_made:
        train = [row for row in rows if row["split"] == "train"]
        count = max(1, round(VALIDATION_SHARE * len(train)))
        for index in np.random.default_rng(0).permutation(len(train))[:count]:
            train[index]["split"] = "val"
    return [row for row in rows if row["split"] == split], is_made


def pairs_of(cases: list[Case]) -> list[TrainingPair]:
    """Return every plane of the cases as a pair to learn from; all pixels count."""
    return [
        TrainingPair(case.name, image, truth, np.ones(truth.shape, bool), case.name)
        for case in cases
        for image, truth in zip(case.images, case.truths, strict=True)
    ]


def _read(name: str, row: dict[str, str]) -> Case:
    facts, folder = SETS[name], DATA / name
    if row["file"].endswith(".nii.gz"):
        return _read_volume(folder, row)
    image, mask = (read_image(folder / row[key]).data for key in ("file", "mask"))
    labels = mask if facts.labels == "objects" else mask > 0
    image, truth = _made_smaller(image, labels.astype(np.int32), facts.longest)
    return Case(Path(row["file"]).name, (image,), (truth,))


def _read_volume(folder: Path, row: dict[str, str]) -> Case:
    """Read a NIfTI volume (X, Y, Z) as planes along Z, standardised as a whole."""
    import nibabel

    volume, mask = (
        np.asarray(nibabel.load(folder / row[key]).dataobj).T for key in ("file", "mask")
    )
    volume = volume.astype(np.float64)
    volume = np.clip(volume, *np.percentile(volume, (0.5, 99.5)))
    volume = ((volume - volume.mean()) / max(float(volume.std()), 1e-6)).astype(np.float32)
    truth = np.round(mask).astype(np.int32)
    return Case(Path(row["file"]).name, tuple(volume), tuple(truth), is_volume=True)


def _made_smaller(
    image: NDArray[Any], truth: NDArray[np.int32], longest: int
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return image and binary mask with a longest side of at most `longest` pixels."""
    from skimage.transform import resize

    sides = image.shape[:2]
    if not longest or max(sides) <= longest:
        return image, truth
    shape = tuple(round(side * longest / max(sides)) for side in sides)
    small = resize(image, (*shape, *image.shape[2:]), anti_aliasing=True, preserve_range=True)
    covered = resize(truth.astype(float), shape, anti_aliasing=True)
    return small.round().astype(np.uint8), (covered > 0.5).astype(np.int32)


def synthetic_cases(split: str) -> list[Case]:
    """Return small noisy images of bright discs, the same in every run."""
    return list(_discs(SYNTHETIC[split], seed=list(SYNTHETIC).index(split)))


def _discs(count: int, seed: int) -> Iterator[Case]:
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :64]
    for number in range(count):
        truth = np.zeros((64, 64), np.int32)
        for disc in range(1, 5):
            y, x = generator.integers(8, 56, 2)
            truth[(rows - y) ** 2 + (columns - x) ** 2 < 36] = disc
        image = generator.normal(60, 15, truth.shape) + 100 * (truth > 0)
        yield Case(f"{number}.png", (np.clip(image, 0, 255).astype(np.uint8),), (truth,))
