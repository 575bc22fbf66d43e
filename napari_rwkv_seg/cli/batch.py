"""Segment several images, one after the other; one that fails does not stop the rest.

The labels of an image are written last: where there is a labels file, the image
is done. Results are named on stdout as they appear.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_rwkv_seg.files import write_atomically

from .jobs import Job, plan_jobs, prepare_folder
from .speech import say, sentence

if TYPE_CHECKING:
    from napari_rwkv_seg.inference import LabelSettings, Model, Progress, Segmentation
    from napari_rwkv_seg.inference.settings import Output

    Show = Callable[[Progress], None]


@dataclass(frozen=True)
class Choices:
    """What the user chose for all images of one command.

    Parameters
    ----------
    model : str, optional
        A model's name or folder; None for the default.
    wishes : dict
        Fields of `LabelSettings` that replace what the model's card recommends.
    axes : str, optional
        Meaning of the axes; None for what the file says.
    channel : int, optional
        The channel to use alone, from 0.
    tile_size : int, optional
        Side of a tile in pixels; None for the model's.
    """

    model: str | None = None
    device: str = "auto"
    output: "Output" = "classes"
    wishes: dict[str, Any] = field(default_factory=dict)
    axes: str | None = None
    channel: int | None = None
    tile_size: int | None = None
    overwrite: bool = False
    overlay: bool = False


def segment_all(images: Sequence[Path], folder: Path, choices: Choices) -> int:
    """Segment all images into `folder` and return how many have no new result.

    Raises
    ------
    RwkvSegError
        Before any work: if the results cannot be told apart or written, the
        device is not there, or the model or a setting cannot be used.
    """
    jobs = plan_jobs(images, folder)
    prepare_folder(folder)
    waiting = [job for job in jobs if choices.overwrite or not job.is_done()]
    done = _run(waiting, choices) if waiting else 0
    if len(jobs) > 1:
        say(f"{done} of {len(jobs)} images segmented.")
    return len(jobs) - done


def _run(jobs: Sequence[Job], choices: Choices) -> int:
    """Load the model once, segment all images, and return how many were segmented."""
    from napari_rwkv_seg.inference import LabelSettings, load_model
    from napari_rwkv_seg.zoo import DEFAULT_MODEL

    model = load_model(choices.model or DEFAULT_MODEL, choices.device)
    for note in model.notes:
        say(note)
    settings = replace(LabelSettings.for_model(model.card, choices.output), **choices.wishes)
    done = 0
    for job in jobs:
        try:
            notes = _segment_one(job, model, settings, choices)
        except Exception as error:  # noqa: BLE001 - the other images must still be done
            say(f"{job.image.name}: {sentence(error)}")
            continue
        done += 1
        typer.echo(str(job.labels))
        for note in notes:
            say(f"{job.image.name}: {note}")
    return done


def _segment_one(
    job: Job, model: "Model", settings: "LabelSettings", choices: Choices
) -> tuple[str, ...]:
    """Read one image, segment it, write its results, and return what is worth knowing."""
    from napari_rwkv_seg.images.axes import describe_axes
    from napari_rwkv_seg.images.readers import read_image
    from napari_rwkv_seg.images.writers import write_labels
    from napari_rwkv_seg.inference.segment import segment

    image = read_image(job.image)
    axes = choices.axes or image.axes
    if not choices.axes and len(axes) > 2:  # not all files say it, so it may be wrong
        say(f"{job.image.name}: Read as {describe_axes(image.data.shape, axes)}")
    with _progress(job.image.name) as show:
        result = segment(
            image.data,
            model,
            axes=axes,
            settings=settings,
            tile_size=choices.tile_size,
            channel=choices.channel,
            progress=show,
        )
    record = {"image": job.image.name, **result.provenance}
    if choices.overlay:
        _write_overlay(job.overlay, image.data, axes, result)
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(job.record, lambda file: file.write(text.encode()))
    write_labels(
        job.labels,
        result.labels,
        image.pixel_size,
        axes=result.axes.replace("C", ""),
        provenance=record,
    )
    return tuple(note for note in result.notes if note not in model.notes)


def _write_overlay(path: Path, image: Any, axes: str, result: "Segmentation") -> None:
    """Write image and labels as one picture; of a stack, its middle plane."""
    from napari_rwkv_seg.images.axes import planes, stack_shape
    from napari_rwkv_seg.images.writers import write_overlay

    middle = tuple(length // 2 for length in stack_shape(image.shape, axes))
    plane = next(plane for index, plane in planes(image, axes) if index == middle)
    colors = [each.color for each in result.card.classes]
    by_class = result.settings.output == "classes"
    write_overlay(path, plane, result.labels[middle], colors if by_class else None)


@contextmanager
def _progress(name: str) -> Iterator["Show"]:
    """Show a bar on stderr while an image is segmented; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(name, total=None)
        yield lambda progress: bars.update(bar, completed=progress.done, total=progress.total)
