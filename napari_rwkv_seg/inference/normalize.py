"""Turn the pixels of one plane into what a network takes.

Pure NumPy; shared by inference and training, so that a network sees the same
numbers in both. Everything is computed in float64 channel by channel, so that
the same values give the same result in any dtype, and the input is never changed.
Planes are (Y, X, C), the result is (C, Y, X).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.zoo.card import Normalization

from .windows import EMPTY, Window, window_of

NO_FINITE_PIXEL = "The image has no finite pixel (all are NaN, infinite or masked)."
_ROWS = 1024  # rows that are converted at once, to keep float64 copies small

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
    windows = [window_of(plane[..., index], normalization) for index in range(plane.shape[-1])]
    pixels, invalid = scale_pixels(plane, windows, normalization, channels)
    return PreparedPlane(pixels, invalid if invalid.any() else None, has_contrast(windows))


def scale_pixels(
    plane: Plane, windows: Sequence[Window | None], normalization: Normalization, channels: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what the network takes of a plane, or of a piece of one, when its windows are known.

    Parameters
    ----------
    plane : array (Y, X, C)
        As `match_channels` returns it; all of a plane, or a piece.
    windows : sequence of Window or None
        One a channel of `plane`, each of the whole plane; None where nothing is finite.
    normalization, channels
        As in `prepare_plane`.

    Returns
    -------
    pixels : float32 array (channels, Y, X)
        Finite everywhere.
    invalid : bool array (Y, X)
        Pixels that were NaN or masked in any channel, or all if a channel has no window.
    """
    invalid = _invalid(plane) if all(windows) else np.ones(plane.shape[:2], dtype=bool)
    pixels = np.empty((channels, *plane.shape[:2]), dtype=np.float32)
    for index in range(channels):
        if index < plane.shape[-1]:  # else it is grey, and the one channel serves again
            unit = _scaled(plane[..., index], windows[index] or EMPTY, invalid)
        mean = normalization.mean[index % len(normalization.mean)]
        std = normalization.std[index % len(normalization.std)]
        pixels[index] = (unit - np.float32(mean)) / np.float32(std)
    return pixels, invalid


def has_contrast(windows: Sequence[Window | None]) -> bool:
    """Return whether any channel has more than one finite value."""
    return any(window.high > window.low for window in windows if window)


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


def _scaled(values: Plane, window: Window, invalid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return one channel (Y, X) clipped and scaled; 0 where `invalid`."""
    result = np.empty(values.shape, dtype=np.float32)
    plain = np.asarray(values)
    for start in range(0, len(plain), _ROWS):
        rows = slice(start, start + _ROWS)
        numbers = np.clip(plain[rows].astype(np.float64), window.low, window.high)
        result[rows] = (numbers - window.offset) / window.span
    result[invalid] = 0.0
    return result
