"""Read images of every kind into arrays with their axes and their place in the world.

The kind of a file is told by its first bytes, not by its name. What a file
declares is checked against the free memory before anything is decoded, and
every decoding failure becomes one error that names the file. Damage that
decodes to plausible pixels cannot be detected: these formats hold no checksum.
Pixel sizes are in micrometres, (Y, X). What says where it lies in a patient is turned to one
orientation here, for all who read.
"""

from pathlib import Path

from napari_rwkv_seg.errors import UnreadableFileError

from .dicom import read_dicom
from .image_file import PIXEL_LIMIT, ImageFile, Level, decoding
from .kinds import Kind, kind_of
from .nifti import read_nifti
from .ome_zarr import ome_zarr_levels, read_ome_zarr
from .orientation import turned, turned_level
from .pictures import read_picture
from .tiff import read_tiff, tiff_levels


def read_image(
    path: str | Path, *, limit: int = PIXEL_LIMIT, series: str | None = None, level: int = 0
) -> ImageFile:
    """Read an image into memory.

    Parameters
    ----------
    path : path
        A TIFF, OME-TIFF, PNG, JPEG, NIfTI or DICOM file, a folder with a DICOM series, or an
        OME-Zarr group.
    limit : int
        Most bytes of decoded pixels to accept; 70 % of the free memory is a second limit.
    series : str, optional
        Which of several images: the number or the UID of a DICOM series, the name of an
        image within an OME-Zarr group.
    level : int
        Which resolution of a pyramid; 0 is the finest.

    Raises
    ------
    UnreadableFileError
        If it is missing, of another kind, too large, cannot be decoded, holds several images
        of which none was chosen, or needs a library that is not installed.
    """
    return _read(Path(path), level, limit, series, lazy=False)


def open_image(
    path: str | Path, level: int = 0, *, series: str | None = None, limit: int = PIXEL_LIMIT
) -> ImageFile:
    """Open an image without reading its pixels, where its format allows that.

    Parameters
    ----------
    path : path
        As `read_image`.
    level : int
        Which resolution of a pyramid; 0 is the finest.
    series : str, optional
        As `read_image`.
    limit : int
        Most bytes that a piece of a lazy image, or the whole of another, may take.

    Returns
    -------
    ImageFile
        Its data are a dask array for OME-Zarr, TIFF in one file, uncompressed NIfTI and
        DICOM, in pieces as they lie in the file; pieces that cannot be read raise
        `UnreadableFileError` when they are computed. The others are read whole.

    Raises
    ------
    UnreadableFileError
        As `read_image`.
    """
    return _read(Path(path), level, limit, series, lazy=True)


def levels(path: str | Path, *, series: str | None = None) -> tuple[Level, ...]:
    """Return the resolutions of an image, the finest first; reads no pixels if it can.

    Raises
    ------
    UnreadableFileError
        As `read_image`.
    """
    path = Path(path)
    kind = kind_of(path)
    with decoding(path):
        if kind is Kind.TIFF:
            return tuple(turned_level(each) for each in tiff_levels(path))
        if kind is Kind.ZARR:
            return tuple(turned_level(each) for each in ome_zarr_levels(path, series))
    image = _read(path, 0, PIXEL_LIMIT, series, lazy=True)
    return (Level(0, tuple(image.data.shape), image.axes, image.geometry),)


def _read(path: Path, level: int, limit: int, series: str | None, *, lazy: bool) -> ImageFile:
    """Read or open an image of any kind, and turn it to the one orientation."""
    with decoding(path):
        return turned(_as_stored(path, level, limit, series, lazy=lazy))


def _as_stored(path: Path, level: int, limit: int, series: str | None, *, lazy: bool) -> ImageFile:
    """Read or open an image of any kind."""
    kind = kind_of(path)
    if kind is Kind.TIFF:
        return read_tiff(path, limit, level, lazy=lazy)
    if kind is Kind.ZARR:
        return read_ome_zarr(path, limit, level, series, lazy=lazy)
    if level:
        raise UnreadableFileError(f"{str(path)!r} has 1 resolution level; there is no {level}.")
    if kind is Kind.NIFTI:
        return read_nifti(path, limit, lazy=lazy)
    if kind is Kind.DICOM:
        return read_dicom(path, limit, series, lazy=lazy)
    return read_picture(path, limit)


__all__ = ["PIXEL_LIMIT", "ImageFile", "levels", "open_image", "read_image"]
