"""What a user does with models: rename, annotate, delete, restore.

Works on models and on pretrained encoders alike, without torch, so that a window
can call it at once. What comes with the package is never changed. What is deleted
goes to a folder `trash` beside the user's models and stays there until it is
restored or the trash is emptied.
"""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from napari_rwkv_seg.errors import ModelError, OutputError
from napari_rwkv_seg.files import moved

from .card import CARD_FILE, ModelCard, plain_text, read_card, write_card
from .encoders import (
    EncoderEntry,
    encoders_folder,
    find_encoder,
    list_encoders,
    read_encoder_card,
    write_encoder_card,
)
from .folders import check_name, is_taken, make_home
from .store import ModelEntry, find_model, list_models, shipped_folder, user_folder

Entry = ModelEntry | EncoderEntry
_TIME = "%Y%m%dT%H%M%S%f"


@dataclass(frozen=True)
class Deleted:
    """A model or encoder in the trash.

    Attributes
    ----------
    folder : Path
        Where it lies now.
    name : str
        What it was called.
    kind : {'models', 'encoders'}
        Where it lay.
    time : datetime
        When it was deleted, UTC.
    """

    folder: Path
    name: str
    kind: str
    time: datetime


def find_entry(name: str) -> Entry:
    """Return the usable model or else encoder of that name or folder; ModelError if none is."""
    lying = _lying_in(name)
    if lying is not None and not lying.problem:
        return lying
    if any(each.name == name for each in list_encoders()) and name not in _model_names():
        return find_encoder(name)
    return find_model(name)


def folder_of(name: str) -> Path:
    """Return where a model or encoder lies, usable or not; ModelError if there is none."""
    entries: list[Entry] = [*list_models(), *list_encoders()]
    entry = next((each for each in entries if each.name == name), None)
    return entry.folder if entry is not None else find_entry(name).folder


def is_shipped(entry: Entry) -> bool:
    """Tell whether it comes with the package, so that it cannot be changed."""
    home = shipped_folder()
    return home is not None and entry.folder.resolve().parent == home.resolve()


def size_of(entry: Entry | Deleted) -> int:
    """Return how many bytes a folder takes on the disk; 0 if that cannot be told."""
    try:
        return sum(item.stat().st_size for item in entry.folder.iterdir() if item.is_file())
    except OSError:
        return 0


def rename(name: str, new_name: str) -> Entry:
    """Give a model or encoder another name, and return it.

    Parameters
    ----------
    name : str
        Its name; or its folder, which tells it from a shipped one of the same name.
    new_name : str
        No model or encoder may have it yet.

    Raises
    ------
    ModelError
        If there is none of that name, or it comes with the package.
    SettingsError
        If the new name cannot be used.
    OutputError
        If the new name is taken, or the folder cannot be changed.
    """
    entry = _changeable(name)
    check_name(new_name)
    others = all_names() - {entry.name}  # which may get other capitals
    if entry.name == new_name or is_taken(new_name, others):
        raise OutputError(f"There is a model or encoder {new_name!r} already.")
    target = entry.folder.with_name(new_name)
    write_name(entry.folder, new_name)
    try:
        moved(entry.folder, target)
    except OSError as error:
        write_name(entry.folder, entry.name)
        raise _unchanged(entry.folder, error) from error
    return find_entry(new_name)


def set_note(name: str, note: str) -> ModelEntry:
    """Put the user's own note on a model's card; "" takes it off.

    Raises
    ------
    ModelError
        If there is no model of that name, or it comes with the package.
    OutputError
        If the card cannot be written.
    """
    entry = _changeable(name)
    if not isinstance(entry.card, ModelCard):
        raise ModelError(f"{entry.name!r} is a pretrained encoder; notes are for models.")
    card = entry.card.model_copy(update={"note": plain_text(note)})
    write_card(entry.folder, card)
    return ModelEntry(entry.folder, card)


