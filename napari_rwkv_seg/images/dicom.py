"""Read DICOM: a file, a file of many frames, or a folder with the files of a series."""

import math
from collections import defaultdict
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import UnreadableFileError

from .dicom_frames import Frame, declared_bytes, dtype_of, frames_of, values
from .dicom_headers import (
    DEFLATED,
    SEGMENTATIONS,
    check_header,
    dicom_files,
    quiet,
    read_header,
    referred,
)
from .dicom_stack import Stack, stack_frames
from .image_file import Bounded, ImageFile, check_size, needed
from .lazy import Region, as_dask

Headers = list[tuple[Path, Any]]  # files of one series with their headers


@quiet()
def read_dicom(
    path: Path, limit: int, series: str | None = None, *, lazy: bool = False
) -> ImageFile:
    """Read a DICOM file, or one series of a folder.

    Raises
    ------
    UnreadableFileError
        If tags are missing or do not fit (the text names them), a folder holds several series
        and none was chosen, it is too large, or pydicom or a decoder is missing.
    """
    needed("pydicom", "dicom", path)
    files = _chosen(path, _all_series(path, limit), series)
    header = files[0][1]
    if str(header.get("SOPClassUID", "")) in SEGMENTATIONS:
        from .dicom_seg_reader import read_seg

        return read_seg(files[0][0], header, limit)
    _check_unique(path, files)
    for file, each in files:
        check_declared(file, each, limit)
    frames = [frame for file, each in files for frame in frames_of(file, each)]
    stack = stack_frames(path, frames, _interval_s(header))
    pixels = _Pixels(stack, files)
    data: Any
    if lazy:
        data = as_dask(path, pixels, (1,) * len(stack.stack) + pixels.plane, limit)
    else:
        check_size(path, math.prod(pixels.shape) * pixels.dtype.itemsize, limit)
        data = pixels.whole()
    axes = stack.axes + ("C" if len(pixels.plane) == 3 else "")
    told = referred(header, tuple((frame.path, frame.index) for frame in stack.frames))
    place = replace(stack.geometry, dicom=told)
    return ImageFile(data, axes, place.pixel_size, path, place, False, stack.notes)


@quiet()
def list_series(path: Path, limit: int) -> list[str]:
    """Return the UIDs of the series in a folder, or of a file's one."""
    needed("pydicom", "dicom", path)
    return list(_all_series(path, limit))


def _all_series(path: Path, limit: int) -> dict[str, Headers]:
    """Return files and headers by the UID of their series; those without pixels are left out."""
    files = dicom_files(path) if path.is_dir() else [path]
    found: dict[str, Headers] = defaultdict(list)
    for file in files:
        header = read_header(file, limit)
        if "Rows" in header or not path.is_dir():
            found[str(header.get("SeriesInstanceUID", ""))].append((file, header))
    if not found:
        raise UnreadableFileError(
            f"{str(path)!r} is a folder without DICOM images; choose the folder of a series."
        )
    return dict(found)


def _chosen(path: Path, found: dict[str, Headers], series: str | None) -> Headers:
    """Return the files of the series that is asked for by its UID or number, or of the only one."""
    fitting = [
        files
        for uid, files in found.items()
        if series in (None, uid, str(files[0][1].get("SeriesNumber", "")))
    ]
    if len(fitting) == 1:
        return fitting[0]
    listed = "; ".join(
        f"number {files[0][1].get('SeriesNumber', '?')} "
        f"({files[0][1].get('Modality', '?')}, {len(files)} files, {uid})"
        for uid, files in found.items()
    )
    asked = "" if series is None else f", not one {series!r}"
    raise UnreadableFileError(
        f"{str(path)!r} holds {len(found)} series{asked}; put each into a folder of its own, or "
        f"choose one in Python (series=) by its number or UID: {listed}."
    )


def _check_unique(path: Path, files: Headers) -> None:
    """Refuse a series with a file twice."""
    seen: dict[str, Path] = {}
    for file, header in files:
        uid = str(header.get("SOPInstanceUID", ""))
        if uid and uid in seen:
            raise UnreadableFileError(
                f"{str(path)!r} holds one image twice, as {seen[uid].name!r} and {file.name!r} "
                "(SOPInstanceUID, 0008,0018); remove one of them."
            )
        seen[uid] = file


