"""What newer labels change in a layer: found in a worker, so that the window need only write it.

The worker looks at an array on which the user may go on painting. So the window
compares the array with what the worker saw before it writes anything.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from .as_written import digest, is_same, rewrite

if TYPE_CHECKING:
    from .result import Result

DTYPE = np.int32  # classes too: the user may paint a 256th label, or ask for objects later
MOST_UNDOABLE = 1_000_000  # changed pixels in one undo step; each takes napari some 80 ns to write


class Step(NamedTuple):
    """A step of undo that we made: places in the flat array, and what was there before."""

    places: NDArray[np.int64]
    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Written:
    """What a layer held after we wrote to it.

    Parameters
    ----------
    output : "classes" or "objects"
        What a number means.
    digest : int
        Of its array.
    before : int or None
        What it held before a step that the next adjustment may replace; None if there is none.
    step : Step or None
        That step.
    """

    output: str
    digest: int
    before: int | None = None
    step: Step | None = None


@dataclass(frozen=True, eq=False)
class Target:
    """Where labels are to go, as it was when they were asked for.

    Parameters
    ----------
    data : array or None
        Of the layer, and no copy; None if there is no layer that could take them.
    written : Written or None
        What we wrote last for this image and model.
    adjusted : bool
        Whether only the making of the labels was adjusted.
    """

    data: NDArray[Any] | None
    written: Written | None
    adjusted: bool


@dataclass(frozen=True, eq=False)
class Change:
    """What to write.

    Parameters
    ----------
    target : Target
        What it was found for.
    held : array or None
        A copy of what the layer holds; None if the labels must go into a new one.
    data : array
        What the layer is to hold; not used elsewhere, so a layer may take it.
    written : Written
        What to take note of then.
    replaced : Step or None
        The step of undo to take back first.
    places : int64 array or None
        What then changes, in the flat array; None if that is no step of undo.
    where : tuple of int64 arrays
        The same, by axes.
    """

    target: Target
    held: NDArray[Any] | None
    data: NDArray[Any]
    written: Written
    replaced: Step | None = None
    places: NDArray[np.int64] | None = None
    where: tuple[NDArray[np.int64], ...] = ()

    def still_fits(self, now: Target) -> bool:
        """Return whether the target is as it was, to the last pixel."""
        if now.data is not self.target.data or now.written is not self.target.written:
            return False
        return self.held is None or (now.data is not None and is_same(now.data, self.held))


def change_steps(target: Target, result: "Result") -> Generator[None, None, Change | None]:
    """Find what labels change, in a worker; None if there is not enough memory beside the window.

    Parameters
    ----------
    target : Target
        Where they go.
    result : Result
        What goes there.
    """
    yield  # a worker that was told to quit ends here
    try:
        return find_change(target, result)
    except MemoryError:
        return None


def find_change(target: Target, result: "Result") -> Change:
    """Find what labels change in a target, which may be painted on meanwhile."""
    written, held = target.written, None
    found, is_same_output = 0, written is not None and written.output == result.output
    if target.data is not None and written is not None and (is_same_output or target.adjusted):
        held = target.data.copy()
        found = digest(held)
        if found not in (written.digest, written.before):
            held = None  # a user has edited it
    data = np.zeros(result.place.shape, dtype=DTYPE) if held is None else _emptied(held, result)
    if not is_same_output and data.any():
        held, data = None, np.zeros_like(data)  # one layer holds classes or objects, not both
    _fill(data, result)
    if held is None or not is_same_output or written is None:
        return Change(target, held, data, Written(result.output, digest(data)))
    step = written.step if target.adjusted and found == written.digest else None
    places = _places(held, data, step)
    before = written.before if step is not None else found
    told = Written(result.output, digest(data), before if target.adjusted else None)
    if places is None:
        return Change(target, held, data, told, step)
    return Change(target, held, data, told, step, places, np.unravel_index(places, data.shape))


def write(layer: Labels, change: Change) -> Written:
    """Write into a layer what was found, and return what to take note of.

    Other numbers of one kind are a step of undo, if it is not too large for a history.
    """
    told = change.written
    if change.places is None:
        rewrite(layer, change.data)
    elif change.places.size:
        step = Step(change.places, np.take(layer.data, change.places))
        layer.data_setitem(change.where, np.take(change.data, change.places))
        if told.before is not None:
            return Written(told.output, told.digest, told.before, step)
    return Written(told.output, told.digest)


def take_back(layer: Labels, step: Step) -> bool:
    """Undo a step of ours; return False, and do nothing, if the last step is a user's."""
    layer.undo()
    if np.array_equal(np.take(layer.data, step.places), step.values):
        return True
    layer.redo()
    return False


def _emptied(held: NDArray[Any], result: "Result") -> NDArray[Any]:
    """Return `held` without what lies in the region."""
    if not result.place.is_partial:
        return np.zeros_like(held)
    data = held.copy()
    result.place.fill(data, np.zeros(result.labels.shape, dtype=held.dtype))
    return data


def _fill(data: NDArray[Any], result: "Result") -> None:
    """Write the region's labels into an array; objects take numbers that are free outside of it."""
    is_counted_on = result.output == "objects" and result.place.is_partial
    taken = int(data.max(initial=0)) if is_counted_on else 0
    labels = result.labels.astype(DTYPE, copy=False)
    result.place.fill(data, np.where(labels > 0, labels + taken, 0) if taken else labels)


def _places(held: NDArray[Any], data: NDArray[Any], step: Step | None) -> NDArray[np.int64] | None:
    """Return where `data` differs from `held` without the last step; None if in too many places."""
    changed = (held != data).reshape(-1)
    if step is not None:
        changed[step.places] = step.values != np.take(data, step.places)
    return np.flatnonzero(changed) if np.count_nonzero(changed) <= MOST_UNDOABLE else None
