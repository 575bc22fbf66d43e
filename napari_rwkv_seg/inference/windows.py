"""Which brightness of a channel becomes 0 and which becomes 1: its window.

Pure NumPy. A window is taken from a whole plane, or from bands of rows that are
handed over one after the other and then forgotten; both give the same numbers,
because percentiles of large planes are taken on the same regular subsample.
Everything is computed in float64.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.zoo.card import Normalization

SAMPLE_PIXELS = 4_000_000  # percentiles of larger planes are taken on a regular subsample
_LARGEST = 1e30  # larger pixels count as this, so that no float32 overflows

Values = NDArray[Any]


@dataclass(frozen=True)
class Window:
    """Values are clipped to low … high, then `(value - offset) / span`."""

    low: float
    high: float
    offset: float
    span: float


EMPTY = Window(0.0, 0.0, 0.0, 1.0)


def window_of(values: Values, normalization: Normalization) -> Window | None:
    """Return the window of one channel (Y, X), or None if no pixel of it is finite."""
    step = _step(values.size)
    sample = _finite(values[::step, ::step])
    found = _from_percentiles(sample, normalization)
    if found is not None:
        return found
    # All of the plane: nothing finite in the sample, or few pixels that differ from the rest.
    everything = sample if step == 1 else _finite(values)
    if not everything.size:
        return None
    return _from_extremes(float(everything.min()), float(everything.max()), normalization)


class WindowMeasure:
    """Finds the window of one channel from bands of its rows.

    Keeps the subsample, at most `SAMPLE_PIXELS` numbers, and the extremes.

    Parameters
    ----------
    height, width : int
        The whole plane in pixels.
    normalization : Normalization
        From the model's card.
    """

    def __init__(self, height: int, width: int, normalization: Normalization) -> None:
        self._normalization = normalization
        self._step = _step(height * width)
        self._rows = 0
        self._sample: list[Values] = []
        self._low, self._high = math.inf, -math.inf

    def add(self, band: Values) -> None:
        """Take the next rows, (rows, X)."""
        first = -self._rows % self._step  # the first row of the band that is in the subsample
        self._rows += len(band)
        if self._normalization.kind == "percentile":
            part = band[first :: self._step, :: self._step]
            self._sample.append(part.copy())  # a view would keep the whole band
        low, high = _extremes(band)
        self._low, self._high = min(self._low, low), max(self._high, high)

    def window(self) -> Window | None:
        """Return what `window_of` returns for the whole plane."""
        if self._sample:
            sample = np.concatenate([_finite(part) for part in self._sample])
            found = _from_percentiles(sample, self._normalization)
            if found is not None:
                return found
        if self._low > self._high:
            return None
        return _from_extremes(self._low, self._high, self._normalization)


def _step(pixels: int) -> int:
    """Return the step of the subsample along both axes."""
    return max(1, math.ceil(math.sqrt(pixels / SAMPLE_PIXELS)))


def _from_percentiles(sample: NDArray[np.float64], normalization: Normalization) -> Window | None:
    """Return the window between two percentiles, None if they are equal or not asked for."""
    if normalization.kind != "percentile" or not sample.size:
        return None
    low, high = np.percentile(sample, (normalization.low, normalization.high))
    return Window(float(low), float(high), float(low), float(high - low)) if low < high else None


def _from_extremes(low: float, high: float, normalization: Normalization) -> Window:
    """Return the window between the smallest and the largest value."""
    if normalization.kind == "fixed":
        return Window(low, high, 0.0, normalization.scale)
    return Window(low, high, low, (high - low) or 1.0)


def _extremes(values: Values) -> tuple[float, float]:
    """Return the smallest and the largest finite value; (inf, -inf) if there is none."""
    if values.dtype.kind in "bui" and np.ma.getmask(values) is np.ma.nomask and values.size:
        return float(values.min()), float(values.max())
    finite = _finite(values)
    return (float(finite.min()), float(finite.max())) if finite.size else (math.inf, -math.inf)


def _finite(values: Values) -> NDArray[np.float64]:
    """Return the finite, unmasked values as a flat float64 array."""
    mask = np.ma.getmask(values)
    plain = np.asarray(values) if mask is np.ma.nomask else np.asarray(values)[~mask]
    flat = _float64(plain).ravel()
    return flat if plain.dtype.kind in "bui" else flat[np.isfinite(flat)]


def _float64(values: Values) -> NDArray[np.float64]:
    """Return `values` as float64, finite ones cut to where nothing can overflow."""
    numbers = values.astype(np.float64)
    if values.dtype.kind == "f" and values.dtype.itemsize >= 4:
        np.clip(numbers, -_LARGEST, _LARGEST, out=numbers, where=np.isfinite(numbers))
    return numbers
