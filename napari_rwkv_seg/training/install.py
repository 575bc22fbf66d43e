"""From a finished run to a model where its user wants it. Knows no torch."""

import contextlib
import shutil
from pathlib import Path

from napari_rwkv_seg.errors import OutputError, RunError, RwkvSegError
from napari_rwkv_seg.files import folder_beside, put_in_place
from napari_rwkv_seg.zoo.card import ModelCard, plain_text, read_card, write_card
from napari_rwkv_seg.zoo.store import read_entry, user_folder

from .run_folder import RunFolder
from .run_settings import RunSettings

DECISION_FILE = "decision.json"
"""In a run's folder: `model`, the name under which its model was put in use, or null."""


def target_folder(settings: RunSettings) -> Path:
    """Return where the new model is to go: `output`, or the user's models and `name`."""
    return Path(settings.output) if settings.output else user_folder() / settings.name


def check_target(target: Path, *, overwrite: bool = False) -> None:
    """Refuse a place for a model before any work.

    Raises
    ------
    OutputError
        If something is there that is not to be replaced, or is no model.
    """
    if not target.exists():
        return
    if not overwrite:
        raise OutputError(
            f"{str(target)!r} exists already; choose another name for the model, or say that it "
            "is to be replaced."
        )
    if not (target / "model.toml").is_file():
        raise OutputError(f"{str(target)!r} is no model, so it is not replaced; choose another.")


def is_installed(run: RunFolder, target: Path) -> bool:
    """Return whether the model of a finished run is at `target` already, and can be used."""
    if not run.result.is_file():
        return False
    there, made = read_entry(target).card, read_entry(run.model).card
    return None not in (there, made) and _but_names(there) == _but_names(made)


def _but_names(card: ModelCard | None) -> ModelCard | None:
    """Return a card without what its user may have changed."""
    return card and card.model_copy(update={"name": "", "title": "", "note": ""})


def install_model(
    run: RunFolder, target: Path, *, title: str = "", overwrite: bool = False
) -> Path:
    """Copy the model of a finished run to `target`, which appears whole or not at all.

    Parameters
    ----------
    run : RunFolder
        A finished run.
    target : Path
        The folder to make; its name becomes the model's. The folders above are made too.
    title : str
        What people call it; that of the run's model if not given.
    overwrite : bool
        Replace a model that is there.

    Raises
    ------
    RunError
        If the run has no model yet.
    OutputError
        If the folder is there already, or cannot be written.
    """
    if not run.result.is_file():
        raise RunError(f"The run {str(run.path)!r} has no model: it is not finished.")
    check_target(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = folder_beside(target)
        try:
            shutil.copytree(run.model, made / "new")
            card = read_card(made / "new")
            named = {"name": target.name} | ({"title": plain_text(title, 80)} if title else {})
            write_card(made / "new", card.model_copy(update=named))
            put_in_place(made / "new", target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"Cannot write the model {str(target)!r}: {reason}. It is still in {str(run.model)!r}."
        ) from error
    note_decision(run, target.name)
    return target


def note_decision(run: RunFolder, model: str | None) -> None:
    """Note in a run's folder what became of its model: its name in use, or None if declined.

    It is only a note: that it cannot be written is no error, and the model is offered again.
    """
    with contextlib.suppress(RwkvSegError, OSError):
        run.write_json(run.path / DECISION_FILE, {"model": model})
