"""The planes of DICOM files: where each lies, and how its stored numbers are to be understood."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .dicom_headers import check_header

_MOST_FRAMES = 200_000
_ORDER = ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionTime", "InstanceNumber")


@dataclass(frozen=True)
class Stored:
    """How the pixels of a file are stored; the files of a series may differ in it.

    Parameters
    ----------
    bits : int
        That are used of each number.
    is_signed, is_inverted : bool
        Whether numbers may be negative; whether the lowest is shown white (MONOCHROME1).
    is_float : bool
        Whether they are no whole numbers, as those of a parametric map may be.
    is_palette : bool
        Whether they are numbers of colours in a table.
    """

    bits: int
    is_signed: bool
    is_inverted: bool
    is_float: bool
    is_palette: bool

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest whole number that can be stored."""
        low = -(2 ** (self.bits - 1)) if self.is_signed else 0
        return low, low + 2**self.bits - 1


def stored_of(header: Any) -> Stored:
    """Return how the pixels of a file are stored."""
    photometric = str(header.PhotometricInterpretation)
    is_float = header.get("BitsStored") is None  # which all files of whole numbers must state
    return Stored(
        int(header.get("BitsStored") or header.BitsAllocated),
        bool(header.get("PixelRepresentation", 0)),
        photometric == "MONOCHROME1" and not is_float,  # floats have no range to invert in
        is_float,
        photometric == "PALETTE COLOR",
    )


@dataclass(frozen=True)
class Frame:
    """One plane.

    Parameters
    ----------
    path, index : Path, int
        The file, and which of its frames.
    shape : tuple of int
        (Y, X), or (Y, X, C) of colours.
    stored : Stored
        What its file says of its pixels.
    position, orientation : tuple of float, or None
        The centre of the first pixel, and the directions of X and of Y, in LPS millimetres.
    spacing : tuple of float, or None
        (Y, X) in millimetres.
    thickness : float
        Between planes, by what the header says; used for a single plane only. 0 if unknown.
    gap : float
        Between the centres of neighbouring planes, by what the header says. 0 if unknown.
    slope, intercept : float
        From stored numbers to values.
    order : tuple
        By which planes in the same place, or in none, are sorted.
    """

    path: Path
    index: int
    shape: tuple[int, ...]
    stored: Stored
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float
    gap: float
    slope: float
    intercept: float
    order: tuple[Any, ...]


def declared_bytes(header: Any) -> int:
    """Return how many bytes the pixels of a file take, by what it declares."""
    count = int(header.get("NumberOfFrames") or 1)
    size = max(1, int(header.BitsAllocated) // 8) * int(header.SamplesPerPixel)
    return count * int(header.Rows) * int(header.Columns) * size


def frames_of(path: Path, header: Any) -> list[Frame]:
    """Return the planes of a file, as its header tells them.

    Raises
    ------
    UnreadableFileError
        If a tag is missing, or there are too many frames; the text names the tag.
    """
    check_header(path, header)
    count = int(header.get("NumberOfFrames") or 1)
    if not 1 <= count <= _MOST_FRAMES:
        raise UnreadableFileError(
            f"{str(path)!r} declares {count} frames (NumberOfFrames, 0028,0008); at most "
            f"{_MOST_FRAMES} can be read."
        )
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    if groups and len(groups) != count:
        raise UnreadableFileError(
            f"{str(path)!r} declares {count} frames (NumberOfFrames, 0028,0008), but describes "
            f"{len(groups)}; get the file again."
        )
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    return [
        _frame(path, index, header, [groups[index] if groups else None, shared])
        for index in range(count)
    ]


def _frame(path: Path, index: int, header: Any, groups: list[Any]) -> Frame:
    """Return a plane; `groups` are those of the frame and of all frames, if there are any."""
    samples = int(header.SamplesPerPixel)
    shape = (int(header.Rows), int(header.Columns), *((samples,) if samples > 1 else ()))
    is_alone = int(header.get("NumberOfFrames") or 1) == 1

    def told(sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
        for group in groups:
            items = group.get(sequence) if group is not None else None
            if items and items[0].get(keyword) is not None:
                return _numbers(items[0].get(keyword), count)
        return _numbers(header.get(keyword), count)

    position = told("PlanePositionSequence", "ImagePositionPatient", 3)
    if not is_alone and all(group is None for group in groups):
        position = None  # one for all frames says nothing of each
    slope = told("PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = told("PixelValueTransformationSequence", "RescaleIntercept", 1)
    gap = told("PixelMeasuresSequence", "SpacingBetweenSlices", 1)
    thickness = gap or told("PixelMeasuresSequence", "SliceThickness", 1)
    spacing = told("PixelMeasuresSequence", "PixelSpacing", 2) or _numbers(
        header.get("ImagerPixelSpacing"), 2
    )
    return Frame(
        path,
        index,
        shape,
        stored_of(header),
        position,
        _orthogonal(told("PlaneOrientationSequence", "ImageOrientationPatient", 6)),
        spacing if spacing and min(spacing) > 0 else None,
        abs(thickness[0]) if thickness else 0.0,
        abs(gap[0]) if gap else 0.0,
        slope[0] if slope and slope[0] else 1.0,
        intercept[0] if intercept else 0.0,
        (*(_number(header.get(keyword)) for keyword in _ORDER), index),
    )


def _number(value: Any) -> float:
    numbers = _numbers(value, 1)
    return numbers[0] if numbers else 0.0


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return `count` finite numbers, or None."""
    if value is None or value == "":
        return None
    try:
        several = [value] if isinstance(value, str | float | int) else list(value)
        numbers = tuple(float(one) for one in several)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _orthogonal(orientation: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Return two directions of length 1 that stand on each other, or None."""
    if orientation is None:
        return None
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    is_sound = min(lengths) > 0.9 and max(lengths) < 1.1 and abs(across @ down) < 0.1
    return orientation if is_sound else None


def values(pixels: NDArray[Any], frame: Frame, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return what the stored numbers of a plane stand for.

    MONOCHROME1 is inverted within the range of the stored bits, so that high is bright.

    Raises
    ------
    UnreadableFileError
        If the header promises whole numbers and the plane has none.
    """
    if pixels.dtype.kind == "f" and dtype.kind != "f":
        raise UnreadableFileError(
            f"{frame.path.name!r} holds floats (FloatPixelData, 7FE0,0008) but states BitsStored "
            "(0028,0101), as only whole numbers do; save it from its program again."
        )
    if frame.stored.is_inverted:
        low, high = frame.stored.ends
        pixels = low + high - pixels.astype(np.int64)
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return pixels.astype(dtype)
    if dtype.kind == "f":
        return (pixels * np.float64(frame.slope) + frame.intercept).astype(dtype)
    return (pixels.astype(np.int64) * int(frame.slope) + int(frame.intercept)).astype(dtype)


def dtype_of(frames: list[Frame]) -> np.dtype[Any]:
    """Return the smallest dtype that holds the values of all planes exactly, or float32."""
    if any(frame.stored.bits > 32 for frame in frames):
        return np.dtype(np.float64)
    if any(
        frame.stored.is_float or not (frame.slope.is_integer() and frame.intercept.is_integer())
        for frame in frames
    ):
        return np.dtype(np.float32)
    ends = [end * f.slope + f.intercept for f in frames for end in f.stored.ends]
    for kind in (np.uint8, np.int16, np.uint16, np.int32, np.uint32):
        if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float64)
