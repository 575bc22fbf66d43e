"""Which axis of an image is which, and its planes one by one.

Axes are a string of letters in NumPy order, each at most once: T time, Z depth,
C channel, Y, X. Y and X are the last two but for C, which may stand anywhere.
Where an order cannot be known it is asked for, never guessed in silence.
Arrays need only `shape`, `dtype` and indexing, so lazy ones are read plane by plane.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError

AXES_CHOICES: tuple[str, ...] = (
    *("YX", "YXC", "CYX"),
    *("ZYX", "TYX", "ZYXC", "TYXC", "ZCYX", "TCYX", "CZYX", "CTYX", "TZYX"),
    *("TZYXC", "TZCYX", "TCZYX", "CTZYX"),
)
_NAMES = {"T": "T (time)", "Z": "Z (depth)"}
_WORDS = {  # what files and people call an axis, beside its letter
    **dict.fromkeys(("TIME", "TIMEPOINT", "FRAME"), "T"),
    **dict.fromkeys(("DEPTH", "SLICE", "PLANE"), "Z"),
    **dict.fromkeys(("CHANNEL", "CHANNELS", "S", "RGB"), "C"),
    **dict.fromkeys(("ROW", "ROWS", "HEIGHT"), "Y"),
    **dict.fromkeys(("COLUMN", "COLUMNS", "COL", "WIDTH"), "X"),
}
_MOST_CHANNELS = 7  # a leading or last axis of 2 to 7 entries may be channels or a stack


def check_axes(shape: Sequence[int], axes: str) -> str:
    """Return `axes` in capitals, if they can describe an image of `shape`.

    Raises
    ------
    ImageError
        If the image is empty, or the letters do not fit its shape; the text says how to state them.
    """
    axes = axes.upper()
    spatial = axes.replace("C", "")
    if len(axes) != len(shape):
        raise ImageError(
            f"The image has {len(shape)} axes ({times(shape)}), but {axes!r} names {len(axes)}. "
            "State one letter per axis."
        )
    if set(axes) - set("TZCYX") or len(set(axes)) < len(axes) or not spatial.endswith("YX"):
        raise ImageError(
            f"Axes {axes!r} are not understood: use each of T, Z, C at most once and end with YX, "
            "where C may also be last, for example 'ZYX', 'TCYX' or 'YXC'."
        )
    _check_not_empty(shape)
    return axes


def guess_axes(
    shape: Sequence[int], *, rgb: bool | None = None, labels: Sequence[str] | None = None
) -> str:
    """Return the axes of an image where they can be known.

    Parameters
    ----------
    shape : sequence of int
        The shape of the array.
    rgb : bool, optional
        Whether the last axis is colour; False if it is none of channels, None if nobody said.
    labels : sequence of str, optional
        Names of the axes, used if all are letters of the alphabet above or words for them.

    Raises
    ------
    ImageError
        If the image is empty, has fewer than two axes, or its order is ambiguous.
    """
    _check_not_empty(shape)
    letters = "".join(_letter(label) for label in labels or ())
    if rgb and len(letters) == len(shape) - 1 and "C" not in letters:
        letters += "C"  # napari does not name the colour axis
    if len(letters) == len(shape) and {"Y", "X"} <= set(letters) <= set("TZCYX"):
        return check_axes(shape, letters)
    if not 2 <= len(shape) <= 5:
        raise ImageError(
            f"The image has {len(shape)} axes ({times(shape)}); "
            "2 to 5 can be used, of T, Z, C, Y and X."
        )
    if rgb is None and _may_end_in_channels(shape):
        raise _ambiguous(shape)
    if rgb or (rgb is None and _ends_in_channels(shape)):
        return check_axes(shape, _stack_letters(shape, shape[:-3]) + "YXC")
    return check_axes(shape, _grey_letters(shape))


def _letter(label: str) -> str:
    """Return the letter of an axis of this name, or the name if it is none that is known."""
    name = label.strip().upper()
    return _WORDS.get(name, name)


def _check_not_empty(shape: Sequence[int]) -> None:
    """Refuse an image without pixels."""
    if 0 in shape:
        raise ImageError(f"The image is empty: its shape is {times(shape)}.")


def _ends_in_channels(shape: Sequence[int]) -> bool:
    """Return whether the last axis is colour or a single channel, and the two before it longer."""
    if len(shape) < 3:
        return False
    shortest = min(shape[-3:-1])
    return (shape[-1] in (3, 4) and shortest > 4) or (shape[-1] == 1 and shortest > _MOST_CHANNELS)


def _may_end_in_channels(shape: Sequence[int]) -> bool:
    """Return whether the last axis is as short as channels, but neither one nor a colour."""
    is_large = len(shape) >= 3 and min(shape[-3:-1]) > _MOST_CHANNELS
    return is_large and shape[-1] in (2, 5, 6, _MOST_CHANNELS)


def _grey_letters(shape: Sequence[int]) -> str:
    """Return the axes of an image whose last axes are Y and X."""
    leading = shape[:-2]
    if (
        len(leading) == 3 and 1 in leading[1:]
    ):  # TZC of a hyperstack, where one of Z and C is unused
        return ("TZC" if leading[2] == 1 else "TCZ") + "YX"
    if any(2 <= length <= _MOST_CHANNELS for length in leading):
        raise _ambiguous(shape)
    return _stack_letters(shape, leading) + "YX"


def _stack_letters(shape: Sequence[int], leading: Sequence[int]) -> str:
    """Return the letters of the stack axes; more than two cannot be known."""
    if len(leading) > 2:
        raise _ambiguous(shape)
    return "TZ"[2 - len(leading) :]


def _ambiguous(shape: Sequence[int]) -> ImageError:
    """Return the error that asks the user to state the axes."""
    fitting = [axes for axes in AXES_CHOICES if len(axes) == len(shape)]
    return ImageError(
        f"An image of shape {times(shape)} may hold channels or a stack. "
        f"State its axes, one of: {', '.join(fitting)}."
    )


def describe_axes(shape: Sequence[int], axes: str) -> str:
    """Return one sentence that says how an image of `shape` will be read.

    Raises
    ------
    ImageError
        As `check_axes`.
    """
    axes = check_axes(shape, axes)
    stack = [letter for letter in axes if letter in "TZ"]
    channels = shape[axes.index("C")] if "C" in axes else 1
    kind = "grey" if channels == 1 else f"{channels} channels"
    if not stack:
        return f"{times(shape)}: one plane, {kind}."
    count = math.prod(stack_shape(shape, axes))
    along = " and ".join(_NAMES[letter] for letter in stack)
    noun = "1 plane" if count == 1 else f"{count} planes"
    text = f"{times(shape)}: a stack of {noun} along {along}, {kind}"
    return f"{text}, each plane segmented on its own."


def stack_shape(shape: Sequence[int], axes: str) -> tuple[int, ...]:
    """Return the lengths of the T and Z axes, in the image's order; () for one plane."""
    return tuple(length for length, letter in zip(shape, axes, strict=True) if letter in "TZ")


