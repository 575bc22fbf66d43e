"""An image that is read piece by piece: bands of its planes, and a fingerprint of all of it.

Arrays need only `shape`, `dtype` and indexing; whatever a lazy one raises when it
is read becomes one sentence that says where.
"""

import hashlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError, RwkvSegError
from napari_rwkv_seg.images.axes import plane_shape, stack_shape
from napari_rwkv_seg.zoo.card import Normalization

from .normalize import has_contrast, match_channels
from .windows import Window, WindowMeasure

_AT_ONCE = 16_000_000  # bytes of a plane that are read in one go to tell images apart
BAND_BYTES = 64_000_000  # what is read at once to measure the brightness
_SQUARES = 5  # the fingerprint is of so many squares along each side of a plane
_SIDE = 64
_PLANES = 16  # of at most so many planes

Pixels = NDArray[Any]


@dataclass(frozen=True, eq=False)
class StreamImage:
    """An image and how it is read.

    Parameters
    ----------
    array : array
        Anything with `shape`, `dtype` and indexing.
    axes : str
        As checked by `check_axes`.
    channels : int
        Channels that the network takes.
    channel : int or None
        The only channel to use.
    """

    array: Any
    axes: str
    channels: int
    channel: int | None = None

    @property
    def stack(self) -> tuple[int, ...]:
        """The lengths of the T and Z axes."""
        return stack_shape(self.array.shape, self.axes)

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width of a plane."""
        return plane_shape(self.array.shape, self.axes)

    @property
    def bytes_per_pixel(self) -> int:
        """What a pixel takes in memory, all channels together."""
        count = self.array.shape[self.axes.index("C")] if "C" in self.axes else 1
        return int(self.array.dtype.itemsize * (1 if self.channel is not None else count))

    def planes(self) -> Iterator[tuple[int, ...]]:
        """Yield the place of every plane in the stack."""
        yield from np.ndindex(*self.stack)

    def read(self, index: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
        """Return a piece of a plane, (Y, X, C), with the channels that are used.

        Raises
        ------
        ImageError
            If the piece cannot be read.
        """
        piece = self._read(index, rows, columns, self._channel())
        plane, _ = match_channels(piece, self.channels)
        return plane

    def fingerprint(self) -> str:
        """Return a SHA-256 of shape, dtype, axes, and of pixels of up to 16 planes.

        Of a small plane all pixels count, of others squares spread over it.
        """
        shape, (height, width) = tuple(self.array.shape), self.plane
        digest = hashlib.sha256(f"{shape} {self.array.dtype.str} {self.axes}".encode())
        count = math.prod(self.stack)
        for number in sorted({part * (count - 1) // (_PLANES - 1) for part in range(_PLANES)}):
            index = tuple(int(i) for i in np.unravel_index(number, self.stack)) if count > 1 else ()
            index = index or (0,) * len(self.stack)
            for square in self._samples(index, _places(height), _places(width)):
                digest.update(square.tobytes())
        return digest.hexdigest()

    def _samples(
        self, index: tuple[int, ...], rows: list[slice], columns: list[slice]
    ) -> Iterator[Pixels]:
        """Yield squares of a plane; a small one, which may be one chunk, is read as a whole."""
        height, width = self.plane
        if height * width * self.bytes_per_pixel <= min(_AT_ONCE, BAND_BYTES):
            rows, columns = [slice(0, height)], [slice(0, width)]
        for down in rows:
            for across in columns:
                yield self._read(index, down, across, self._channel())

    def note(self) -> str:
        """Return what becomes of the channels, "" if all are used as they are."""
        count = self.array.shape[self.axes.index("C")] if "C" in self.axes else 1
        return match_channels(np.empty((1, 1, count)), self.channels, self.channel)[1]

    def _channel(self) -> slice:
        return slice(None) if self.channel is None else slice(self.channel, self.channel + 1)

    def _read(self, index: tuple[int, ...], rows: slice, columns: slice, channels: slice) -> Pixels:
        """Return (Y, X, C); masks are kept."""
        place = iter(index)
        parts = {"Y": rows, "X": columns, "C": channels}
        key = tuple(next(place) if one in "TZ" else parts[one] for one in self.axes)
        try:
            part = self.array[key]
            pixels = part if np.ma.isMaskedArray(part) else np.asarray(part)
        except (RwkvSegError, MemoryError):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            where = f"rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop}"
            raise ImageError(
                f"The image cannot be read at {where} ({reason}). What is done is kept; "
                "mend the image and run again to continue."
            ) from error
        left = [one for one in self.axes if one in "CYX"]
        return np.moveaxis(pixels, left.index("C"), -1) if "C" in left else pixels[..., None]


@dataclass(frozen=True)
class Brightness:
    """What must be known of a whole plane before a piece of it can be run.

    Parameters
    ----------
    windows : tuple of (Window or None)
        One a channel.
    """

    windows: tuple[Window | None, ...]

    @property
    def is_blank(self) -> bool:
        """Whether no pixel can be used: a channel has no finite one."""
        return not all(self.windows)

    @property
    def is_flat(self) -> bool:
        """Whether all pixels have one value."""
        return not self.is_blank and not has_contrast(self.windows)


def brightness_steps(
    image: StreamImage, index: tuple[int, ...], normalization: Normalization
) -> Generator[float, None, Brightness]:
    """Read a plane once from top to bottom, yielding the share that is read; return its brightness.

    Gives the windows that the whole plane would give, in bounded memory.
    """
    height, width = image.plane
    rows = max(1, BAND_BYTES // max(1, image.bytes_per_pixel * width))
    measures: list[WindowMeasure] = []
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        band = image.read(index, slice(start, stop), slice(0, width))
        if not measures:
            measures = [WindowMeasure(height, width, normalization) for _ in range(band.shape[-1])]
        for channel, measure in enumerate(measures):
            measure.add(band[..., channel])
        yield stop / height
    return Brightness(tuple(measure.window() for measure in measures))


def _places(length: int) -> list[slice]:
    """Return squares' sides spread over one axis, each once."""
    last = max(0, length - _SIDE)
    starts = sorted({part * last // (_SQUARES - 1) for part in range(_SQUARES)})
    return [slice(start, min(start + _SIDE, length)) for start in starts]
