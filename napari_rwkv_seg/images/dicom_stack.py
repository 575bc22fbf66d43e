"""Put the planes of a DICOM series in order, and find where the stack lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .dicom_frames import Frame
from .geometry import Geometry, as_matrix, unknown_geometry

_SAME_PLACE = 0.1  # of the usual distance, by which planes of one place may lie apart
_SAME_ENDS = (5e-4, 0.01)  # mm that this is at least and at most
_UNEVEN = 0.01  # of the usual distance, by which another may differ without being told


@dataclass(frozen=True)
class Stack:
    """The planes of a series in the order of the array.

    Parameters
    ----------
    frames : list of Frame
        Flattened, the last axis fastest.
    stack : tuple of int
        The lengths of the axes T and Z that there are.
    axes : str
        T, Z, Y, X of those that there are.
    geometry : Geometry
        With an affine to LPS millimetres where the planes say where they lie.
    notes : tuple of str
        What had to be assumed.
    """

    frames: list[Frame]
    stack: tuple[int, ...]
    axes: str
    geometry: Geometry
    notes: tuple[str, ...]


def stack_frames(path: Path, frames: Sequence[Frame], interval_s: float = 0.0) -> Stack:
    """Return the planes of a series in order.

    They are sorted by their place along the normal of the planes, in whose direction Z runs;
    where several lie in each place they are a series in time. Planes without a place are sorted
    by their number; if `interval_s` is known they are a series in time.

    Raises
    ------
    UnreadableFileError
        If planes differ in size, direction or spacing, or do not make a full stack; the text
        names the tag.
    """
    _check_alike(path, frames)
    first = frames[0]
    has_place = all(f.position and f.orientation and f.spacing for f in frames)
    if not has_place or first.orientation is None:
        return _without_place(frames, interval_s)
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    places = _by_place(frames, normal)
    counts = {len(group) for group in places}
    if len(counts) > 1:
        raise UnreadableFileError(
            f"{str(path)!r} holds {min(counts)} to {max(counts)} planes in one place "
            "(ImagePositionPatient, 0020,0032): some are missing, or twice there. Choose a folder "
            "with one complete series."
        )
    times = counts.pop()
    ordered = [group[time] for time in range(times) for group in places]
    lengths = {"T": times, "Z": len(places)}
    axes = "".join(letter for letter in "TZ" if lengths[letter] > 1) + "YX"
    geometry, notes = _placed([group[0] for group in places], normal, axes)
    return Stack(ordered, tuple(lengths[x] for x in axes[:-2]), axes, geometry, notes)


def _check_alike(path: Path, frames: Sequence[Frame]) -> None:
    """Refuse planes that cannot be one stack."""
    first = frames[0]
    colours = [(len(frame.shape), frame.stored.is_palette) for frame in frames]
    for name, tag, told in (
        ("PhotometricInterpretation", "0028,0004", colours),
        ("Rows and Columns", "0028,0010", [frame.shape for frame in frames]),
        ("ImageOrientationPatient", "0020,0037", [frame.orientation for frame in frames]),
        ("PixelSpacing", "0028,0030", [frame.spacing for frame in frames]),
    ):
        for one in told:
            if (one is None) != (told[0] is None) or (
                one is not None and not np.allclose(one, told[0] or 0, atol=1e-4)
            ):
                raise UnreadableFileError(
                    f"{str(path)!r} holds planes of different {name} ({tag}), such as those of a "
                    f"localizer: {first.path.name!r} differs from others. Keep one stack in the "
                    "folder, or open a single file."
                )


def _by_place(frames: Sequence[Frame], normal: NDArray[np.float64]) -> list[list[Frame]]:
    """Return the planes in each place along the normal, in its direction."""
    numbers = number_places(frames, normal)
    groups: list[list[Frame]] = [[] for _ in range(max(numbers) + 1)]
    for number, frame in zip(numbers, frames, strict=True):
        groups[number].append(frame)
    return [sorted(group, key=lambda frame: frame.order) for group in groups]


def number_places(frames: Sequence[Frame], normal: NDArray[np.float64]) -> list[int]:
    """Return for each frame which place along the normal it lies in, counted from 0.

    Positions that were computed anew for each volume of a series in time differ a little.
    """
    distances = np.array([np.dot(normal, frame.position or (0.0, 0.0, 0.0)) for frame in frames])
    order = np.argsort(distances, kind="stable")
    most = _same_place(np.diff(distances[order]))
    numbers, number, begin = [0] * len(frames), 0, distances[order[0]]
    for index in order:
        if distances[index] - begin > most:
            number, begin = number + 1, distances[index]
        numbers[index] = number
    return numbers


def _same_place(gaps: NDArray[np.float64]) -> float:
    """Return how far apart planes of one place may lie, by the distances of neighbours.

    The usual distance is the one at which longer ones make up half of the stack: tiny ones
    within a place do not count, however many they are.
    """
    gaps = np.sort(gaps)
    covered = np.cumsum(gaps)
    usual = gaps[np.searchsorted(covered, covered[-1] / 2)] if len(gaps) else 0.0
    return float(np.clip(_SAME_PLACE * usual, *_SAME_ENDS))


def _placed(
    planes: list[Frame], normal: NDArray[np.float64], axes: str
) -> tuple[Geometry, tuple[str, ...]]:
    """Return the geometry of planes in their order along the normal."""
    first, last = planes[0], planes[-1]
    positions = np.array([plane.position for plane in planes], dtype=np.float64)
    orientation, spacing = np.array(first.orientation), first.spacing or (1.0, 1.0)
    notes: tuple[str, ...] = ()
    step = normal * (first.thickness or 1.0)
    if len(planes) > 1:
        step = ((positions[-1] - positions[0]) / (len(planes) - 1)).round(9)  # decimals in the file
        off = np.linalg.norm(np.diff(positions, axis=0) - step, axis=1)
        if off.max() > _UNEVEN * np.linalg.norm(step):
            notes = (
                "The planes are not evenly spaced (ImagePositionPatient): their mean distance is "
                "used, so places along Z are not exact.",
            )
    matrix = np.eye(4)
    matrix[:3, 0] = orientation[:3] * spacing[1]
    matrix[:3, 1] = orientation[3:] * spacing[0]
    matrix[:3, 2] = step
    matrix[:3, 3] = positions[0]
    if last.path == first.path and len(planes) == 1 and not first.thickness:
        notes = ("The thickness of the plane is not known: 1 mm is used.",)
    lengths = {"T": 1.0, "Z": float(np.linalg.norm(step)), "Y": spacing[0], "X": spacing[1]}
    units = tuple("frame" if letter == "T" else "millimeter" for letter in axes)
    sizes = tuple(lengths[letter] for letter in axes)
    place = Geometry(axes, sizes, units, (0.0,) * len(axes), as_matrix(matrix), "LPS")
    return place, notes


def _without_place(frames: Sequence[Frame], interval_s: float) -> Stack:
    """Return planes of which nobody said where they lie, by their number."""
    ordered = sorted(frames, key=lambda frame: (frame.order[3], str(frame.path), frame.index))
    letter = "T" if interval_s else "Z"
    axes = (letter if len(frames) > 1 else "") + "YX"
    geometry = unknown_geometry(axes)
    spacing, units = list(geometry.spacing), list(geometry.units)
    if interval_s and len(frames) > 1:
        spacing[0], units[0] = interval_s, "second"
    if frames[0].spacing:
        spacing[-2:], units[-2:] = frames[0].spacing, ("millimeter", "millimeter")
    place = Geometry(axes, tuple(spacing), tuple(units), geometry.origin)
    notes = () if len(frames) == 1 else ("Its planes do not say where they lie, only their order.",)
    return Stack(ordered, (len(frames),) if len(frames) > 1 else (), axes, place, notes)
