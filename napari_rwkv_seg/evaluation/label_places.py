"""Where label files lie: the size of their pixels, and whether two lie at one place."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import EvaluationError
from napari_rwkv_seg.images import Geometry, ImageFile
from napari_rwkv_seg.images.geometry import TO_MICROMETRES

from .lengths import Spacing, in_micrometres, pixels, spacing_from

_SAME_SIZE = 1e-3  # relative: files round sizes of pixels
_SAME_PLACE = 0.01  # of a pixel


def stated_spacing(files: Sequence[ImageFile], axes: str, notes: list[str]) -> Spacing:
    """Return the size of a pixel along the axes but T, as two label files state it.

    Parameters
    ----------
    files : sequence of ImageFile
        Labels and the truth, of one shape.
    axes : str
        Their axes without C.
    notes : list of str
        Is added a sentence if distances can only be told in pixels.

    Raises
    ------
    EvaluationError
        If both say where they lie, and it is not the same place.
    """
    in_space = axes.replace("T", "")
    known = [file.geometry.of_axes(in_space) for file in files if _is_placed(file)]
    if not known:
        return pixels(len(in_space))
    sizes = [spacing_from(each.spacing, each.units) for each in known]
    if any(each is None for each in sizes):
        notes.append(
            "The files do not say how far planes are apart, so distances are in pixels; "
            "state the size of a pixel along Z, Y and X."
        )
        return pixels(len(in_space))
    stated = [each for each in sizes if each is not None]
    if len(stated) > 1:
        _check_same_place(files, known, stated)
    return stated[-1]


def _is_placed(file: ImageFile) -> bool:
    """Return whether a file states the size of a pixel."""
    return any(unit in TO_MICROMETRES for unit in file.geometry.units)


def _check_same_place(
    files: Sequence[ImageFile], known: Sequence[Geometry], sizes: Sequence[Spacing]
) -> None:
    """Refuse two files whose pixels are not of one size and at one place."""
    names = [str(file.path) for file in files]
    ours, theirs = (in_micrometres(each) for each in sizes)
    if not np.allclose(ours, theirs, rtol=_SAME_SIZE, atol=0):
        shown = [" × ".join(f"{size:g}" for size in each.sizes) for each in sizes]
        raise EvaluationError(
            f"The pixels of {names[0]!r} are {shown[0]} {sizes[0].unit} and those of "
            f"{names[1]!r} {shown[1]} {sizes[1].unit}; compare labels at the same place."
        )
    apart = how_far_apart(files[0], files[1], known[0].axes)
    if apart is not None and apart > _SAME_PLACE * min(sizes[1].sizes):
        raise EvaluationError(
            f"{names[0]!r} and {names[1]!r} do not lie at the same place: they are up to "
            f"{apart:.3g} mm apart. Labels are not resampled; bring one to the other's place first."
        )


def how_far_apart(one: ImageFile, other: ImageFile, axes: str) -> float | None:
    """Return how far the corners of two files of one shape lie apart at most, in mm.

    Parameters
    ----------
    one, other : ImageFile
        Of the same lengths along `axes`.
    axes : str
        Their axes in space, from Z, Y, X.

    Returns
    -------
    float or None
        None if a file does not say where it lies, as only medical files do.
    """
    lengths = dict(zip(one.axes, one.data.shape, strict=True))
    here, there = (
        _corners(file.geometry.of_axes(axes), [lengths[letter] for letter in axes])
        for file in (one, other)
    )
    return None if here is None or there is None else float(np.abs(here - there).max())


def _corners(geometry: Geometry, lengths: Sequence[int]) -> NDArray[np.float64] | None:
    """Return where the first voxel and the ends of the axes lie, in mm; None if not stated."""
    affine = geometry.affine_in("LPS")
    if affine is None:
        return None
    ends = np.zeros((4, 4))
    ends[:, 3] = 1
    for letter, length in zip(geometry.axes, lengths, strict=True):
        place = "XYZ".index(letter)
        ends[1 + place, place] = length
    return np.asarray((ends @ affine.T)[:, :3], np.float64)
