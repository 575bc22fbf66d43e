"""Which files and folders are images, by their names; what they are is told by their content."""

import re
from itertools import islice
from pathlib import Path

from napari_rwkv_seg.errors import UnreadableFileError

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".nii", ".nii.gz", ".dcm", ".zarr")
# Numbers after a point are part of a name: DICOM folders are called 1.2.840 and so on.
_ENDING = re.compile(
    r"(?<=[^/])(\.ome\.(tiff?|zarr)|\.nii\.gz|\.[a-z][a-z0-9]{0,4})$", re.IGNORECASE
)
_DICOM_MAGIC = (128, b"DICM")  # where it stands, and what
_LOOKED_AT = 20  # files of a folder


def stem_of(name: str) -> str:
    """Return the name of an image without its ending; `.ome.tif` and `.nii.gz` are one ending."""
    ending = _ENDING.search(name)
    return name[: ending.start()] if ending else name


def is_image_folder(folder: Path) -> bool:
    """Return whether a folder is one image: a `.zarr`, or slices of a DICOM series.

    Of the files of a series most are slices, and some are what systems leave beside them.
    Of our own DICOM segmentations at most half of the files are: each has a record.
    """
    if folder.suffix.lower() == ".zarr":
        return True
    try:
        names = (each for each in sorted(folder.iterdir()) if not each.name.startswith("."))
        files = list(islice((each for each in names if each.is_file()), _LOOKED_AT))
        return 2 * sum(_is_slice(each) for each in files) > len(files)
    except OSError:
        return False


def _is_slice(path: Path) -> bool:
    """Return whether a file is DICOM by its ending or, if it has none, by its content."""
    ending = path.name[len(stem_of(path.name)) :].lower()
    if ending:
        return ending == ".dcm"
    with path.open("rb") as file:
        return file.read(132)[_DICOM_MAGIC[0] :] == _DICOM_MAGIC[1]


def images_in(folder: Path) -> list[Path]:
    """Return the images that lie in a folder itself, by name; hidden ones are left out.

    Raises
    ------
    UnreadableFileError
        If it cannot be looked into.
    """
    try:
        return [path for path in sorted(folder.iterdir()) if _is_image(path)]
    except OSError as error:
        raise UnreadableFileError(
            f"Cannot look into {str(folder)!r}: {error.strerror or error}."
        ) from error


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return is_image_folder(path)
    return path.name.lower().endswith(ENDINGS)
