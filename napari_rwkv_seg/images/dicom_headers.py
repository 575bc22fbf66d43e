"""Read what DICOM files say of their pixels, and nothing of the patient.

Only the tags listed here are ever read, so that a name cannot get into a layer, a log or
a result. What a file declares is checked before anything is inflated or decoded.
"""

import contextlib
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import UnreadableFileError

from .geometry import DicomSeries
from .image_file import Bounded, first_bytes, needed

DEFLATED = "1.2.840.10008.1.2.1.99"  # the transfer syntax that packs the tags too
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
NEEDED = (
    *("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation"),
    *("SOPInstanceUID", "SeriesInstanceUID"),
)
TAGS = (
    *NEEDED,
    *("SOPClassUID", "StudyInstanceUID", "FrameOfReferenceUID", "Modality", "SeriesNumber"),
    *("InstanceNumber", "AcquisitionTime", "TemporalPositionIdentifier", "TriggerTime"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices", "BitsStored", "PixelRepresentation"),
    *("NumberOfFrames", "RescaleSlope", "RescaleIntercept", "FrameTime", "CineRate"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("SegmentSequence", "SegmentationType", "MaximumFractionalValue"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
)
_MOST_FILES = 20_000  # of a folder


def is_dicom(path: Path) -> bool:
    """Return whether a path is a regular file with the mark of DICOM; never waits for a pipe."""
    try:
        return first_bytes(path, 132)[128:] == b"DICM"
    except UnreadableFileError:
        return False


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files of a folder and of those in it, sorted by name.

    A DICOMDIR is left out: it only points to files, possibly outside of the folder.

    Raises
    ------
    UnreadableFileError
        If there are more than 20,000 files.
    """
    found = []
    for count, path in enumerate(_walk(folder)):
        if count >= _MOST_FILES:
            raise UnreadableFileError(
                f"{str(folder)!r} holds more than {_MOST_FILES} files; choose the folder of one "
                "DICOM series."
            )
        if path.name.upper() != "DICOMDIR" and is_dicom(path):
            found.append(path)
    return sorted(found)


def has_dicom(folder: Path) -> bool:
    """Return whether one of the first 200 files of a folder is a DICOM file."""
    return any(is_dicom(path) for _, path in zip(range(200), _walk(folder), strict=False))


def _walk(folder: Path) -> Any:
    """Yield files of a folder and of two levels below; links to folders are not followed."""
    return (
        path
        for depth in ("*", "*/*", "*/*/*")
        for path in folder.glob(depth)
        if not path.is_dir() and not path.name.startswith(".")
    )


def read_header(path: Path, limit: int) -> Any:
    """Return a pydicom dataset of the tags in `TAGS`, without pixels.

    Raises
    ------
    UnreadableFileError
        If it would inflate to more than `limit` bytes, or pydicom is missing; damage raises
        whatever pydicom raises.
    """
    pydicom: Any = needed("pydicom", "dicom", path)
    _check_inflated(path, limit)
    with quiet(), Bounded(path) as file:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings of values against the standard: they quote the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_inflated(path: Path, limit: int) -> None:
    """Refuse a packed file that inflates to more than `limit` bytes; pydicom would do it all."""
    from pydicom import filereader

    with quiet(), Bounded(path) as file:
        filereader.read_preamble(file, force=False)
        meta = filereader._read_file_meta_info(file)
        if str(meta.get("TransferSyntaxUID", "")) != DEFLATED:
            return
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        packed = file.read(1 << 16)
        while packed and total <= limit:
            total += len(inflate.decompress(packed, 1 << 20))
            packed = inflate.unconsumed_tail or file.read(1 << 16)
    if total > limit:
        raise UnreadableFileError(
            f"{str(path)!r} inflates to more than {limit / 1e9:.1f} GB; get it again, or save it "
            "without deflate compression."
        )


def referred(header: Any, planes: tuple[tuple[Path, int], ...] = ()) -> DicomSeries:
    """Return what refers to the series of a header."""
    series, study, frame = (
        str(header.get(f"{name}UID") or "")
        for name in ("SeriesInstance", "StudyInstance", "FrameOfReference")
    )
    return DicomSeries(series, study, frame, planes)


def check_header(path: Path, header: Any) -> None:
    """Refuse a header without what pixels need.

    Raises
    ------
    UnreadableFileError
        If a tag is missing; the text names it.
    """
    from pydicom.datadict import tag_for_keyword

    for keyword in NEEDED:
        if header.get(keyword) in (None, ""):
            tag = tag_for_keyword(keyword) or 0
            raise UnreadableFileError(
                f"{str(path)!r} has no {keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X}), which an "
                "image needs; get the file again."
            )
