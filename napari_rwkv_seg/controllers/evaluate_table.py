"""Scores as cells for a table, and what the window says of them. Pure functions on plain values."""

import math
import re
from dataclasses import dataclass

from napari_rwkv_seg.evaluation.comparison import ClassScores
from napari_rwkv_seg.evaluation.differences import COLORS, MEANINGS
from napari_rwkv_seg.evaluation.run import Compared, Evaluation
from napari_rwkv_seg.evaluation.tables import COUNTS, SCORES, ClassMeans, score_title, shown

DIFFERENCE_COLORS, DIFFERENCE_MEANINGS = COLORS, MEANINGS

NOT_DEFINED = (
    "– means not defined: the distance to nothing, or the overlap of nothing with nothing."
)
HINTS = {
    "dice": "Twice the overlap over the sum of both areas.",
    "iou": "The overlap over the union of both areas.",
    "hd95": "95 % Hausdorff distance: 95 % of each surface lie at most so far from the other one.",
    "surface_dice": "The part of both surfaces that lies within the tolerance of the other one.",
    "f1_50": "F1 of objects; one is found if its IoU with a true one is above 0.5.",
    "f1_75": "F1 of objects; one is found if its IoU with a true one is above 0.75.",
    "f1_mean": "Mean of the objects' F1 at IoU 0.50, 0.55, … 0.90.",
}


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Parameters
    ----------
    text : str
        What is shown.
    value : float or str
        What rows are sorted by; what is not defined comes first.
    """

    text: str
    value: float | str


@dataclass(frozen=True)
class Table:
    """Scores as a table.

    Parameters
    ----------
    titles, hints : tuple of str
        Of the columns.
    rows : tuple of tuple of Cell
        One row for every class of every pair.
    """

    titles: tuple[str, ...]
    hints: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def table_of(evaluation: Evaluation) -> Table:
    """Return the scores of all pairs as cells."""
    rows = evaluation.rows
    units = {row.unit for row in rows}
    tolerances = {row.tolerance for row in rows}
    unit = units.pop() if len(units) == 1 else ""
    tolerance = tolerances.pop() if len(tolerances) == 1 else math.nan
    names = (*SCORES, *COUNTS)
    titles = ("Image", "Class", *(score_title(name, tolerance, unit) for name in names))
    hints = ("", "", *(HINTS.get(name, "") for name in names))
    return Table(titles, hints, tuple(_cells(row, is_mixed=not unit) for row in rows))


def natural(name: str) -> str:
    """Return what names are sorted by, so that "cell 2" comes before "cell 10"."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(40), name.casefold())


def _cells(row: ClassScores, is_mixed: bool) -> tuple[Cell, ...]:
    scores = []
    for name in SCORES:
        value = getattr(row, name)
        text = shown(value)
        if name == "hd95" and is_mixed and not math.isnan(value):
            text = f"{text} {row.unit}"
        scores.append(Cell(text, -math.inf if math.isnan(value) else value))
    counts = [Cell(f"{getattr(row, name):,}", float(getattr(row, name))) for name in COUNTS]
    return (Cell(row.pair, natural(row.pair)), Cell(row.name, float(row.number)), *scores, *counts)


def summary_of(evaluation: Evaluation) -> str:
    """Return the most telling scores of every class, a line each."""
    pairs = len({row.pair for row in evaluation.rows})
    if not pairs:
        return "Nothing could be compared."
    start = "" if pairs == 1 else f"Means over {pairs} images (± standard deviation):\n"
    return start + "\n".join(_mean_line(one) for one in evaluation.means)


def _mean_line(means: ClassMeans) -> str:
    parts = []
    for name in ("dice", "hd95", "surface_dice", "f1_50"):
        value = shown(means.mean[name])
        if not math.isnan(means.deviation[name]):
            value = f"{value} ± {shown(means.deviation[name])}"
        if name == "hd95" and means.unit and value != "–":
            value = f"{value} {means.unit}"
        title = score_title(name, means.tolerance, means.unit if name != "hd95" else "")
        parts.append(f"{title} {value}")
    return f"{means.name}: {' · '.join(parts)}"


def comparing_line(progress: Compared) -> str:
    """Return how far an evaluation is, in a line."""
    if progress.total == 1:
        return f"Comparing {progress.name} …"
    return f"Image {int(progress.done) + 1} of {progress.total}: {progress.name}"