def plane_shape(shape: Sequence[int], axes: str) -> tuple[int, int]:
    """Return the height and width of a plane in pixels."""
    return shape[axes.index("Y")], shape[axes.index("X")]


def planes(image: Any, axes: str) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
    """Yield every plane of an image with its place in the stack.

    Parameters
    ----------
    image : array
        Anything with `shape` and indexing; only one plane is read at a time.
    axes : str
        As checked by `check_axes`.

    Yields
    ------
    index : tuple of int
        The place along the T and Z axes, in the image's order.
    plane : array (Y, X, C)
        A view where the image allows it; C is 1 for grey. Masks are kept.
    """
    for index in np.ndindex(*stack_shape(image.shape, axes)):
        place = iter(index)
        key = tuple(next(place) if letter in "TZ" else slice(None) for letter in axes)
        part = image[key]
        plane = part if np.ma.isMaskedArray(part) else np.asarray(part)
        left = [letter for letter in axes if letter in "CYX"]
        yield index, np.moveaxis(plane, left.index("C"), -1) if "C" in left else plane[..., None]


def times(shape: Sequence[int]) -> str:
    """Return a shape as "3 × 512 × 512"."""
    return " × ".join(str(length) for length in shape)


def lengths_without_channels(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Return the lengths of all axes but C."""
    return tuple(length for length, letter in zip(shape, axes, strict=True) if letter != "C")