def delete(name: str) -> Deleted:
    """Put a model or encoder into the trash, usable or not, and return how to find it there.

    Raises
    ------
    ModelError
        If there is none of that name, or it comes with the package.
    OutputError
        If the folder cannot be moved.
    """
    entry = _changeable(name, usable=False)
    kind = "encoders" if isinstance(entry, EncoderEntry) else "models"
    now = datetime.now(UTC)
    target = make_home(_trash()) / f"{now.strftime(_TIME)}.{kind}.{entry.name}"
    try:
        moved(entry.folder, target)
    except OSError as error:
        raise _unchanged(entry.folder, error) from error
    return Deleted(target, entry.name, kind, now)


def list_deleted() -> list[Deleted]:
    """Return what is in the trash, the last deleted first; never raises."""
    try:
        found = [_deleted(item) for item in _trash().iterdir() if item.is_dir()]
    except OSError:
        return []
    return sorted(filter(None, found), key=lambda each: each.time, reverse=True)


def undelete(name: str | None = None) -> Path:
    """Take back what was deleted last, or last of that name, and return its folder.

    Raises
    ------
    ModelError
        If there is no such thing in the trash.
    OutputError
        If there is a model or encoder of that name by now, or it cannot be moved.
    """
    found = next((each for each in list_deleted() if name in (None, each.name)), None)
    if found is None:
        raise ModelError(f"There is no {name!r} in the trash." if name else "The trash is empty.")
    return restore(found)


def restore(deleted: Deleted) -> Path:
    """Take back one thing out of the trash, and return its folder.

    Raises
    ------
    ModelError
        If it is not there any more.
    OutputError
        If there is a model or encoder of that name by now, or it cannot be moved.
    """
    if not deleted.folder.is_dir():
        raise ModelError(f"{deleted.name!r} is not in the trash any more.")
    if is_taken(deleted.name, all_names()):
        raise OutputError(f"There is a {deleted.name!r} by now; rename that one first.")
    home = encoders_folder() if deleted.kind == "encoders" else user_folder()
    target = make_home(home) / deleted.name
    try:
        moved(deleted.folder, target)
    except OSError as error:
        raise _unchanged(deleted.folder, error) from error
    return target


def empty_trash() -> int:
    """Delete for good what is in the trash, and return how many folders went."""
    gone = list_deleted()
    for each in gone:
        shutil.rmtree(each.folder, ignore_errors=True)
    return len(gone) - len(list_deleted())


def _changeable(name: str, *, usable: bool = True) -> Entry:
    """Return the user's own one of that name or folder; ModelError if it may not be changed."""
    entries: list[Entry] = [*list_models(), *list_encoders()]
    entry = _lying_in(name) or next((each for each in entries if each.name == name), None)
    if entry is None:
        raise ModelError(
            f"There is no model or encoder {name!r} among yours in {str(user_folder())!r}."
        )
    if is_shipped(entry):
        raise ModelError(f"{entry.name!r} comes with the package and cannot be changed.")
    if usable and entry.problem:
        raise ModelError(entry.problem)
    return entry


def _lying_in(folder: str) -> Entry | None:
    """Return the one that lies in that very folder, usable or not."""
    entries: list[Entry] = [*list_models(), *list_encoders()]
    return next((each for each in entries if str(each.folder) == folder), None)


def write_name(folder: Path, name: str) -> None:
    """Write the name into the card in a folder, unless it is there."""
    if (folder / CARD_FILE).is_file():
        card = read_card(folder)
        if card.name != name:
            write_card(folder, card.model_copy(update={"name": name}))
    else:
        encoder = read_encoder_card(folder)
        if encoder.name != name:
            write_encoder_card(folder, encoder.model_copy(update={"name": name}))


def _model_names() -> set[str]:
    return {each.name for each in list_models()}


def all_names() -> set[str]:
    """Return the names of all models and encoders that are here."""
    return _model_names() | {each.name for each in list_encoders()}


def _trash() -> Path:
    return user_folder().parent / "trash"


def _deleted(folder: Path) -> Deleted | None:
    """Return what a folder in the trash is; None if its name does not say so."""
    time, kind, name = (*folder.name.split(".", 2), "", "")[:3]
    try:
        when = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Deleted(folder, name, kind, when) if name and kind in ("models", "encoders") else None


def _unchanged(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"{str(folder)!r} cannot be changed: {error.strerror or error}.")
