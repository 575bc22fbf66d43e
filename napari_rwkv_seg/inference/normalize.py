"""Turn the pixels of one plane into what a network takes.

Pure NumPy; shared by inference and training, so that a network sees the same
numbers in both. Everything is computed in float64 channel by channel, so that
the same values give the same result in any dtype, and the input is never changed.
Planes are (Y, X, C), the result is (C, Y, X).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.zoo.card import Normalization

SAMPLE_PIXELS = 4_000_000  # percentiles of larger planes are taken on a regular subsample
NO_FINITE_PIXEL = "The image has no finite pixel (all are NaN, infinite or masked)."
_ROWS = 1024  # rows that are converted at once, to keep float64 copies small
_LARGEST = 1e30  # larger pixels count as this, so that no float32 overflows

Plane = NDArray[Any]


@dataclass(frozen=True)
class PreparedPlane:
    """A plane as the network takes it.

    Parameters
    ----------
    pixels : float32 array (C, Y, X)
        Finite everywhere.
    invalid : bool array (Y, X), or None if all pixels are good
        Pixels that were NaN or masked in any channel; they are background.
    has_contrast : bool
        False if all finite pixels of every channel have one value.
    """

    pixels: NDArray[np.float32]
    invalid: NDArray[np.bool_] | None
    has_contrast: bool

    @property
    def is_blank(self) -> bool:
        """Whether no pixel can be used."""
        return self.invalid is not None and bool(self.invalid.all())


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse pixels that are no real numbers.

    Raises
    ------
    ImageError
        For complex, object, text, date and structured dtypes; the text names the dtype.
    """
    if dtype.kind not in "biuf":
        hint = " Take its magnitude or phase first." if dtype.kind == "c" else ""
        raise ImageError(
            f"The image has dtype {dtype}, which is not a real number per pixel; "
            f"use a bool, integer or float image.{hint}"
        )


def match_channels(plane: Plane, channels: int, channel: int | None = None) -> tuple[Plane, str]:
    """Return `plane` with one channel or as many as a network takes, and a note or "".

    One channel stays one (it is repeated later); of four channels the last is
    dropped as alpha if three are wanted. `channel` picks one channel first.

    Parameters
    ----------
    plane : array (Y, X, C)
        The pixels, of any dtype.
    channels : int
        Channels that the network takes.
    channel : int, optional
        The channel to use alone, from 0.

    Raises
    ------
    ImageError
        If the number of channels does not fit, or `channel` is not there.
    """
    found = plane.shape[-1]
    if channel is not None:
        if not 0 <= channel < found:
            raise ImageError(
                f"Channel {channel} was asked for, but the image has channels 0 to {found - 1}."
            )
        plane, found = plane[..., channel : channel + 1], 1
    if found in (1, channels):
        return plane, ""
    if found == 4 and channels == 3:
        return plane[..., :3], "The fourth channel was taken as alpha (transparency) and ignored."
    raise ImageError(
        f"The image has {found} channels, but the model was trained on {channels}. "
        "Pick one channel, state other axes, or choose another model."
    )


def prepare_plane(plane: Plane, normalization: Normalization, channels: int) -> PreparedPlane:
    """Normalise one plane, and say which pixels cannot be used.

    Parameters
    ----------
    plane : array (Y, X, C)
        Any bool, integer or float dtype; C is 1 or `channels` (or 4 for 3: the
        fourth is ignored). Masked pixels count as NaN; infinite ones are clipped.
    normalization : Normalization
        From the model's card.
    channels : int
        Channels that the network takes.

    Raises
    ------
    ImageError
        If the dtype or the number of channels does not fit.
    """
    check_dtype(plane.dtype)
    plane, _ = match_channels(plane, channels)
    windows = [_window(plane[..., index], normalization) for index in range(plane.shape[-1])]
    invalid = _invalid(plane) if all(windows) else np.ones(plane.shape[:2], dtype=bool)
    pixels = np.empty((channels, *plane.shape[:2]), dtype=np.float32)
    for index in range(channels):
        if index < plane.shape[-1]:  # else it is grey, and the one channel serves again
            unit = _scaled(plane[..., index], windows[index] or _EMPTY, invalid)
        mean = normalization.mean[index % len(normalization.mean)]
        std = normalization.std[index % len(normalization.std)]
        pixels[index] = (unit - np.float32(mean)) / np.float32(std)
    contrast = any(window.high > window.low for window in windows if window)
    return PreparedPlane(pixels, invalid if invalid.any() else None, contrast)


