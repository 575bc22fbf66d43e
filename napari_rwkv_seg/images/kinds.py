"""Which kind of image a file or a folder is, told by its content."""

from enum import Enum
from pathlib import Path

from napari_rwkv_seg.errors import UnreadableFileError

from .dicom_headers import has_dicom
from .image_file import first_bytes
from .nifti import is_nifti
from .pictures import JPEG, PNG
from .tiff import TIFF
from .zarr_metadata import is_zarr


class Kind(Enum):
    """The formats that are read."""

    TIFF = "TIFF"
    PICTURE = "PNG or JPEG"
    NIFTI = "NIfTI"
    DICOM = "DICOM"
    ZARR = "OME-Zarr"


def kind_of(path: Path) -> Kind:
    """Return the kind of an image.

    Raises
    ------
    UnreadableFileError
        If it is missing, cannot be read, or is of no kind that is known.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    start = first_bytes(path, 132)
    is_dicom = start[128:] == b"DICM"
    # What comes before is free in DICOM, and some scanners put the head of a TIFF there; files
    # that are whole in both formats, as slides may be, go by their name.
    is_named_tiff = path.suffix.lower() in (".tif", ".tiff")
    if start.startswith(TIFF) and (is_named_tiff or not is_dicom):
        return Kind.TIFF
    if start.startswith((PNG, JPEG)):
        return Kind.PICTURE
    if is_dicom:
        return Kind.DICOM
    if is_nifti(path, start):
        return Kind.NIFTI
    raise UnreadableFileError(
        f"{str(path)!r} is {_what(start)}; use a TIFF, PNG or JPEG image, NIfTI, DICOM or OME-Zarr."
    )


def _kind_of_folder(path: Path) -> Kind:
    """Return the kind of an image that lies in a folder."""
    if is_zarr(path):
        return Kind.ZARR
    if has_dicom(path):
        return Kind.DICOM
    raise UnreadableFileError(
        f"{str(path)!r} is a folder without a DICOM series or an OME-Zarr image; choose an image."
    )


def _what(start: bytes) -> str:
    """Return what a file that we do not read seems to be."""
    if not start:
        return "an empty file"
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html", b"<head"):
        return "a web page (perhaps a download that failed)"
    if start.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        return "a compressed archive"
    return "not a kind of file that can be read here"
