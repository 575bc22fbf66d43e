"""Images that are there twice: with the very same pixels, or much alike.

What is held out tells little if the same picture is learnt from under another name.
NumPy only.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIDE = 32  # squares along each side of a thumbnail
_MUCH = 0.97  # correlation of two thumbnails
_MOST = 5_000  # images that are compared with each other; more would take minutes


def first_same(images: Sequence[NDArray[Any]]) -> list[int]:
    """Return for each image the index of the first with the very same pixels, often its own.

    NaNs are the same. Only images that agree in every sixteenth line and column are compared whole.
    """
    seen: dict[Any, list[int]] = {}
    firsts = []
    for index, image in enumerate(images):
        alike = seen.setdefault((image.shape, image.dtype.str, image[::16, ::16].tobytes()), [])
        may_be_nan = image.dtype.kind in "fc"
        same = (i for i in alike if np.array_equal(images[i], image, equal_nan=may_be_nan))
        firsts.append(next(same, index))
        if firsts[-1] == index:
            alike.append(index)
    return firsts


def much_alike(images: Sequence[NDArray[Any]]) -> Iterator[tuple[int, int]]:
    """Yield the places of two images whose thumbnails correlate by 0.97 or more.

    So one that was stored as JPEG, scaled, or made brighter is found; a part of another is not.

    Parameters
    ----------
    images : sequence of arrays (Y, X) or (Y, X, C)
        Of any sizes; at most the first 5 000 are looked at.
    """
    thumbnails = np.stack([_thumbnail(image) for image in images[:_MOST]])
    for index, thumbnail in enumerate(thumbnails):
        for later in np.flatnonzero(thumbnails[index + 1 :] @ thumbnail >= _MUCH):
            yield index, index + 1 + int(later)


def _thumbnail(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return the means of 32 × 32 parts as a vector of length 1; of 0 if all are equal."""
    means = image
    for axis in (0, 1):
        starts = np.linspace(0, image.shape[axis], _SIDE, endpoint=False).astype(int)
        sums = np.add.reduceat(means, starts, axis, dtype=np.float64)
        widths = np.maximum(np.diff([*starts, image.shape[axis]]), 1)
        means = sums / np.expand_dims(widths, tuple(range(1, sums.ndim - axis)))
    flat = np.nan_to_num(means.reshape(_SIDE, _SIDE, -1).mean(2), posinf=0, neginf=0).ravel()
    flat -= flat.mean()
    length = np.linalg.norm(flat)
    vector: NDArray[np.float32] = (flat / max(length, 1e-9)).astype(np.float32)
    return vector if length > 1e-6 else np.zeros_like(vector)