def normalize_plane(
    plane: Plane, normalization: Normalization, channels: int
) -> NDArray[np.float32]:
    """Return the normalised pixels (C, Y, X) of one plane (Y, X, C); see `prepare_plane`.

    Raises
    ------
    ImageError
        If the dtype or the channels do not fit, the plane is empty, or no pixel is finite.
    """
    if 0 in plane.shape:
        raise ImageError("The image is empty: one of its sides has length 0.")
    prepared = prepare_plane(plane, normalization, channels)
    if prepared.is_blank:
        raise ImageError(NO_FINITE_PIXEL)
    return prepared.pixels


@dataclass(frozen=True)
class _Window:
    """Values are clipped to low … high, then `(value - offset) / span`."""

    low: float
    high: float
    offset: float
    span: float


_EMPTY = _Window(0.0, 0.0, 0.0, 1.0)


def _window(values: Plane, normalization: Normalization) -> _Window | None:
    """Return the window of one channel (Y, X), or None if no pixel of it is finite."""
    step = max(1, math.ceil(math.sqrt(values.size / SAMPLE_PIXELS)))
    sample = _finite(values[::step, ::step])
    if normalization.kind == "percentile" and sample.size:
        low, high = np.percentile(sample, (normalization.low, normalization.high))
        if low < high:
            return _Window(float(low), float(high), float(low), float(high - low))
    # All of the plane: nothing finite in the sample, or few pixels that differ from the rest.
    everything = sample if step == 1 else _finite(values)
    if not everything.size:
        return None
    low, high = float(everything.min()), float(everything.max())
    if normalization.kind == "fixed":
        return _Window(low, high, 0.0, normalization.scale)
    return _Window(low, high, low, (high - low) or 1.0)


def _finite(values: Plane) -> NDArray[np.float64]:
    """Return the finite, unmasked values as a flat float64 array."""
    mask = np.ma.getmask(values)
    plain = np.asarray(values) if mask is np.ma.nomask else np.asarray(values)[~mask]
    flat = _float64(plain).ravel()
    return flat if plain.dtype.kind in "bui" else flat[np.isfinite(flat)]


def _float64(values: Plane) -> NDArray[np.float64]:
    """Return `values` as float64, finite ones cut to where nothing can overflow."""
    numbers = values.astype(np.float64)
    if values.dtype.kind == "f" and values.dtype.itemsize >= 4:
        np.clip(numbers, -_LARGEST, _LARGEST, out=numbers, where=np.isfinite(numbers))
    return numbers


def _invalid(plane: Plane) -> NDArray[np.bool_]:
    """Return where any channel of a plane (Y, X, C) is NaN or masked, (Y, X)."""
    invalid = np.zeros(plane.shape[:2], dtype=bool)
    mask = np.ma.getmask(plane)
    if mask is not np.ma.nomask:
        invalid |= mask.any(axis=-1)
    if plane.dtype.kind == "f":
        for index in range(plane.shape[-1]):
            invalid |= np.isnan(np.asarray(plane[..., index]))
    return invalid


def _scaled(values: Plane, window: _Window, invalid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return one channel (Y, X) clipped and scaled; 0 where `invalid`."""
    result = np.empty(values.shape, dtype=np.float32)
    plain = np.asarray(values)
    for start in range(0, len(plain), _ROWS):
        rows = slice(start, start + _ROWS)
        numbers = np.clip(plain[rows].astype(np.float64), window.low, window.high)
        result[rows] = (numbers - window.offset) / window.span
    result[invalid] = 0.0
    return result
