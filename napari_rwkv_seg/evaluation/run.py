"""Compare labels with the truth: arrays, files, or the files of two folders."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_rwkv_seg.errors import EvaluationError, RwkvSegError, SettingsError
from napari_rwkv_seg.images import check_axes
from napari_rwkv_seg.inference.steps import drained

from .comparison import ClassScores, EvaluationSettings, LabelPair, Meaning, compare_steps
from .label_files import FileChoices, frames, match_labels, read_label_pair
from .lengths import PIXELS, Spacing, pixels, read_length
from .tables import ClassMeans, class_means

Pairs = tuple[Sequence[LabelPair], Sequence[str]]


@dataclass(frozen=True)
class Evaluation:
    """How well labels agree with the truth.

    Parameters
    ----------
    rows : tuple of ClassScores
        One for every class of every pair.
    notes : tuple of str
        Sentences: files without a partner, and what was read otherwise than it is.
    problems : tuple of str
        Sentences about pairs that could not be compared; they have no row.
    """

    rows: tuple[ClassScores, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def means(self) -> tuple[ClassMeans, ...]:
        """The scores of every class, as means over the pairs in which they are defined."""
        return class_means(self.rows)


@dataclass(frozen=True, eq=False)
class PairSource:
    """Something to compare, read when its turn has come.

    Parameters
    ----------
    name : str
        For people.
    read : callable
        Returns pairs, and notes; may raise a `RwkvSegError`.
    """

    name: str
    read: Callable[[], Pairs]


@dataclass(frozen=True)
class Compared:
    """How far an evaluation is: `done` of `total` sources, and the name of the present one."""

    done: float
    total: int
    name: str


def evaluate(
    prediction: str | Path | ArrayLike,
    truth: str | Path | ArrayLike,
    *,
    labels: Meaning = "classes",
    tolerance: float | str | None = None,
    spacing: str | Sequence[float] | None = None,
    axes: str | None = None,
    class_names: Mapping[int, str] | None = None,
) -> Evaluation:
    """Compare labels with the truth by overlap, surface and object.

    Parameters
    ----------
    prediction, truth : path or array
        Two label files, two folders whose files are matched by name, or two integer arrays
        of one shape; 0 is background.
    labels : "classes" or "objects"
        Whether a number stands for a class, or for one object of the only class.
    tolerance : float or str, optional
        For the surface Dice, such as "1.5mm"; a number alone is in the unit of the labels. The
        shortest side of a pixel if not given.
    spacing : str or sequence of float, optional
        Size of a pixel, such as "5 1.4 1.4 mm" along Z, Y and X or "0.65 µm" along all;
        numbers alone are in µm. As the files state it if not given.
    axes : str, optional
        Meaning of the axes but the channel, such as "TYX"; frames over time (T) are compared
        one by one. As the files state it if not given; of arrays (Z,) Y and X.
    class_names : mapping of int to str, optional
        Names of the classes.

    Returns
    -------
    Evaluation
        A row for every class of every pair, and means over the pairs.

    Raises
    ------
    EvaluationError
        If nothing can be compared. Of the files of folders, those that cannot be are
        named in `problems`.
    RwkvSegError
        If a file cannot be read, or a setting is wrong.
    """
    number, unit = read_tolerance(tolerance)
    settings = EvaluationSettings(labels, number, unit, class_names or {})
    choices = FileChoices(axes.upper() if axes else None, read_spacing(spacing))
    notes: Sequence[str] = ()
    if isinstance(prediction, str | Path) and isinstance(truth, str | Path):
        sources, notes = file_sources(Path(prediction), Path(truth), choices)
    else:
        sources = [PairSource("labels", partial(_array_pairs, prediction, truth, choices))]
    found = drained(evaluate_steps(sources, settings))
    return Evaluation(found.rows, (*notes, *found.notes), found.problems)


def evaluate_steps(
    sources: Sequence[PairSource],
    settings: EvaluationSettings,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Compared, None, Evaluation]:
    """Compare all sources; one that fails does not stop the others, unless it is the only one.

    Parameters
    ----------
    sources : sequence of PairSource
        What to compare.
    settings : EvaluationSettings
        How.
    should_stop : callable
        Asked now and then, also within a class.

    Raises
    ------
    CancelledError
        If `should_stop` says so.
    RwkvSegError
        If there is one source alone, and it cannot be compared.
    """
    rows: list[ClassScores] = []
    notes: list[str] = []
    problems: list[str] = []
    for done, source in enumerate(sources):
        yield Compared(done, len(sources), source.name)
        try:
            pairs, told = source.read()
            for number, pair in enumerate(pairs):
                steps = compare_steps(pair, settings, should_stop)
                scores = yield from _passed_on(steps, done, number / len(pairs), source, sources)
                rows.extend(scores)
            notes.extend(note for note in told if note not in notes)
        except RwkvSegError as error:
            if len(sources) == 1:
                raise
            problems.append(f"{source.name}: {error}")
    return Evaluation(tuple(rows), tuple(notes), tuple(problems))


def file_sources(
    found: Path, true: Path, choices: FileChoices | None = None
) -> tuple[list[PairSource], tuple[str, ...]]:
    """Return what two files or two folders hold to compare, and which files are left out.

    Raises
    ------
    RwkvSegError
        As `match_labels` raises it.
    """
    matched = match_labels(found, true)
    sources = [
        PairSource(one.name, partial(read_label_pair, one, other, choices))
        for one, other in matched.matched
    ]
    return sources, matched.notes


def read_tolerance(tolerance: float | str | None) -> tuple[float | None, str]:
    """Return a tolerance as number and unit.

    Raises
    ------
    SettingsError
        If it is none.
    """
    if tolerance is None:
        return None, ""
    if isinstance(tolerance, str):
        return read_length(tolerance)
    return float(tolerance), ""


def read_spacing(spacing: str | Sequence[float] | None) -> Spacing | None:
    """Return the size of a pixel as stated, such as "5 1.4 1.4 mm"; numbers alone are in µm.

    Raises
    ------
    SettingsError
        If it is none.
    """
    if spacing is None:
        return None
    if not isinstance(spacing, str):
        return Spacing(tuple(float(size) for size in spacing), "µm")
    words = spacing.replace(",", " ").split()
    if len(words) > 1 and not any(letter.isdigit() for letter in words[-1]):
        words[-2:] = ["".join(words[-2:])]
    lengths = [read_length(word) for word in words]
    units = {unit for _, unit in lengths if unit}
    if not lengths or len(units) > 1 or units == {PIXELS}:
        raise SettingsError(
            f"{spacing!r} is no size of a pixel; write numbers and one unit, "
            "such as '5 1.4 1.4 mm' or '0.65 µm'."
        )
    return Spacing(tuple(size for size, _ in lengths), next(iter(units), "µm"))


def _passed_on(
    steps: Generator[float, None, list[ClassScores]],
    done: int,
    within: float,
    source: PairSource,
    sources: Sequence[PairSource],
) -> Generator[Compared, None, list[ClassScores]]:
    """Turn the steps of one pair into those of all; return its scores."""
    try:
        while True:
            try:
                part = next(steps)
            except StopIteration as end:
                scores: list[ClassScores] = end.value
                return scores
            yield Compared(min(done + within + part, done + 1), len(sources), source.name)
    finally:
        steps.close()


def _array_pairs(found: Any, true: Any, choices: FileChoices) -> Pairs:
    """Return two arrays as pairs."""
    labels = [np.asarray(each) for each in (found, true)]
    if labels[0].shape != labels[1].shape:
        raise EvaluationError(
            f"The labels have shape {labels[0].shape} and the truth has {labels[1].shape}; "
            "compare labels of the same image at the same size."
        )
    axes = check_axes(labels[0].shape, choices.axes or "TZYX"[-labels[0].ndim :])
    if "C" in axes:
        raise EvaluationError(f"Labels have no channels, but the axes are {axes}.")
    spacing = choices.spacing or pixels(len(axes.replace("T", "")))
    return frames("labels", labels, axes, spacing), ()
