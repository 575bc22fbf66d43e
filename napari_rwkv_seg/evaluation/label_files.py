"""Labels in files: match those of two folders by name, and read pairs that lie at one place.

Files are read by `images.read_image`, whatever kinds that knows. A series over time
is compared frame by frame; a stack in depth as one body, in three dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import EvaluationError, UnreadableFileError
from napari_rwkv_seg.images import ImageFile, check_axes, read_image
from napari_rwkv_seg.images.axes import times
from napari_rwkv_seg.images.kinds import Kind, kind_of
from napari_rwkv_seg.images.orientation import laid_like
from napari_rwkv_seg.images.partners import by_shared_name, first_names, without_channels

from .comparison import LabelPair, as_labels
from .label_places import stated_spacing
from .lengths import Spacing

_JPEGS = (".jpg", ".jpeg")
_BY_NUMBER = "Of pictures with a palette the numbers behind the colours were read."
_AS_ONE = "Masks of 0 and 255 were read as 0 and 1."


@dataclass(frozen=True)
class MatchedLabels:
    """Files that belong together, and sentences about those that do not."""

    matched: tuple[tuple[Path, Path], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileChoices:
    """What the user knows better than the files.

    Parameters
    ----------
    axes : str, optional
        One letter for every axis but the channel, from T, Z, Y, X.
    spacing : Spacing, optional
        Size of a pixel along the axes in space; one size serves all.
    """

    axes: str | None = None
    spacing: Spacing | None = None


def match_labels(found: Path, true: Path) -> MatchedLabels:
    """Return the label files that belong together: two files, or those of two folders by name.

    Names are compared without their endings, and without _mask, _labels, _seg, _gt and the like.

    Raises
    ------
    EvaluationError
        If one is a folder and the other is not, or no file has a partner.
    ImageError
        If a file has two.
    UnreadableFileError
        If a folder cannot be read.
    """
    are_folders = [_is_folder(path) for path in (found, true)]
    if not any(are_folders):
        return MatchedLabels(((found, true),))
    if not all(are_folders):
        raise EvaluationError(
            f"Of {str(found)!r} and {str(true)!r} one is a folder; give two files or two folders."
        )
    by_name = [by_shared_name(folder) for folder in (found, true)]
    names = [name for name in by_name[0] if name in by_name[1]]
    if not names:
        firsts = [next(iter(each.values())).name if each else "nothing" for each in by_name]
        raise EvaluationError(
            f"No label file in {str(found)!r} has the name of one in {str(true)!r} "
            f"(there are {firsts[0]!r} and {firsts[1]!r}); name them alike."
        )
    notes = [
        _left_out([path for name, path in each.items() if name not in names], folder)
        for each, folder in zip(by_name, (found, true), strict=True)
    ]
    return MatchedLabels(
        tuple((by_name[0][name], by_name[1][name]) for name in names),
        tuple(note for note in notes if note),
    )


def read_label_pair(
    found: Path, true: Path, choices: FileChoices | None = None
) -> tuple[list[LabelPair], list[str]]:
    """Read two label files; a series gives one pair a frame. Return pairs, and notes.

    Raises
    ------
    EvaluationError
        If the two do not lie at one place, or hold no labels.
    ImageError
        If a file is in colour.
    UnreadableFileError
        If a file cannot be read.
    """
    choices = choices or FileChoices()
    notes: list[str] = []
    files = [read_image(path) for path in (found, true)]
    files[0] = laid_like(*files)
    labels = [_labels(file, notes) for file in files]
    notes.extend(note for file in files for note in file.notes if note not in notes)
    letters = [file.axes.replace("C", "") for file in files]
    if labels[0].shape != labels[1].shape:
        raise EvaluationError(
            f"{str(found)!r} is {times(labels[0].shape)} pixels and {str(true)!r} is "
            f"{times(labels[1].shape)}; compare labels of the same image at the same size."
        )
    if choices.axes:
        axes = check_axes(labels[0].shape, choices.axes)
    elif letters[0] == letters[1]:
        axes = letters[0]
    else:
        raise EvaluationError(
            f"{str(found)!r} says that its axes are {letters[0]} and {str(true)!r} says "
            f"{letters[1]}; state them."
        )
    flat = axes.replace("Z", "") if _is_flat(labels[0], axes) else axes
    spacing = choices.spacing or stated_spacing(files, flat, notes)
    return frames(found.name, labels, axes, spacing), notes


def frames(
    name: str, labels: Sequence[NDArray[Any]], axes: str, spacing: Spacing
) -> list[LabelPair]:
    """Return a pair of labels for every frame, or one pair if there is no axis of time.

    A single plane is no volume: all of its pixels would be its surface.
    """
    if _is_flat(labels[0], axes):
        place = axes.replace("T", "").index("Z")
        if len(spacing.sizes) == len(axes.replace("T", "")):
            spacing = Spacing(spacing.sizes[:place] + spacing.sizes[place + 1 :], spacing.unit)
        labels = [each.squeeze(axes.index("Z")) for each in labels]
        axes = axes.replace("Z", "")
    spacing = _for_axes(spacing, sum(letter != "T" for letter in axes))
    if "T" not in axes:
        return [LabelPair(name, labels[0], labels[1], spacing)]
    found, true = (np.moveaxis(each, axes.index("T"), 0) for each in labels)
    return [
        LabelPair(f"{name} [{frame}]", found[frame], true[frame], spacing)
        for frame in range(len(found))
    ]


def _is_flat(labels: NDArray[Any], axes: str) -> bool:
    """Return whether labels have an axis of depth that is one plane long."""
    return "Z" in axes and labels.shape[axes.index("Z")] == 1


def _for_axes(spacing: Spacing, axes: int) -> Spacing:
    """Return a spacing for that many axes; one size serves all."""
    if len(spacing.sizes) == 1:
        return Spacing(spacing.sizes * axes, spacing.unit)
    if len(spacing.sizes) != axes:
        raise EvaluationError(
            f"{len(spacing.sizes)} sizes of a pixel are stated, but the labels have {axes} axes "
            "in space; state one for each, or one for all."
        )
    return spacing


def _labels(file: ImageFile, notes: list[str]) -> NDArray[Any]:
    """Return the numbers in a file, without channels, as they are meant."""
    if file.path.suffix.lower() in _JPEGS:
        raise EvaluationError(
            f"{str(file.path)!r} is a JPEG, in which numbers are not kept; "
            "save the labels as PNG or TIFF."
        )
    labels = as_labels(without_channels(file), str(file.path))
    if file.indices is not None and _BY_NUMBER not in notes:
        notes.append(_BY_NUMBER)
    if set(np.unique(labels).tolist()) - {0} == {255}:
        if _AS_ONE not in notes:
            notes.append(_AS_ONE)
        return (labels > 0).astype(np.uint8)
    return labels


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder of files, not an image that is a folder."""
    if not path.is_dir():
        return False
    try:
        return kind_of(path) not in (Kind.ZARR, Kind.DICOM)
    except UnreadableFileError:
        return True  # a folder without an image of its own


def _left_out(paths: Sequence[Path], folder: Path) -> str:
    """Return a sentence about files without a partner, or ""."""
    if not paths:
        return ""
    whose, are = ("file has", "is") if len(paths) == 1 else ("files have", "are")
    names = first_names(paths)
    return f"{len(paths)} {whose} no partner and {are} left out: {names} in {folder.name}."
