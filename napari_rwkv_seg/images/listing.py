"""Which files and folders are images, by their names; what they are is told by their content."""

import re
from pathlib import Path

from napari_rwkv_seg.errors import UnreadableFileError

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".nii", ".nii.gz", ".dcm", ".zarr")
# Numbers after a point are part of a name: DICOM folders are called 1.2.840 and so on.
_ENDING = re.compile(
    r"(?<=[^/])(\.ome\.(tiff?|zarr)|\.nii\.gz|\.[a-z][a-z0-9]{0,4})$", re.IGNORECASE
)
_DICOM_MAGIC = (128, b"DICM")  # where it stands, and what


def stem_of(name: str) -> str:
    """Return the name of an image without its ending; `.ome.tif` and `.nii.gz` are one ending."""
    ending = _ENDING.search(name)
    return name[: ending.start()] if ending else name


def is_image_folder(folder: Path) -> bool:
    """Return whether a folder is one image: a `.zarr`, or slices of a DICOM series."""
    if folder.suffix.lower() == ".zarr":
        return True
    try:
        names = (each for each in sorted(folder.iterdir()) if not each.name.startswith("."))
        first = next((each for each in names if each.is_file()), None)
        if first is None:
            return False
        if first.suffix.lower() == ".dcm":
            return True
        if first.suffix:
            return False
        with first.open("rb") as file:
            return file.read(132)[_DICOM_MAGIC[0] :] == _DICOM_MAGIC[1]
    except OSError:
        return False


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
