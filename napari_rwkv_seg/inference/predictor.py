"""From an image to class probabilities, plane by plane and tile by tile.

A generator, so that whoever drives it can show how far it is and stop between
tiles by closing it. When memory runs out the tiles are halved and the plane is
begun anew. torch is imported only when a tile runs. Lengths are in pixels.
"""

import hashlib
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError, RwkvSegError, SettingsError
from napari_rwkv_seg.images.axes import (
    check_axes,
    describe_axes,
    guess_axes,
    plane_shape,
    planes,
    stack_shape,
)

from .loading import Model, load_model
from .normalize import PreparedPlane, check_dtype, match_channels, prepare_plane
from .progress import Progress, Run
from .running import run_tile
from .tiles import tiles

__all__ = ["Model", "Prediction", "Progress", "load_model", "predict_steps"]

_HALF_ABOVE = 64_000_000  # probabilities are kept as float16 when there are more numbers than this

Probabilities = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Prediction:
    """What a network says about an image.

    Parameters
    ----------
    probabilities : float array (K, ..., Y, X)
        Of every class, in the image's axes without C; float16 for large images, else float32.
    axes : str
        Axes of the image, as stated or guessed.
    notes : tuple of str
        Sentences for the user: what was dropped, repeated or done otherwise.
    tile_size : int
        The longest side of a tile that was used at the end.
    image_sha256 : str
        SHA-256 of the image's shape, dtype and planes.
    """

    probabilities: Probabilities
    axes: str
    notes: tuple[str, ...]
    tile_size: int
    image_sha256: str


def predict_steps(
    image: Any,
    model: Model,
    *,
    axes: str | None = None,
    tile_size: int | None = None,
    channel: int | None = None,
) -> Generator[Progress, None, Prediction]:
    """Run `model` over `image`, yielding before the first tile and after every one.

    Parameters
    ----------
    image : array
        Any bool, integer or float dtype; read plane by plane and never changed.
        Lazy arrays need `shape`, `dtype` and indexing. Masked pixels count as NaN.
    model : Model
        From `load_model`.
    axes : str, optional
        One letter per axis; guessed where that is safe.
    tile_size : int, optional
        Longest side of a tile, 64 to 4096; the model's own if not given.
    channel : int, optional
        The only channel to use, from 0.

    Yields
    ------
    Progress
        Closing the generator cancels; nothing is left behind.

    Returns
    -------
    Prediction
        Complete; the last tile was the last yield.

    Raises
    ------
    ImageError
        If the image is empty, of a wrong dtype or channel count, without a finite
        pixel, or its axes must be stated.
    ModelError
        If the network's answer has another shape than the card says, or is not finite.
    SettingsError
        If `tile_size` is out of range.
    RwkvSegError
        If memory does not suffice even for the smallest tiles.
    """
    image, axes, notes = opened(image, axes, model, channel)
    height, width = plane_shape(image.shape, axes)
    stack = stack_shape(image.shape, axes)
    run = Run(height, width, math.prod(stack), first_tile_size(model, tile_size), notes)
    digest = hashlib.sha256(f"{tuple(image.shape)} {image.dtype.str} {axes}".encode())
    yield run.progress()
    try:
        probabilities = _background((len(model.card.classes), *stack, height, width))
        for index, plane in planes(image, axes):
            digest.update(_bytes(plane))
            plane, note = match_channels(plane, model.card.input_channels, channel)
            prepared = prepare_plane(plane, model.card.normalization, model.card.input_channels)
            run.begin_plane(prepared, note)
            if not prepared.is_blank:
                answer = yield from _plane_steps(model, run, prepared)
                np.moveaxis(probabilities, 0, -3)[index] = answer
    except MemoryError as error:  # beside the network, which has its own way out
        raise RwkvSegError(
            "Not enough memory for an image of this size. Crop it, or close other programs."
        ) from error
    return Prediction(probabilities, axes, run.notes(), run.size, digest.hexdigest())


def opened(
    image: Any, axes: str | None, model: Model, channel: int | None
) -> tuple[Any, str, list[str]]:
    """Return an image as something to index, its axes, and notes about both.

    Raises
    ------
    ImageError
        If dtype, axes or the number of channels do not fit.
    """
    if not isinstance(getattr(image, "dtype", None), np.dtype) or isinstance(image, np.matrix):
        try:
            image = np.asarray(image)
        except ValueError as error:
            raise ImageError(f"The image is no array: {error}.") from error
    check_dtype(image.dtype)
    notes: list[str] = []
    if axes is not None:
        axes = check_axes(image.shape, axes)
    else:
        axes = guess_axes(image.shape)
        if len(image.shape) > 2:
            notes = [f"Read as {describe_axes(image.shape, axes)}"]
    _check_channels(image.shape, axes, model, channel)
    return image, axes, notes


def _check_channels(shape: tuple[int, ...], axes: str, model: Model, channel: int | None) -> None:
    """Refuse a channel count that does not fit before anything is read."""
    count = shape[axes.index("C")] if "C" in axes else 1
    match_channels(np.empty((1, 1, count)), model.card.input_channels, channel)


def first_tile_size(model: Model, wished: int | None) -> int:
    """Return the tile size to begin with."""
    if wished is None:
        return model.card.tile_size
    if not 64 <= wished <= 4096:
        raise SettingsError(f"Tile size must be from 64 to 4096 pixels, got {wished}.")
    return wished


def _bytes(plane: NDArray[Any]) -> bytes:
    """Return what a plane's digest is made of: its pixels, and its mask if it has one."""
    mask = np.ma.getmask(plane)
    return np.ma.getdata(plane).tobytes() + (b"" if mask is np.ma.nomask else mask.tobytes())


def _background(shape: tuple[int, ...]) -> Probabilities:
    """Return probabilities (K, ..., Y, X) that are background everywhere."""
    dtype = np.float16 if math.prod(shape) > _HALF_ABOVE else np.float32
    probabilities: Probabilities = np.zeros(shape, dtype=dtype)
    probabilities[0] = 1
    return probabilities


def _plane_steps(
    model: Model, run: Run, plane: PreparedPlane
) -> Generator[Progress, None, NDArray[np.float32]]:
    """Predict one plane, in smaller tiles if memory runs out; return probabilities (K, Y, X)."""
    while (probabilities := (yield from _tile_steps(model, run, plane.pixels))) is None:
        yield run.halve_tiles()
    if plane.invalid is not None:
        probabilities[:, plane.invalid] = 0
        probabilities[0, plane.invalid] = 1
    return probabilities


def _tile_steps(
    model: Model, run: Run, pixels: NDArray[np.float32]
) -> Generator[Progress, None, NDArray[np.float32] | None]:
    """Predict (C, Y, X) in tiles of the present size; return None if memory ran out."""
    shape = (len(model.card.classes), *pixels.shape[1:])
    blended = np.zeros(shape, dtype=np.float32)
    for tile in tiles(run.height, run.width, run.size):
        answer = run_tile(model, pixels[:, tile.rows, tile.columns])
        if answer is None:
            return None
        answer *= tile.weights
        blended[:, tile.rows, tile.columns] += answer
        yield run.tile_done()
    return blended
