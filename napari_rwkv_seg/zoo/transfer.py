"""Models from and to elsewhere: whole folders, or zip files of them.

Without torch: what is imported is checked as far as its card, its hash and the
header of its weights go, and again whenever it is loaded.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_rwkv_seg.errors import ModelError, OutputError, RwkvSegError
from napari_rwkv_seg.files import moved, read_bytes

from .archives import is_folder_archive, is_plain, pack_folder, unpack_folder
from .card import CARD_FILE, read_card
from .encoders import ENCODER_FILE, encoders_folder, read_encoder_card
from .folders import check_name, free_name, is_taken, make_home, staging, write_folder
from .manage import Entry, all_names, find_entry, write_name
from .store import user_folder
from .weights import ENCODER_LIMIT, WEIGHTS_FILE, digest, read_header


@dataclass(frozen=True)
class Imported:
    """A folder that was made from a file or a folder.

    Attributes
    ----------
    folder : Path
        Its name is how it is chosen.
    kind : {'model', 'encoder'}
        A model segments; an encoder is what new models start from.
    notes : tuple of str
        What was left out, filled in or converted, a sentence each.
    """

    folder: Path
    kind: Literal["model", "encoder"]
    notes: tuple[str, ...] = ()


def export_folder(name: str, target: str | Path) -> Path:
    """Write a model or encoder as one zip file, and return its path.

    Parameters
    ----------
    name : str
        Which one, or its folder; shipped models too.
    target : str or Path
        The zip file, or a folder, in which it is then called after the model.

    Raises
    ------
    ModelError
        If there is none of that name.
    OutputError
        If the file is there already or cannot be written.
    """
    entry = find_entry(name)
    target = Path(target)
    if target.is_dir():
        target = target / f"{entry.name}.zip"
    if target.exists():
        raise OutputError(f"{str(target)!r} exists already; choose another name.")
    pack_folder(entry.folder, target)
    return target


def copy_folder(name: str, target: str | Path) -> Path:
    """Write a model or encoder as a plain folder, and return its path.

    Parameters and errors are those of `export_folder`; a `target` that is a folder
    already is given a folder of the model's name.
    """
    entry = find_entry(name)
    target = Path(target)
    if target.is_dir():
        target = target / entry.name
    write_folder(target, lambda made: _copy_folder(entry.folder, made), what="model")
    return target


def import_folder(path: str | Path, *, name: str | None = None) -> Entry:
    """Copy a model or encoder folder, or the zip file of one, among the user's.

    Parameters
    ----------
    path : str or Path
        The folder or the zip file.
    name : str, optional
        What to call it; None keeps its name, with a number if that is taken.

    Raises
    ------
    ModelError
        If it is damaged, unsafe, or not such a folder; nothing is written then.
    SettingsError, OutputError
        If the name cannot be used or is taken; if it cannot be written.
    """
    path = Path(path)
    if name is not None and is_taken(check_name(name), all_names()):
        raise OutputError(f"There is a model or encoder {name!r} already.")
    if not path.is_dir() and not is_folder_archive(path):
        raise ModelError(f"{str(path)!r} is neither a model folder nor a zip file of one.")
    homes = {CARD_FILE: user_folder(), ENCODER_FILE: encoders_folder()}
    with staging(make_home(user_folder().parent)) as made:
        if path.is_dir():
            _copy_folder(path, made)
        else:
            unpack_folder(path, made)
        kind, own_name = _check_folder(made, path)
        chosen = name or free_name(own_name, all_names())
        write_name(made, chosen)
        target = make_home(homes[kind]) / chosen
        if target.exists():
            raise OutputError(f"{str(target)!r} exists already; choose another name.")
        moved(made, target)
    return find_entry(chosen)


def _copy_folder(source: Path, target: Path) -> None:
    """Copy what an archive of a folder would hold."""
    for item in sorted(source.iterdir()):
        if is_plain(item):
            shutil.copyfile(item, target / item.name)


def _check_folder(folder: Path, source: Path) -> tuple[str, str]:
    """Return the name of the card's file, and the name in it; ModelError if anything is wrong.

    The weights are those that the card was written for, and their header is whole;
    whether they fit the architecture is checked whenever they are loaded.
    """
    try:
        kind = CARD_FILE if (folder / CARD_FILE).is_file() else ENCODER_FILE
        card = read_card(folder) if kind == CARD_FILE else read_encoder_card(folder)
        content = read_bytes(folder / WEIGHTS_FILE, ENCODER_LIMIT)
        read_header(content)
    except RwkvSegError as error:
        text = str(error).replace(str(folder), str(source))
        raise ModelError(f"{str(source)!r} cannot be imported. {text}") from error
    if digest(content) != card.weights_sha256:
        raise ModelError(
            f"{str(source)!r} cannot be imported: its weights are not those that its card was "
            "written for (SHA-256 differs)."
        )
    return kind, card.name
