"""Which images an OME-Zarr group holds: itself, a collection, a plate's fields, or labels."""

from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import UnreadableFileError

from .image_file import is_inside
from .zarr_metadata import attributes


def find_image(folder: Path, series: str | None) -> Path:
    """Return the group that holds an image: the folder itself, or one in it.

    Raises
    ------
    UnreadableFileError
        If there is none, or several of which none was chosen; the text lists them.
    """
    told = attributes(folder)
    if "multiscales" in told and series in (None, ""):
        return folder
    names = _images_within(folder, told)
    fitting = [name for name in names if series in (None, name)]
    if len(fitting) == 1:
        return folder / fitting[0]
    if not names:
        raise UnreadableFileError(
            f"{str(folder)!r} is a Zarr folder without an OME-Zarr image; choose the folder whose "
            "metadata have 'multiscales'."
        )
    raise UnreadableFileError(
        f"{str(folder)!r} holds {len(names)} images; choose one of them: "
        f"{', '.join(names[:20])}. Each is a folder in it, which can be opened by itself."
    )


def _images_within(folder: Path, told: dict[str, Any]) -> list[str]:
    """Return the images of a plate, of a collection, or the labels of a group without an image."""
    plate = told.get("plate")
    if isinstance(plate, dict):
        wells = _paths(plate.get("wells"))
        return [f"{well}/{field}" for well in wells for field in _fields(folder / well)]
    found = [p.name for p in sorted(folder.iterdir()) if "multiscales" in attributes(p)]
    labels = attributes(folder / "labels").get("labels", [])
    return found + [f"labels/{name}" for name in labels if is_inside(str(name))]


def _fields(well: Path) -> list[str]:
    """Return the images of a well of a plate: its fields of view."""
    told = attributes(well).get("well")
    return _paths(told.get("images")) if isinstance(told, dict) else []


def _paths(told: Any) -> list[str]:
    """Return the paths that a list of OME-Zarr names, but those that lead outside."""
    listed = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return [str(each["path"]) for each in listed if is_inside(str(each.get("path", "")))]
