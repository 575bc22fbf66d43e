"""The one way in and the one way out: whatever a file or a folder is, and whatever is wished.

Importing this costs no torch; a checkpoint or a graph loads it when it comes to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from napari_rwkv_seg.errors import SettingsError

from .archives import is_folder_archive
from .encoders import EncoderEntry
from .manage import find_entry
from .store import find_model
from .transfer import Imported, copy_folder, export_folder, import_folder

Format = Literal["zip", "folder", "bioimageio", "onnx", "torch"]
ENDINGS: dict[Format, str] = {
    "zip": ".zip",
    "folder": "",
    "bioimageio": ".bioimageio.zip",
    "onnx": ".onnx",
    "torch": ".pt2",
}
_LIBRARIES: dict[Format, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
SIZE = 256  # pixels: sides of a graph's image


@dataclass(frozen=True)
class Written:
    """What an export wrote, and what its reader must know."""

    path: Path
    note: str = ""


def import_any(
    path: str | Path, *, name: str | None = None, classes: Sequence[str] = ()
) -> Imported:
    """Keep a checkpoint, the zip file of a model, or a model folder among the user's.

    Parameters
    ----------
    path : str or Path
        The file or the folder; what it is follows from its content.
    name : str, optional
        What to call it; None makes a name from the file's.
    classes : sequence of str
        Names of the classes of a whole network in a checkpoint.

    Raises
    ------
    SettingsError
        If the name cannot be used, or the classes have no place.
    OutputError
        If the name is taken, or it cannot be written.
    UnreadableFileError, ModelError
        If it is damaged, unsafe, or nothing of the kind; nothing is written then.
    """
    path = Path(path)
    if path.is_dir() or is_folder_archive(path):
        if classes:
            raise SettingsError(
                f"{str(path)!r} names its classes itself; leave the class names out."
            )
        entry = import_folder(path, name=name)
        return Imported(entry.folder, "encoder" if isinstance(entry, EncoderEntry) else "model")
    from .importing import import_checkpoint

    return import_checkpoint(path, name=name, classes=classes)


def export_any(name: str, target: str | Path, form: Format, size: int = SIZE) -> Written:
    """Write a model or an encoder in one of the formats.

    Parameters
    ----------
    name : str
        Which one, or its folder.
    target : str or Path
        What to make; in a folder that is there, it is called after the model.
    form : Format
        One of `ENDINGS`; encoders go out as "zip" or "folder" only.
    size : int
        Sides of the image of a graph, or of bioimage.io's test image, in pixels.

    Raises
    ------
    ModelError
        If there is none of that name, it cannot be used, or a library is missing.
    SettingsError
        If the format or the size cannot be used.
    OutputError
        If the target is there already or cannot be written.
    """
    if form not in ENDINGS:
        raise SettingsError(f"There is no format {form!r}; there are: {', '.join(ENDINGS)}.")
    target = Path(target)
    if form == "zip":
        return Written(export_folder(name, target))
    if form == "folder":
        return Written(copy_folder(name, target))
    entry = find_model(find_entry(name).folder)
    if target.is_dir():
        target = target / f"{entry.name}{ENDINGS[form]}"
    if form == "bioimageio":
        from .bioimage_io import export_bioimage_io

        return Written(export_bioimage_io(entry, target, size=size))
    from .exports import export_onnx, export_program

    exported = (export_onnx if form == "onnx" else export_program)(entry, target, size)
    return Written(
        exported.path,
        f"It takes normalised images of {size} × {size} pixels; its logits differ from this "
        f"program's by {exported.difference:.1g} (relative).",
    )


def lacking(form: Format) -> str:
    """Return why a format cannot be written here, in a sentence; "" if it can."""
    missing = [each for each in _LIBRARIES.get(form, ()) if find_spec(each) is None]
    return f"This needs more: pip install {' '.join(missing)}" if missing else ""
