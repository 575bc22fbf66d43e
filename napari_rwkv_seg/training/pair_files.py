"""Read images with their labels from files; a stack becomes one pair a plane.

Labels that were saved as pictures are read as what was meant: 0 and 255 are
background and class 1, three equal channels are one, and a JPEG, which blurs
numbers, is background below half brightness and class 1 above. Knows no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import TrainingDataError, UnreadableFileError
from napari_rwkv_seg.images import planes, read_image, stack_shape

from .pairs import TrainingPair

_ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_JPEGS = (".jpg", ".jpeg")
_MARKS = ("masks", "mask", "labels", "label", "seg", "segmentation", "gt")
_JPEG_NOISE = 32  # how far a JPEG may move 0 and 255
_NAMED = 3  # files in a note


@dataclass(frozen=True)
class FoundPairs:
    """What a folder of images and one of masks hold.

    Parameters
    ----------
    pairs : tuple of TrainingPair
        In the order of the images' names; all pixels are checked.
    notes : tuple of str
        Sentences: which files have no partner, and what was read otherwise than it is.
    """

    pairs: tuple[TrainingPair, ...]
    notes: tuple[str, ...]


def read_pairs(images: Path, masks: Path) -> FoundPairs:
    """Read the images of a folder, each with the mask of the same name.

    Parameters
    ----------
    images, masks : Path
        Folders; they may be the same. Names are compared without their endings, and
        without _mask, _masks, _label, _labels, _seg, _segmentation or _gt at the end.

    Raises
    ------
    TrainingDataError
        If no image has a mask, or one has two.
    UnreadableFileError
        If a folder or a file cannot be read.
    """
    found = match_files(images, masks)
    notes: list[str] = []
    pairs: list[TrainingPair] = []
    for image, mask in found.matched:
        read = read_pair(image, mask)
        pairs.extend(read.pairs)
        notes.extend(note for note in read.notes if note not in notes)
    return FoundPairs(tuple(pairs), (*found.notes, *notes))


@dataclass(frozen=True)
class MatchedFiles:
    """Files that belong together, and sentences about those that do not."""

    matched: tuple[tuple[Path, Path], ...]
    notes: tuple[str, ...]


def match_files(images: Path, masks: Path) -> MatchedFiles:
    """Return the files of `read_pairs` that belong together, without reading them.

    Raises
    ------
    TrainingDataError
        If no image has a mask, or one has two.
    UnreadableFileError
        If a folder cannot be read.
    """
    pictures, labels = _files(images), _files(masks)
    if images.resolve() == masks.resolve():
        labels = [path for path in labels if _is_marked(path)]
        pictures = [path for path in pictures if not _is_marked(path)]
    by_name = _by_name(labels, masks)
    _by_name(pictures, images)
    matched = [(path, by_name[_name(path)]) for path in pictures if _name(path) in by_name]
    if not matched:
        raise TrainingDataError(
            f"No image in {str(images)!r} has a mask of the same name in {str(masks)!r}"
            f"{_example(pictures, labels)}; name them alike."
        )
    used = {mask for _, mask in matched}
    alone = [path for path in pictures if _name(path) not in by_name]
    notes = [
        _without_partner(alone, "image", "mask"),
        _without_partner([path for path in labels if path not in used], "mask", "image"),
    ]
    return MatchedFiles(tuple(matched), tuple(note for note in notes if note))


def read_pair(
    image: Path, labels: Path, checked: Path | None = None, *, name: str = "", group: str = ""
) -> FoundPairs:
    """Read one image with its labels; each plane of a stack becomes a pair of one group.

    Parameters
    ----------
    image, labels : Path
        Of the same height, width and stack.
    checked : Path, optional
        Above 0 where the labels are right; everywhere if not given. One plane serves a stack.
    name, group : str
        Of the pairs; the name of the image's file, and that again for a stack, if not given.

    Raises
    ------
    TrainingDataError
        If the files do not fit each other or the labels are no labels.
    UnreadableFileError
        If a file cannot be read.
    """
    picture = read_image(image)
    numbers, note = _read_labels(labels)
    stack = stack_shape(picture.data.shape, picture.axes)
    name = name or image.name
    cut = list(planes(picture.data, picture.axes))
    shape = (*stack, *cut[0][1].shape[:2])
    trusted = np.ones(shape, bool) if checked is None else _read_labels(checked)[0] > 0
    if checked is not None and trusted.shape == shape[-2:]:
        trusted = np.broadcast_to(trusted, shape)
    for path, array in ((labels, numbers), (checked, trusted)):
        if path is not None and array.shape != shape:
            raise TrainingDataError(
                f"{str(path)!r} is {_times(array.shape)} pixels, but {str(image)!r} is "
                f"{_times(shape)}; choose files that belong together."
            )
    group = group or (name if len(cut) > 1 else "")
    pairs = [
        TrainingPair(
            name if len(cut) == 1 else f"{name} {list(index) if len(index) > 1 else index[0]}",
            plane[..., 0] if plane.shape[-1] == 1 else plane,
            numbers[index],
            np.array(trusted[index]),
            group,
        )
        for index, plane in cut
    ]
    return FoundPairs(tuple(pairs), (note,) if note else ())


def _files(folder: Path) -> list[Path]:
    """Return the pictures in a folder by name."""
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise UnreadableFileError(f"Cannot read {str(folder)!r}: {error.strerror}.") from error


def _stem(path: Path) -> str:
    """Return a file's name without its ending, and without the .ome before it."""
    return path.stem.removesuffix(".ome")


