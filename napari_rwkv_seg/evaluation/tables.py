"""Scores as tables: means over images, and CSV files that no spreadsheet takes for formulas."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.files import write_atomically

from .comparison import ClassScores

SCORES = ("dice", "iou", "hd95", "surface_dice", "f1_50", "f1_75", "f1_mean")
COUNTS = ("objects_found", "objects_true", "pixels_found", "pixels_true")
COLUMNS = tuple(each.name for each in fields(ClassScores))
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class ClassMeans:
    """The scores of a class over all pairs.

    Parameters
    ----------
    number : int
        Of the class.
    name : str
        Of the class.
    mean, deviation : dict of str to float
        Mean and standard deviation (n - 1) of each score over the pairs in which it is defined;
        NaN where there are too few.
    defined : dict of str to int
        In how many pairs each score is defined.
    counts : dict of str to int
        Sums of objects and pixels.
    tolerance : float
        Of the surface Dice; NaN if pairs differ.
    unit : str
        Of lengths; "" if pairs differ, and then no mean of lengths is given.
    """

    number: int
    name: str
    mean: dict[str, float]
    deviation: dict[str, float]
    defined: dict[str, int]
    counts: dict[str, int]
    tolerance: float
    unit: str


def class_means(rows: Sequence[ClassScores]) -> tuple[ClassMeans, ...]:
    """Return the scores of every class over all pairs, in the order of the numbers."""
    numbers = sorted({row.number for row in rows})
    return tuple(_means([row for row in rows if row.number == number]) for number in numbers)


def _means(rows: Sequence[ClassScores]) -> ClassMeans:
    values = {
        name: [value for row in rows if not math.isnan(value := getattr(row, name))]
        for name in SCORES
    }
    units = {row.unit for row in rows}
    tolerances = {row.tolerance for row in rows}
    if len(units) > 1:
        values["hd95"] = []
    return ClassMeans(
        rows[0].number,
        rows[0].name,
        {name: float(np.mean(each)) if each else math.nan for name, each in values.items()},
        {
            name: float(np.std(each, ddof=1)) if len(each) > 1 else math.nan
            for name, each in values.items()
        },
        {name: len(each) for name, each in values.items()},
        {name: sum(getattr(row, name) for row in rows) for name in COUNTS},
        tolerances.pop() if len(tolerances) == 1 else math.nan,
        units.pop() if len(units) == 1 else "",
    )


def write_scores(path: Path, rows: Iterable[ClassScores]) -> None:
    """Write rows as CSV: UTF-8, commas, one line a class of a pair; "nan" is not defined.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.

    Parameters
    ----------
    path : Path
        The file to make or to replace.
    rows : iterable of ClassScores
        What to write.

    Raises
    ------
    OutputError
        If it cannot be written; a file that was there before is untouched.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # as RFC 4180 says
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)
    try:
        content = text.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:  # a file name that is no text
        raise OutputError(
            f"Cannot write {str(path)!r}: the name of an image holds bytes that are no text; "
            "rename it."
        ) from error
    write_atomically(path, lambda file: file.write(content))


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return f"{value:.6g}" if isinstance(value, float) else value


def shown(value: float, digits: int = 3) -> str:
    """Return a score for people; "–" if it is not defined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def score_title(name: str, tolerance: float = math.nan, unit: str = "") -> str:
    """Return what people call a score, with its unit or its tolerance."""
    if name == "hd95":
        return f"HD95 ({unit})" if unit else "HD95"
    if name == "surface_dice":
        has_one = unit and not math.isnan(tolerance)
        return f"Surface Dice ({tolerance:g} {unit})" if has_one else "Surface Dice"
    return _TITLES[name]


_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "f1_50": "F1 at IoU 0.5",
    "f1_75": "F1 at IoU 0.75",
    "f1_mean": "F1, mean of IoU 0.5–0.9",
    "objects_found": "Objects found",
    "objects_true": "Objects in truth",
    "pixels_found": "Pixels found",
    "pixels_true": "Pixels in truth",
}
