"""The `evaluate` command: compare labels with the truth, and write the scores.

Means of every class go to stdout, everything else to stderr; a row for every class
of every image goes into the CSV file.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_rwkv_seg.errors import OutputError

from .speech import say, say_errors

if TYPE_CHECKING:
    from napari_rwkv_seg.evaluation.run import Evaluation
    from napari_rwkv_seg.evaluation.tables import ClassMeans

app = typer.Typer()

_SHOWN = ("dice", "iou", "hd95", "surface_dice", "f1_50", "f1_75", "f1_mean")


class Meaning(StrEnum):
    """What the numbers of a label image stand for."""

    CLASSES = "classes"
    OBJECTS = "objects"


@app.command()
def evaluate(  # noqa: PLR0913 - the options of a command are its parameters
    prediction: Annotated[
        Path, typer.Argument(metavar="PRED", help="A label file, or a folder of them.")
    ],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUE", help="The truth: a file, or a folder of them.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="CSV file for all scores of all images.")
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            help="Of the surface Dice, such as 1.0mm, 2µm or 1px.", show_default="one pixel"
        ),
    ] = None,
    labels: Annotated[
        Meaning, typer.Option(help="What a number stands for: a class, or an object.")
    ] = Meaning.CLASSES,
    spacing: Annotated[
        str | None,
        typer.Option(
            help="Size of a pixel, such as '5 1.4 1.4 mm' along Z, Y and X, or 0.65µm.",
            show_default="from the files",
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            help="Meaning of the axes, such as TYX; frames over time are compared one by one.",
            show_default="from the files",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Name of class 1, of class 2, and so on."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a CSV file that is there already.")
    ] = False,
) -> None:
    """Compare labels with the truth: Dice, IoU, HD95, surface Dice and object F1.

    Of two folders, files are matched by name. What is not defined is shown as –.
    """
    names = dict(enumerate(classes or (), start=1))
    with say_errors():
        _check_target(out, overwrite)
        found = _evaluated(prediction, truth, tolerance, labels.value, (spacing, axes), names)
        for sentence in (*found.notes, *found.problems):
            say(sentence)
        _tell(found, out)
    if found.problems:
        raise typer.Exit(1)


def _check_target(out: Path | None, overwrite: bool) -> None:
    """Refuse a file that is there, before any work."""
    if out is not None and out.exists() and not overwrite:
        raise OutputError(f"{str(out)!r} is there already; add --overwrite to replace it.")


def _tell(found: "Evaluation", out: Path | None) -> None:
    """Write the file, then the table: one that cannot be written does not keep the other back."""
    from napari_rwkv_seg.evaluation.tables import write_scores

    try:
        if out is not None:
            write_scores(out, found.rows)
    finally:
        for line in table(found.means):
            typer.echo(line)
    if out is not None:
        typer.echo(str(out))


def _evaluated(
    prediction: Path,
    truth: Path,
    tolerance: str | None,
    labels: Any,
    place: tuple[str | None, str | None],
    names: dict[int, str],
) -> "Evaluation":
    """Compare the files, with a bar on stderr, and return the scores with all notes."""
    from dataclasses import replace

    from napari_rwkv_seg.evaluation.comparison import EvaluationSettings
    from napari_rwkv_seg.evaluation.label_files import FileChoices
    from napari_rwkv_seg.evaluation.run import (
        evaluate_steps,
        file_sources,
        read_spacing,
        read_tolerance,
    )
    from napari_rwkv_seg.inference.steps import drained

    settings = EvaluationSettings(labels, *read_tolerance(tolerance), class_names=names)
    spacing, axes = place
    choices = FileChoices(axes.upper() if axes else None, read_spacing(spacing))
    sources, notes = file_sources(prediction, truth, choices)
    with _progress() as show:
        found = drained(evaluate_steps(sources, settings), show)
    return replace(found, notes=(*notes, *found.notes))


def table(means: "Sequence[ClassMeans]") -> list[str]:
    """Return the means of every class as lines in columns."""
    from napari_rwkv_seg.evaluation.tables import score_title, shown

    first = means[0] if means else None
    titles = [
        score_title(name, first.tolerance if first else float("nan"), first.unit if first else "")
        for name in _SHOWN
    ]
    rows = [["Class", *titles, "Objects", "In truth"]]
    for one in means:
        cells = [_with_deviation(one, name, shown) for name in _SHOWN]
        counts = [str(one.counts[name]) for name in ("objects_found", "objects_true")]
        rows.append([one.name, *cells, *counts])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _with_deviation(means: "ClassMeans", name: str, shown: Any) -> str:
    """Return a mean, with the standard deviation over images where there are several."""
    deviation = shown(means.deviation[name])
    mean = shown(means.mean[name])
    return mean if deviation == "–" else f"{mean} ± {deviation}"


@contextmanager
def _progress() -> Iterator[Any]:
    """Show a bar on stderr; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("comparing", total=None)
        yield lambda step: bars.update(
            bar, description=step.name, completed=step.done, total=step.total
        )