def _is_marked(path: Path) -> bool:
    """Return whether a file's name says that it is a mask."""
    return _name(path) != _stem(path)


def _name(path: Path) -> str:
    """Return what the files of a pair share in their names."""
    stem = _stem(path)
    for mark in _MARKS:
        for joint in "_-.":
            if stem.lower().endswith(joint + mark):
                return stem[: -len(mark) - 1]
    return stem


def _by_name(paths: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Return files by what a pair shares."""
    found: dict[str, Path] = {}
    for path in paths:
        if other := found.get(_name(path)):
            raise TrainingDataError(
                f"Both {other.name!r} and {path.name!r} in {str(folder)!r} could be the partner "
                f"of {_name(path)!r}; move one of them away."
            )
        found[_name(path)] = path
    return found


def _example(pictures: Sequence[Path], labels: Sequence[Path]) -> str:
    """Return the first of each kind in parentheses."""
    if not pictures:
        return " (there is no TIFF, PNG or JPEG image)"
    return f" (the first are {pictures[0].name!r} and {labels[0].name!r})" if labels else ""


def _without_partner(paths: Sequence[Path], what: str, partner: str) -> str:
    """Return a sentence about files that are left out, or ""."""
    if not paths:
        return ""
    names = ", ".join(path.name for path in paths[:_NAMED]) + (", …" if paths[_NAMED:] else "")
    whose, are = (f"{what} has", "is") if len(paths) == 1 else (f"{what}s have", "are")
    return f"{len(paths)} {whose} no {partner} and {are} left out: {names}."


def _read_labels(path: Path) -> tuple[NDArray[Any], str]:
    """Return the numbers in a file (..., Y, X), and a note if they were read otherwise."""
    read = read_image(path)
    numbers = _one_channel(path, read.data, read.axes)
    if path.suffix.lower() in _JPEGS:
        if np.count_nonzero(np.minimum(numbers, 255 - numbers) > _JPEG_NOISE) > 0.1 * numbers.size:
            raise TrainingDataError(
                f"{str(path)!r} is a JPEG, in which numbers are not kept; "
                "save the labels as PNG or TIFF."
            )
        return (numbers > 127).astype(np.uint8), (
            "Masks that are JPEG files were read as background and class 1, by half brightness."
        )
    if numbers.dtype.kind == "f":
        numbers = _whole(path, numbers)
    if numbers.dtype.kind in "iu" and set(np.unique(numbers[numbers > 0]).tolist()) == {255}:
        return (numbers > 0).astype(np.uint8), "Masks of 0 and 255 were read as 0 and 1."
    return numbers, ""


def _one_channel(path: Path, numbers: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return labels without their channels, which must be equal (but for an alpha)."""
    if "C" not in axes:
        return numbers
    channels = np.moveaxis(numbers, axes.index("C"), 0)
    colours = channels[:3] if len(channels) == 4 else channels
    if any(not np.array_equal(colours[0], other) for other in colours[1:]):
        raise TrainingDataError(
            f"{str(path)!r} is in colour; labels have one number a pixel. "
            "Save them as a grey image, each class or object with a number of its own."
        )
    return np.ascontiguousarray(colours[0])


def _whole(path: Path, numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Return numbers that are whole as integers."""
    if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
        raise TrainingDataError(
            f"{str(path)!r} holds numbers that are not whole; labels are 0, 1, 2, and so on."
        )
    return numbers.astype(np.int64)


def _times(shape: Sequence[int]) -> str:
    return " × ".join(str(length) for length in shape)
