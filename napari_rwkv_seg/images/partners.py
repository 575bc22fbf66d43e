"""Files of two folders that belong together by their names, and the numbers in label files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError

from .image_file import ImageFile
from .listing import images_in, stem_of

_MARKS = ("masks", "mask", "labels", "label", "seg", "segmentation", "gt")
_NAMED = 3  # files in a sentence


def shared_name(path: Path) -> str:
    """Return a file's name without its ending, and without what says that it holds labels."""
    stem = stem_of(path.name)
    for mark in _MARKS:
        for joint in "_-.":
            if stem.lower().endswith(joint + mark):
                return stem[: -len(mark) - 1]
    return stem


def is_marked(path: Path) -> bool:
    """Return whether a file's name says that it holds labels."""
    return shared_name(path) != stem_of(path.name)


def by_shared_name(folder: Path, *, marked: bool | None = None) -> dict[str, Path]:
    """Return the images in a folder by what those that belong together share in their names.

    Parameters
    ----------
    folder : Path
        Where they lie; folders in it are not searched, but a series or a `.zarr` is an image.
    marked : bool, optional
        Only those whose names say that they hold labels, or only the others.

    Raises
    ------
    ImageError
        If two could be the partner of one.
    UnreadableFileError
        If the folder cannot be read.
    """
    found: dict[str, Path] = {}
    for path in images_in(folder):
        if marked is not None and is_marked(path) != marked:
            continue
        if other := found.get(shared_name(path)):
            raise ImageError(
                f"Both {other.name!r} and {path.name!r} in {str(folder)!r} could be the partner "
                f"of {shared_name(path)!r}; move one of them away."
            )
        found[shared_name(path)] = path
    return found


def first_names(paths: Iterable[Path]) -> str:
    """Return the first few names with commas, and … if there are more."""
    names = [path.name for path in paths]
    return ", ".join(names[:_NAMED]) + (", …" if names[_NAMED:] else "")


def without_channels(file: ImageFile) -> NDArray[Any]:
    """Return the numbers of a label file; its channels must be equal (but for an alpha).

    Of a picture with a palette they are those behind its colours.

    Raises
    ------
    ImageError
        If it is in colour.
    """
    if file.indices is not None:
        return np.asarray(file.indices)
    if "C" not in file.axes:
        return np.asarray(file.data)
    channels = np.moveaxis(np.asarray(file.data), file.axes.index("C"), 0)
    colours = channels[:3] if len(channels) == 4 else channels
    if any(not np.array_equal(colours[0], other) for other in colours[1:]):
        raise ImageError(
            f"{str(file.path)!r} is in colour; labels have one number a pixel. "
            "Save them as a grey image, each class or object with a number of its own."
        )
    return np.ascontiguousarray(colours[0])
