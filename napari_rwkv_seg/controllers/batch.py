"""Segment many images: the one way beneath the command, the dock and the Python call.

Images are done one after the other here, or by the workers of a cluster; one that
fails does not stop the rest. What is done is kept: whoever runs the same batch
again does only what is missing. Imports torch only when a network is to run.
"""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.files import cannot_write
from napari_rwkv_seg.inference.settings import views_note
from napari_rwkv_seg.inference.steps import drained
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model

from .batch_choices import ENDINGS, BatchChoices
from .batch_items import BatchItem, Wanted, check_apart, find_items, part_of
from .batch_results import results_of, run_folder_name, sweep
from .batch_rows import Row, Table, TableFiles
from .batch_run import News, run_here, run_there
from .batch_work import Order

if TYPE_CHECKING:
    from .batch_workers import Crew


@dataclass(frozen=True)
class Batch:
    """What is to be done.

    Parameters
    ----------
    images : sequence of str, Path or BatchItem
        Files, folders and patterns.
    out : Path
        Folder for the results, made if it is missing.
    choices : BatchChoices
        What is done with each image.
    part : str
        "K/N" to do every N-th image from the K-th; "" for all.
    crew : Crew, optional
        The workers of a cluster; None does all images here.
    """

    images: Sequence[Wanted]
    out: Path
    choices: BatchChoices
    part: str = ""
    crew: "Crew | None" = None


Steps = Generator[News, None, Table]


def batch_steps(batch: Batch) -> Steps:
    """Segment the images of a batch, yielding whenever something has changed.

    Yields
    ------
    News
        First with all rows; then as images begin and end, and before every tile.
        Closing the generator ends the batch: what is done stays, nothing half-made is left.

    Returns
    -------
    Table
        How each image fared.

    Raises
    ------
    SettingsError
        If no image is found, or a setting lies outside its range.
    OutputError
        If results cannot be told apart or written.
    ModelError, DeviceError
        If the model cannot be used, or the device is not there.
    ClusterError
        If there is no cluster, or its workers do not see the folders.
    """
    card = find_model(batch.choices.model).card
    if card is None:  # find_model returns usable entries only; this tells the type checker
        raise ModelError(f"Model {batch.choices.model!r} cannot be used.")
    asked = batch.choices.asked(card)
    items, notes = _items(batch)
    if batch.crew is not None and (note := views_note(card, batch.choices.views)):
        notes.append(note)  # without workers the model itself says so
    prepare_folder(batch.out)
    sweep(batch.out)
    table = Table([_row(number, item) for number, item in enumerate(items)])
    name = f"_part_{batch.part.replace('/', '_of_')}" if batch.part else ""
    tables = TableFiles(batch.out, name)
    yield News(tuple(table.rows), notes=tuple(notes))
    with _making(batch.out) as making:
        order = Order(batch.out, making, batch.choices, asked)
        steps = (
            run_here(items, table.rows, order)
            if batch.crew is None
            else run_there(items, table.rows, order, batch.crew)
        )
        try:
            for news in steps:
                for row in news.rows:
                    table.put(row)
                if news.rows:
                    notes = [*news.notes, *tables.write_soon(table)]
                    news = replace(news, notes=tuple(notes))
                yield news
        finally:
            steps.close()
            for row in [row for row in table.rows if row.state == "running"]:
                table.put(replace(row, state="waiting"))
            tables.write(table)
    return table


def segment_batch(
    images: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    workers: int = 0,
    scheduler: str = "",
    progress: Callable[[News], None] | None = None,
    **choices: Any,
) -> Table:
    """Segment many images into a folder; one that fails does not stop the rest.

    What is done already, from the same images by the same choices, is kept; nothing
    else that is there is replaced unless `overwrite` is chosen.

    Parameters
    ----------
    images : path or sequence of paths
        Files, folders, and patterns such as "plates/**/*.tif".
    out : path
        Folder for the results; `batch.csv` in it says how each image fared.
    model : str or Path
        A model's name or folder.
    device : str
        "auto", "cpu", "cuda", or "cuda:N".
    workers : int
        Processes on this machine that share the work; 0 for none. Needs the extra `cluster`.
    scheduler : str
        Address of a Dask scheduler, such as "tcp://host:8786".
    progress : callable, optional
        Called with all `News`; an error that it raises ends the batch.
    **choices
        Other fields of `BatchChoices`: output, wishes, axes, channel, tile_size, directions,
        views, format, measure, overlay, overwrite, stream.

    Returns
    -------
    Table
        A row an image: state, seconds, and why it failed.

    Raises
    ------
    RwkvSegError
        Before any work, as `batch_steps` raises it; of single images nothing is raised.
    """
    from .batch_workers import crew_of

    wanted = [images] if isinstance(images, str | Path) else list(images)
    chosen = BatchChoices(model=str(model), device=device, **choices)
    steps = batch_steps(Batch(wanted, Path(out), chosen, crew=crew_of(workers, scheduler)))
    return drained(steps, progress)


def prepare_folder(folder: Path) -> None:
    """Make the folder and try to write into it, so that no work is lost at the end.

    Raises
    ------
    OutputError
        If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def _row(number: int, item: BatchItem) -> Row:
    return Row(number, item.name, path="" if item.read else str(item.image))


def _items(batch: Batch) -> tuple[list[BatchItem], list[str]]:
    """Return the images of a batch, and sentences about what was left out."""
    found, notes = find_items(batch.images, batch.out)
    own = ENDINGS[batch.choices.format]
    apart = check_apart(
        found,
        lambda item: results_of(item, batch.out, own).all(),
        lambda item: [
            path
            for made in (results_of(item, batch.out, one) for one in ENDINGS.values())
            for path in (made.labels, made.overlay)  # what may be taken for an image
        ],
    )
    return (part_of(apart, batch.part) if batch.part else apart), notes


@contextmanager
def _making(out: Path) -> Iterator[Path]:
    """Give the hidden folder in which results of this run are made."""
    making = out / run_folder_name(secrets.token_hex(4))
    try:
        making.mkdir()
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        yield making
    finally:
        shutil.rmtree(making, ignore_errors=True)
