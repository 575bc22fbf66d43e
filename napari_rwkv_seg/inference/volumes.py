"""Volumes plane by plane along any axis, or along all three with averaged probabilities.

The network is two-dimensional. Planes across Z are those of the image; planes
across Y show Z and X, planes across X show Z and Y. Where the steps along Z are
not as long as the pixels of the plane, such planes are resampled along Z to
square pixels before the network (linear, centre upon centre), and their
probabilities back. Averaging over directions is the 2.5-D scheme of Roth et al.,
MICCAI 2014, with the same network for all. Time points are independent.
"""

import math
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.images.axes import check_axes

from .loading import Model
from .predictor import Prediction, opened, predict_steps
from .progress import Progress

DIRECTIONS = ("Z", "Y", "X", "ZYX")
Spacing = tuple[float, float, float]  # along Z, Y and X, in any one unit


def predict_volume_steps(
    image: Any,
    model: Model,
    *,
    axes: str | None = None,
    tile_size: int | None = None,
    channel: int | None = None,
    directions: str = "Z",
    spacing: Spacing | None = None,
) -> Generator[Progress, None, Prediction]:
    """Run `model` over planes across one axis of a volume or all three.

    Parameters
    ----------
    image, model, axes, tile_size, channel
        As in `predict_steps`; lazy images are read whole for planes across Y or X.
    directions : str
        One of `DIRECTIONS`; "Z" is `predict_steps`, and all that an image without Z allows.
    spacing : (float, float, float), optional
        Distances of pixels along Z, Y and X; taken as equal if not given.

    Yields
    ------
    Progress
        As `predict_steps`, for one direction after the other.

    Returns
    -------
    Prediction
        Mean probabilities in the image's axes.

    Raises
    ------
    SettingsError
        If `directions` or `spacing` cannot be used.
    ImageError, ModelError, RwkvSegError
        As `predict_steps`.
    """
    _check(directions, spacing)
    image, axes, notes = opened(image, axes, model, channel)
    options: dict[str, Any] = {"tile_size": tile_size, "channel": channel}
    is_volume = "Z" in axes and image.shape[axes.index("Z")] > 1
    notes += _coarse(directions, spacing) if is_volume else []
    if directions == "Z" or not is_volume:
        found = yield from predict_steps(image, model, axes=axes, **options)
        return replace(found, notes=(*notes, *found.notes))
    volume = np.asanyarray(image)
    total = np.zeros((), dtype=np.float32)
    for number, direction in enumerate(directions, start=1):
        view = SideView(volume, axes, direction, spacing)
        name = f"planes across {direction}, {number} of {len(directions)}"
        found = yield from _named(predict_steps(view, model, axes=view.axes, **options), name)
        total = total + view.back(found.probabilities)
        notes += [note for note in found.notes if note not in notes]
    if spacing is None and directions != "Z":
        notes.append("The distance of planes is not known; it was taken as that of pixels.")
    return replace(found, probabilities=total / len(directions), axes=axes, notes=tuple(notes))


class SideView:
    """A volume seen along one of its axes; planes across Y or X get square pixels.

    Parameters
    ----------
    volume : array
        In memory.
    axes : str
        As checked by `check_axes`, with a Z.
    direction : "Z", "Y" or "X"
        The axis that is stepped along; "Z" is the volume as it is.
    spacing : (float, float, float) or None
        Along Z, Y and X.
    """

    def __init__(self, volume: Any, axes: str, direction: str, spacing: Spacing | None) -> None:
        check_axes(volume.shape, axes)
        sides = {"Z": ("Y", "X"), "Y": ("Z", "X"), "X": ("Z", "Y")}
        down, across = sides[direction]
        self._order = [one for one in axes if one in "TC"] + [direction, down, across]
        self._pixels = np.transpose(volume, [axes.index(one) for one in self._order])
        self._stack = [one for one in axes if one in "TZYX"]
        self._depth = volume.shape[axes.index(down)]
        sizes = dict(zip("ZYX", spacing or (1.0, 1.0, 1.0), strict=True))
        ratio = 1.0 if direction == "Z" else sizes[down] / sizes[across]
        self._rows = max(1, round(self._depth * ratio))
        names = {direction: "Z", down: "Y", across: "X"}
        self.axes = "".join(names.get(one, one) for one in self._order)
        is_whole = self._rows == self._depth
        self.dtype = self._pixels.dtype if is_whole else np.dtype(np.float32)
        *leading, _, width = self._pixels.shape
        self.shape = (*leading, self._rows, width)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Return one plane, or several, resampled along Z."""
        *leading, rows, columns = key
        part = self._pixels[(*leading, slice(None), columns)]
        return resampled(part, self._rows)[..., rows, :]

    def back(self, probabilities: NDArray[Any]) -> NDArray[np.float32]:
        """Return probabilities (K, ...) of this view in the axes of the image without C."""
        depth = resampled(probabilities, self._depth)
        order = [one for one in self._order if one != "C"]
        wanted = [1 + order.index(one) for one in self._stack]
        turned: NDArray[np.float32] = np.transpose(depth, (0, *wanted)).astype(np.float32)
        return turned


def resampled(values: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return `values` (..., Y, X) with another number of rows over the same length, linearly."""
    length = values.shape[-2]
    if rows == length:
        return values
    places = np.clip((np.arange(rows) + 0.5) * length / rows - 0.5, 0, length - 1)
    below = np.minimum(places.astype(int), max(0, length - 2))
    above = np.minimum(below + 1, length - 1)
    share = (places - below).astype(np.float32)[:, None]
    numbers = values.astype(np.float32)
    first, second = numbers[..., below, :], numbers[..., above, :]
    mixed: NDArray[Any] = first * (1 - share) + second * share
    return mixed


def _named(
    steps: Generator[Progress, None, Prediction], name: str
) -> Generator[Progress, None, Prediction]:
    """Pass on steps, saying which direction they are of."""
    try:
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                found: Prediction = end.value
                return found
            yield replace(progress, note=" · ".join(filter(None, (progress.note, name))))
    finally:
        steps.close()


def _coarse(direction: str, spacing: Spacing | None) -> list[str]:
    """Return a note if planes across one axis have pixels that are much longer one way."""
    sizes = dict(zip("ZYX", spacing or (), strict=False))
    within = {axis: size for axis, size in sizes.items() if axis != direction}
    longest = max(within, key=lambda axis: within[axis], default="")
    if direction not in sizes or within[longest] <= 2 * sizes[direction]:
        return []
    shown = " × ".join(f"{size:.3g}" for size in within.values())
    return [
        f"Planes across {direction} have pixels of {shown} by the volume's spacing; planes across "
        f"{longest} are finer (Planes, or --directions {longest})."
    ]


def _check(directions: str, spacing: Spacing | None) -> None:
    """Refuse what is no direction or no spacing."""
    if directions not in DIRECTIONS:
        raise SettingsError(_which(directions))
    if spacing is not None and not all(math.isfinite(one) and one > 0 for one in spacing):
        raise SettingsError(f"Spacing must be three numbers above 0, got {spacing!r}.")


def _which(directions: str) -> str:
    return f"Directions is one of {', '.join(DIRECTIONS)}, not {directions!r}."
