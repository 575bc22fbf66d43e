"""The work on one image of a batch: look whether it is done, segment, measure, write.

It may be done again at any time and anywhere that sees the same folders: what
is whole and right is kept, anything else is made anew in a folder of the run
and renamed into place. Knows no window, no process and no cluster.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rwkv_seg.errors import OutputError, RwkvSegError
from napari_rwkv_seg.files import folder_beside

from .batch_choices import ENDINGS, BatchChoices
from .batch_files import spacing, write_labels, write_objects, write_overlay
from .batch_items import BatchItem, digest_of
from .batch_results import (
    ResultFiles,
    kept_record,
    placing,
    put_in_place,
    read_record,
    results_of,
    write_record,
)
from .batch_rows import Row

if TYPE_CHECKING:
    from napari_rwkv_seg.evaluation.measure import Measurements
    from napari_rwkv_seg.images.readers import ImageFile
    from napari_rwkv_seg.inference.loading import Model
    from napari_rwkv_seg.inference.progress import Progress
    from napari_rwkv_seg.inference.segment import Segmentation


@dataclass(frozen=True)
class Order:
    """What is to be done with each image of a batch.

    Parameters
    ----------
    out : Path
        The folder for results.
    making : Path
        The run's folder in it.
    choices : BatchChoices
        What the user chose.
    asked : dict
        What labels depend on besides their image.
    """

    out: Path
    making: Path
    choices: BatchChoices
    asked: dict[str, Any]

    def files_of(self, item: BatchItem) -> ResultFiles:
        """Return where the result of an image lies."""
        return results_of(item, self.out, ENDINGS[self.choices.format])

    def wanted_of(self, files: ResultFiles) -> list[Path]:
        """Return the files that a result consists of, besides its record."""
        wanted = [files.labels]
        wanted += [files.objects] if self.choices.measure else []
        return wanted + ([files.overlay] if self.choices.overlay else [])


Load = Callable[[], "Model"]
Steps = Generator["Progress", None, Row]


def item_steps(item: BatchItem, row: Row, order: Order, load: Load) -> Steps:
    """Do one image, yielding before every tile.

    Parameters
    ----------
    item : BatchItem
        The image.
    row : Row
        Its row.
    order : Order
        What to do.
    load : callable
        Returns the model; called only if there is something to do. What it raises
        goes through, for it concerns all images.

    Yields
    ------
    Progress
        Closing the generator cancels; nothing of the image is left behind.

    Returns
    -------
    Row
        How it ended: "done", "skipped" or "failed".
    """
    start = time.monotonic()
    files = order.files_of(item)
    image, source = None, ""
    try:
        image = item.read() if item.read else None
        source = digest_of(item.image) if image is None else _digest_of_pixels(image)
        if not order.choices.overwrite:
            record = kept_record(files, order.wanted_of(files), source, order.asked)
            if record is not None:
                return _skipped(row, record, files, order)
    except Exception as error:  # noqa: BLE001 - a job's boundary: the other images must still be done
        return replace(row, state="failed", note=sentence(error))
    model = load()
    try:
        with _making(order) as made:
            ended = yield from _make(item, row, order, _Start(image, source, model, start, made))
            return _placed(made, ended, source, order, files)
    except Exception as error:  # noqa: BLE001 - the same
        seconds = time.monotonic() - start
        return replace(row, state="failed", note=sentence(error), seconds=seconds)


def _placed(made: Path, row: Row, source: str, order: Order, files: ResultFiles) -> Row:
    """Move a result to its place, unless another run of the same batch was quicker.

    Raises
    ------
    OutputError
        If it cannot be moved, or what another run has put there is not the same.
    """
    if row.state != "done":
        return row
    with placing(order.out):
        if not order.choices.overwrite:
            record = kept_record(files, order.wanted_of(files), source, order.asked)
            if record is not None:
                return _skipped(row, record, files, order)
        put_in_place(made, files)
        record = read_record(files.record)
    return replace(row, classes=_classes(record)) if record is not None else row


def sentence(error: BaseException) -> str:
    """Return what went wrong with one image; a fault of ours with the place to report."""
    if isinstance(error, RwkvSegError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory. Close other programs, or choose smaller tiles (--tile)."
    ours = Path(__file__).parents[1]
    frames = extract_tb(error.__traceback__)
    inside = [frame for frame in frames if ours in Path(frame.filename).parents] or frames
    place = f" in {Path(inside[-1].filename).name}, line {inside[-1].lineno}" if inside else ""
    return f"Unexpected {type(error).__name__}{place}: {error}. Please report this."


@dataclass(frozen=True)
class _Start:
    """What is known when the making of a result begins."""

    image: "ImageFile | None"
    source: str
    model: "Model"
    began: float
    made: Path


def _make(item: BatchItem, row: Row, order: Order, start: _Start) -> Steps:
    """Make all files of a result in a folder of their own, and return the row of a done image."""
    from napari_rwkv_seg.images.readers import read_image

    files, choices = order.files_of(item), order.choices
    image = start.image or read_image(item.image)
    if image.is_labels and item.is_found:
        return replace(row, state="skipped", note="It holds labels, not an image.")
    result, notes = yield from _segment(image, start.model, choices)
    measured = None
    if choices.measure:
        measured = yield from _measure(result, image)
        write_objects(start.made / files.objects.name, Path(item.name).name, measured)
    if choices.overlay:
        write_overlay(start.made / files.overlay.name, image.data, result)
    record = {"image": Path(item.name).name, **result.provenance}
    write_labels(start.made / files.labels.name, result, image, record, choices.format)
    seconds = time.monotonic() - start.began
    record["batch"] = {
        "source_sha256": start.source,
        "asked": order.asked,
        "files": {path.name: digest_of(start.made / path.name) for path in order.wanted_of(files)},
        "seconds": round(seconds, 3),
        "classes": measured.classes if measured else [],
    }
    write_record(start.made / files.record.name, record)
    done = replace(row, state="done", seconds=seconds, note=" ".join(notes))
    return replace(done, labels=_place(files, order), classes=_classes(record))


def _segment(
    image: "ImageFile", model: "Model", choices: BatchChoices
) -> Generator["Progress", None, tuple["Segmentation", list[str]]]:
    """Return the segmentation of an image, and what is worth knowing about it alone."""
    from napari_rwkv_seg.images.axes import describe_axes
    from napari_rwkv_seg.inference.segment import segment_steps

    axes = choices.axes or image.axes
    notes = list(image.notes)
    if not choices.axes and len(axes) > 2:  # not all files say it, so it may be wrong
        notes.append(f"Read as {describe_axes(image.data.shape, axes)}")
    if choices.directions != "Z" and "Z" not in axes:
        notes.append("It is no volume, so it was cut into planes as any other image.")
    result = yield from segment_steps(
        image.data,
        model,
        axes=axes,
        settings=choices.labels_for(model.card),
        tile_size=choices.tile_size,
        channel=choices.channel,
        directions=choices.directions if "Z" in axes else "Z",
        spacing=_volume_spacing(image),
    )
    return result, [*notes, *(note for note in result.notes if note not in model.notes)]


def _volume_spacing(image: "ImageFile") -> tuple[float, float, float] | None:
    """Return the size of a voxel along Z, Y and X in one unit, if the file says all three."""
    known = spacing(image).sizes
    return (known["Z"], known["Y"], known["X"]) if {"Z", "Y", "X"} <= set(known) else None


def _measure(
    result: "Segmentation", image: "ImageFile"
) -> Generator["Progress", None, "Measurements"]:
    """Return the measurements of an image."""
    from napari_rwkv_seg.evaluation.measure import Measurements, measure_steps
    from napari_rwkv_seg.inference.progress import Progress

    measured = Measurements()
    for _ in measure_steps(result, image.data, spacing(image), measured):
        yield Progress(1, 1, 0.0, "Measuring …")
    return measured


def _skipped(row: Row, record: dict[str, Any], files: ResultFiles, order: Order) -> Row:
    """Return the row of an image whose result is there."""
    row = replace(row, labels=_place(files, order), classes=_classes(record))
    note = "Its result is there, made by the same choices."
    return replace(row, state="skipped", note=note, seconds=record["batch"].get("seconds"))


def _classes(record: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple(record["batch"].get("classes", ()))


def _place(files: ResultFiles, order: Order) -> str:
    """Return where the labels lie below the output folder."""
    return files.labels.relative_to(order.out).as_posix()


@contextmanager
def _making(order: Order) -> Iterator[Path]:
    """Give a folder to make one result in; what is not moved out of it goes away.

    Raises
    ------
    OutputError
        If it cannot be made, as where a worker does not see the run's folder.
    """
    try:
        made = folder_beside(order.making / "result")
    except OSError as error:
        raise OutputError(
            f"Results cannot be written to {str(order.out)!r}: {error.strerror or error}. "
            "Choose a folder that you may write to, and that all workers see by this path."
        ) from error
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _digest_of_pixels(image: "ImageFile") -> str:
    """Return the SHA-256 of pixels that are in no file, and of where they lie."""
    place = replace(image.geometry, nifti=None, dicom=None)
    told = f"{image.data.shape} {image.data.dtype} {image.axes} {place}"
    whole = hashlib.sha256(told.encode())
    whole.update(np.ascontiguousarray(image.data).tobytes())
    return whole.hexdigest()
