"""Read DICOM-SEG as labels: every segment is a number."""

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .dicom_frames import Frame, declared_bytes, frames_of
from .dicom_headers import check_header, quiet, referred
from .dicom_stack import number_places, stack_frames
from .image_file import Bounded, ImageFile, check_size

_OBJECT = re.compile(r"object (\d{1,9})$")  # how our writer calls labels that are no classes
_OVERLAP = "Segments overlap; where they do, the one with the higher number is kept."
_FRACTIONAL = (
    "Its segments are shares or probabilities (SegmentationType FRACTIONAL); a pixel belongs to "
    "one from a half on."
)
_FILLED = "The file leaves out planes between those that it holds; they are read as empty."
_FITS = 0.25  # of a step, by which places may lie beside those that the header's makes
_FARTHEST = 100_000  # steps between two planes


def read_seg(path: Path, header: Any, limit: int) -> ImageFile:
    """Read a DICOM-SEG file as labels (Z, Y, X), or (Y, X) of a single plane.

    Planes that the file leaves out because nothing is drawn on them are filled with 0, as far
    as they lie between others.

    Raises
    ------
    UnreadableFileError
        If tags are missing, or it is too large; damage raises whatever pydicom raises.
    """
    pixels: Any = import_module("pydicom.pixels")
    check_header(path, header)
    check_size(path, declared_bytes(header), limit)
    frames = frames_of(path, header)
    if any(f.position is None or f.orientation is None or f.spacing is None for f in frames):
        raise UnreadableFileError(
            f"{str(path)!r} has a frame without ImagePositionPatient (0020,0032), "
            "ImageOrientationPatient or PixelSpacing; save it from its program again."
        )
    rows, firsts = _rows(path, frames)
    is_filled = len(firsts) > len(set(rows))
    numbers = _numbers(header)
    highest = max(numbers.values(), default=0)
    shape = (len(firsts), *frames[0].shape)
    dtype = np.uint8 if highest < 256 else np.uint16 if highest < 65536 else np.uint32
    check_size(path, int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize, limit)
    labels = np.zeros(shape, dtype=dtype)
    overlap, lowest = False, _lowest(header)
    order = sorted(range(len(frames)), key=lambda index: _segment(header, index))
    with quiet(), Bounded(path) as file:
        for index, plane in zip(order, pixels.iter_pixels(file, indices=order), strict=True):
            if lowest is not None:
                plane = plane >= lowest
            overlap |= _draw(labels[rows[index]], plane, _segment(header, index), numbers)
    stack = stack_frames(path, firsts)
    place = replace(stack.geometry, dicom=referred(header))
    data = labels[0] if stack.axes == "YX" else labels
    assumed = ((_FILLED, is_filled), (_FRACTIONAL, lowest is not None), (_OVERLAP, overlap))
    notes = (*stack.notes, *(note for note, is_so in assumed if is_so))
    return ImageFile(data, stack.axes, place.pixel_size, path, place, True, notes)


def _lowest(header: Any) -> float | None:
    """Return from which number on a pixel belongs to a segment, if it can do so in part."""
    if header.get("SegmentationType") != "FRACTIONAL":
        return None
    return int(header.get("MaximumFractionalValue") or 255) / 2


def _segment(header: Any, index: int) -> int:
    """Return the number of the segment that a frame shows; 0 if its pixels are the numbers."""
    for group in (header.PerFrameFunctionalGroupsSequence[index], *_shared(header)):
        told = group.get("SegmentIdentificationSequence")
        if told:
            return int(told[0].ReferencedSegmentNumber)
    return 0


def _shared(header: Any) -> list[Any]:
    return list(header.get("SharedFunctionalGroupsSequence") or [])


def _numbers(header: Any) -> dict[int, int]:
    """Return the label of every segment: its number, or that of the object it was saved from."""
    segments = {
        int(segment.SegmentNumber): _OBJECT.fullmatch(str(segment.get("SegmentLabel", "")))
        for segment in header.get("SegmentSequence") or []
    }
    if all(segments.values()):
        return {number: int(found[1]) for number, found in segments.items() if found}
    return {number: number for number in segments}


def _draw(plane: NDArray[Any], pixels: NDArray[Any], segment: int, numbers: dict[int, int]) -> bool:
    """Put a frame into its plane; return whether something was there already."""
    if segment == 0:  # a label map: its pixels are numbers of segments
        for number in np.unique(pixels[pixels > 0]):
            plane[pixels == number] = numbers.get(int(number), int(number))
        return False
    drawn = pixels > 0
    overlap = bool(plane[drawn].any())
    plane[drawn] = numbers.get(segment, segment)
    return overlap


def _rows(path: Path, frames: list[Frame]) -> tuple[list[int], list[Frame]]:
    """Return on which plane each frame lies, and one frame for each plane."""
    first = frames[0]
    across, down = np.array(first.orientation or (1, 0, 0, 0, 1, 0)).reshape(2, 3)
    normal = np.cross(across, down)
    places = number_places(frames, normal)
    held = dict(zip(places, frames, strict=True))  # a frame of each place
    positions = np.array([held[place].position for place in range(len(held))])
    gaps = np.diff(positions @ normal)
    steps = np.maximum(1, np.rint(gaps / _step(gaps, first.gap)))
    if steps.sum() > 10 * len(held) + 1000:
        raise UnreadableFileError(
            f"{str(path)!r} holds planes at places that make no stack (ImagePositionPatient, "
            "0020,0032); save it from its program again."
        )
    rows = [0, *np.cumsum(steps).astype(int).tolist()]
    at_row = {row: held[place] for place, row in enumerate(rows)}
    every = range(rows[-1] + 1)
    between = np.stack([np.interp(every, rows, along) for along in positions.T], axis=1)
    planes = [at_row.get(row) or replace(first, position=tuple(between[row])) for row in every]
    return [rows[place] for place in places], planes


def _step(gaps: NDArray[np.float64], told: float) -> float:
    """Return the distance of neighbours, of which some may be left out.

    It is the header's where that fits all `gaps`, else the one that is usual among them.
    """
    if not len(gaps):
        return 1.0
    if _FARTHEST * told > gaps.max():
        steps = np.rint(gaps / told)
        if steps.min() >= 1 and np.abs(gaps - steps * told).max() < _FITS * told:
            return told
    return float(np.sort(gaps)[(len(gaps) - 1) // 2])
