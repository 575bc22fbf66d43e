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

from napari_rwkv_seg.errors import TrainingDataError
from napari_rwkv_seg.evaluation.label_places import how_far_apart
from napari_rwkv_seg.images import ImageFile, planes, read_image, stack_shape
from napari_rwkv_seg.images.axes import times
from napari_rwkv_seg.images.geometry import pixel_side
from napari_rwkv_seg.images.orientation import laid_like
from napari_rwkv_seg.images.partners import by_shared_name, first_names, without_channels

from .pairs import TrainingPair

_JPEGS = (".jpg", ".jpeg")
_SAME_PLACE = 0.1  # of a pixel: files round where they lie
_JPEG_NOISE = 32  # how far a JPEG may move 0 and 255


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
        Folders of images of any kind that `images.read_image` reads; they may be the same.
        Names are compared without their endings, and
        without _mask, _masks, _label, _labels, _seg, _segmentation or _gt at the end.

    Raises
    ------
    TrainingDataError
        If no image has a mask, or files do not fit each other.
    ImageError
        If an image has two masks, or a mask is in colour.
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
        If no image has a mask.
    ImageError
        If an image has two.
    UnreadableFileError
        If a folder cannot be read.
    """
    share = images.resolve() == masks.resolve()
    pictures = by_shared_name(images, marked=False if share else None)
    labels = by_shared_name(masks, marked=True if share else None)
    matched = [(path, labels[name]) for name, path in pictures.items() if name in labels]
    if not matched:
        raise TrainingDataError(
            f"No image in {str(images)!r} has a mask of the same name in {str(masks)!r}"
            f"{_example(list(pictures.values()), list(labels.values()))}; name them alike."
        )
    alone = [path for name, path in pictures.items() if name not in labels]
    unused = [path for name, path in labels.items() if name not in pictures]
    notes = [
        _without_partner(alone, "image", "mask"),
        _without_partner(unused, "mask", "image"),
    ]
    return MatchedFiles(tuple(matched), tuple(note for note in notes if note))


def read_pair(
    image: Path,
    labels: Path,
    checked: Path | None = None,
    *,
    name: str = "",
    group: str = "",
    pixel_size_um: float | None = None,
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
    pixel_size_um : float, optional
        The side of a pixel in micrometres, if the image's file does not tell it.

    Raises
    ------
    TrainingDataError
        If the files do not fit each other or the labels are no labels.
    ImageError
        If the labels are in colour.
    UnreadableFileError
        If a file cannot be read.
    """
    picture = read_image(image)
    mask = laid_like(read_image(labels), picture)
    numbers, note = _numbers(mask)
    stack = stack_shape(picture.data.shape, picture.axes)
    name = name or image.name
    cut = list(planes(picture.data, picture.axes))
    shape = (*stack, *cut[0][1].shape[:2])
    trusted = np.ones(shape, bool)
    if checked is not None:
        trusted = _numbers(laid_like(read_image(checked), picture))[0] > 0
    if checked is not None and trusted.shape == shape[-2:]:
        trusted = np.broadcast_to(trusted, shape)
    for path, array in ((labels, numbers), (checked, trusted)):
        if path is not None and array.shape != shape:
            raise TrainingDataError(
                f"{str(path)!r} is {times(array.shape)} pixels, but {str(image)!r} is "
                f"{times(shape)}; choose files that belong together."
            )
    _check_same_place(picture, mask)
    group = group or (name if len(cut) > 1 else "")
    pairs = [
        TrainingPair(
            name if len(cut) == 1 else f"{name} {list(index) if len(index) > 1 else index[0]}",
            plane[..., 0] if plane.shape[-1] == 1 else plane,
            numbers[index],
            np.array(trusted[index]),
            group,
            pixel_side(picture.pixel_size) or pixel_size_um,
        )
        for index, plane in cut
    ]
    notes = (*picture.notes, *mask.notes, note)
    return FoundPairs(tuple(pairs), tuple(dict.fromkeys(each for each in notes if each)))


def _example(pictures: Sequence[Path], labels: Sequence[Path]) -> str:
    """Return the first of each kind in parentheses."""
    if not pictures:
        return " (there is no image)"
    return f" (the first are {pictures[0].name!r} and {labels[0].name!r})" if labels else ""


def _without_partner(paths: Sequence[Path], what: str, partner: str) -> str:
    """Return a sentence about files that are left out, or ""."""
    if not paths:
        return ""
    whose, are = (f"{what} has", "is") if len(paths) == 1 else (f"{what}s have", "are")
    return f"{len(paths)} {whose} no {partner} and {are} left out: {first_names(paths)}."


def _check_same_place(image: ImageFile, mask: ImageFile) -> None:
    """Refuse labels that lie elsewhere than their image, such as those that were flipped."""
    spaces = ["".join(axis for axis in file.axes if axis in "ZYX") for file in (image, mask)]
    if spaces[0] != spaces[1]:
        return
    apart = how_far_apart(image, mask, spaces[0])
    if apart is not None and apart > _SAME_PLACE * min(image.geometry.of_axes(spaces[0]).spacing):
        raise TrainingDataError(
            f"{str(mask.path)!r} does not lie where {str(image.path)!r} does: they are up to "
            f"{apart:.3g} mm apart; save the labels with the image's own geometry."
        )


def _numbers(file: ImageFile) -> tuple[NDArray[Any], str]:
    """Return the numbers in a file (..., Y, X), and a note if they were read otherwise."""
    path, numbers = file.path, without_channels(file)
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


def _whole(path: Path, numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Return numbers that are whole as integers."""
    if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
        raise TrainingDataError(
            f"{str(path)!r} holds numbers that are not whole; labels are 0, 1, 2, and so on."
        )
    return numbers.astype(np.int64)
