"""The `journal` commands: what labels were kept, write them to a file, delete them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_rwkv_seg.errors import OutputError

from .speech import say, say_errors

if TYPE_CHECKING:
    from napari_rwkv_seg.controllers.journal_folders import Entry
    from napari_rwkv_seg.controllers.journal_snapshot import Facts

MICROMETRES = {"micrometer", "micrometre", "micron", "um", "µm"}

app = typer.Typer(
    help="Labels that napari saved in the background while they were edited.",
    no_args_is_help=True,
)

_Name = Annotated[str, typer.Argument(metavar="ID", help="As `journal list` shows it.")]


@app.command("list")
def list_() -> None:
    """List what is kept, the newest first: ID, time, name, edits, size, what became of it."""
    from napari_rwkv_seg.controllers.journal_folders import journal_folder, list_entries

    entries = list_entries(journal_folder())
    if not entries:
        say("No labels are kept.")
    for entry in entries:
        typer.echo(_line(entry))


@app.command()
def restore(
    name: _Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to make: .tif or .npy.")],
) -> None:
    """Write kept labels to a file; what is kept stays."""
    from napari_rwkv_seg.controllers.journal_folders import find_entry, journal_folder, read_entry

    with say_errors():
        if out.exists() or out.is_symlink():
            raise OutputError(f"{str(out)!r} is there already; choose another name.")
        facts, labels, note = read_entry(find_entry(journal_folder(), name))
        _write(out, facts, labels)
        if note:
            say(note)
    typer.echo(out)


@app.command()
def discard(name: _Name) -> None:
    """Delete kept labels."""
    from napari_rwkv_seg.controllers.journal_folders import discard as delete
    from napari_rwkv_seg.controllers.journal_folders import find_entry, journal_folder

    with say_errors():
        entry = find_entry(journal_folder(), name)
        if entry.is_alive and not entry.has_ended:
            raise OutputError(f"{name!r} is being edited in a napari that runs; close that first.")
        delete(entry)


def _line(entry: "Entry") -> str:
    """Return one entry in one line."""
    from napari_rwkv_seg.controllers.journal_recovery import moment, short

    facts = entry.facts
    ended = "closed" if entry.has_ended else "lost"
    state = "open" if entry.is_alive and not entry.has_ended else ended
    size = " × ".join(map(str, facts.shape))
    when = moment(facts.saved_at, now=0.0)  # always with its date
    return f"{entry.id}  {when}  {short(facts.name)!r}  {facts.edits} edits  {size}  {state}"


def _write(out: Path, facts: "Facts", labels: Any) -> None:
    """Write labels as OME-TIFF, or as NumPy array where a TIFF cannot hold them."""
    import numpy as np

    from napari_rwkv_seg.files import write_atomically
    from napari_rwkv_seg.images.writers import write_labels

    if out.suffix.lower() == ".npy":
        write_atomically(out, lambda file: np.save(file, labels, allow_pickle=False))
        return
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise OutputError(f"{str(out)!r} must end in .tif or .npy.")
    record = {**facts.provenance, "layer": facts.name, "edits": facts.edits}
    try:
        write_labels(out, labels, _pixel_size(facts), provenance=record)
    except ValueError as error:
        raise OutputError(
            f"A TIFF cannot hold these labels: {error} Choose a .npy file."
        ) from error


def _pixel_size(facts: "Facts") -> tuple[float, float] | None:
    """Return the size of a pixel (Y, X) in micrometres, if it is known."""
    units, scale = facts.place.get("units", [])[-2:], facts.place.get("scale", [])[-2:]
    if len(scale) == 2 and len(units) == 2 and set(units) <= MICROMETRES and min(scale) > 0:
        return float(scale[0]), float(scale[1])
    return None