def check_declared(path: Path, header: Any, limit: int) -> None:
    """Refuse a file that declares more pixels than fit, or none."""
    check_header(path, header)
    nbytes = declared_bytes(header)
    if nbytes <= 0:
        raise UnreadableFileError(
            f"{str(path)!r} declares no pixels (Rows, 0028,0010; Columns, 0028,0011); get it again."
        )
    check_size(path, nbytes, limit)


def _interval_s(header: Any) -> float:
    """Return the seconds between the frames of a film, or 0."""
    for keyword in ("FrameTime", "CineRate"):  # milliseconds, and frames a second
        try:
            value = float(header.get(keyword) or 0)
        except (TypeError, ValueError):
            continue
        if value > 0 and math.isfinite(value):
            return value / 1e3 if keyword == "FrameTime" else 1 / value
    return 0.0


def _unpacked(file: Bounded) -> Any:
    """Return a whole dataset of a file that packs its tags too, and was measured before."""
    from pydicom import dcmread

    return dcmread(file)


class _Pixels:
    """The planes of a stack, decoded when they are asked for."""

    def __init__(self, stack: Stack, files: Headers) -> None:
        self._frames, self._stack = stack.frames, stack.stack
        headers, used = dict(files), {f.path for f in stack.frames if f.stored.is_palette}
        self._palettes = {path: headers[path] for path in used}
        self._packed = {  # pydicom decodes single planes of all other files
            path
            for path, header in files
            if str(header.file_meta.get("TransferSyntaxUID", "")) == DEFLATED
        }
        self.plane = stack.frames[0].shape + ((3,) if self._palettes else ())
        self.dtype = dtype_of(stack.frames)
        if self._palettes:
            tables = [each.RedPaletteColorLookupTableDescriptor for each in self._palettes.values()]
            bits = max(int(table[2]) for table in tables)
            self.dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
        self.shape = (*self._stack, *self.plane)

    def read(self, region: Region) -> NDArray[Any]:
        """Return a box: planes are decoded whole."""
        inner = region[len(self._stack) :]
        lengths = [part.stop - part.start for part in region]
        found = np.empty(lengths, dtype=self.dtype)
        for index in np.ndindex(*lengths[: len(self._stack)]):
            place = [part.start + i for part, i in zip(region, index, strict=False)]
            number = int(np.ravel_multi_index(place, self._stack)) if place else 0
            found[index] = self._decoded([self._frames[number]])[0][inner]
        return found

    def whole(self) -> NDArray[Any]:
        """Return all planes; each file is opened once."""
        found = np.empty((len(self._frames), *self.plane), dtype=self.dtype)
        by_file: dict[Path, list[int]] = defaultdict(list)
        for number, frame in enumerate(self._frames):
            by_file[frame.path].append(number)
        for numbers in by_file.values():
            for number, plane in zip(
                numbers, self._decoded([self._frames[n] for n in numbers]), strict=True
            ):
                found[number] = plane
        return found.reshape(self.shape)

    def _decoded(self, frames: list[Frame]) -> list[NDArray[Any]]:
        """Return planes of one file."""
        pixels: Any = import_module("pydicom.pixels")
        path = frames[0].path
        try:
            with quiet(), Bounded(path) as file:
                source = _unpacked(file) if path in self._packed else file
                made = pixels.iter_pixels(source, indices=[f.index for f in frames])
                stored = [np.asarray(plane) for plane in made]
        except RuntimeError as error:  # one of a compression without a decoder is among them
            if "plugin" not in str(error) and "dependenc" not in str(error):
                raise
            raise UnreadableFileError(
                f"{path.name!r} is compressed in a way that takes another library: "
                "pip install 'pylibjpeg[all]', or save it uncompressed."
            ) from error
        if path in self._palettes:
            table = self._palettes[path]
            return [pixels.apply_color_lut(plane, table).astype(self.dtype) for plane in stored]
        if len(self.plane) == 3:
            return stored
        pairs = zip(stored, frames, strict=True)
        return [values(plane, frame, self.dtype) for plane, frame in pairs]
