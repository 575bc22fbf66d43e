"""The table of a batch: one row an image, and the files that hold it.

`batch.csv` has how each image fared, `summary.csv` how much of each class there is
in each. Cells that a spreadsheet would take for a formula are made plain text.
"""

import contextlib
import csv
import io
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.files import write_atomically

State = Literal["waiting", "running", "done", "skipped", "failed"]

_LEAST_S = 1.0  # between two writings of a table, and this many times as long as the last took:
_SHARE = 20.0
_AFTER_REFUSAL_S = 30.0  # on Windows each try takes three seconds
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("image", "state", "seconds", "note", "labels")
_OF_SUMMARY = {"image", "class", "objects", "size_unit", "mean_object_size"}


@dataclass(frozen=True)
class Row:
    """How one image of a batch is doing.

    Parameters
    ----------
    number : int
        Which image of the batch, from 0.
    image : str
        Its name.
    state : str
        "waiting", "running", "done", "skipped" (its result was there), or "failed".
    seconds : float, optional
        How long it took.
    note : str
        Why it failed, or what is worth knowing.
    labels : str
        Where its labels are, below the output folder; "" while there are none.
    classes : tuple of dict
        What was measured of each class.
    path : str
        Where the image is; "" of one that is in no file.
    """

    number: int
    image: str
    state: State = "waiting"
    seconds: float | None = None
    note: str = ""
    labels: str = ""
    classes: tuple[dict[str, Any], ...] = ()
    path: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be done about the image."""
        return self.state in ("done", "skipped", "failed")


@dataclass
class Table:
    """All rows of a batch.

    Parameters
    ----------
    rows : list of Row
        In the order of their numbers.
    """

    rows: list[Row] = field(default_factory=list)

    def put(self, row: Row) -> None:
        """Replace the row of the same number."""
        self.rows[row.number] = row

    def count(self, state: State) -> int:
        """Return how many images are in a state."""
        return sum(row.state == state for row in self.rows)

    def sentence(self) -> str:
        """Return how the batch stands, such as "190 done, 0 skipped, 10 failed of 200 images."."""
        parts = [f"{self.count(state)} {state}" for state in ("done", "skipped", "failed")]
        waiting = self.count("waiting") + self.count("running")
        parts += [f"{waiting} waiting"] if waiting else []
        total = len(self.rows)
        return f"{', '.join(parts)} of {total} image{'s' * (total != 1)}."


class TableFiles:
    """Writes a table into a folder while a batch goes on, not more often than it pays.

    Parameters
    ----------
    folder : Path
        Where to write.
    name : str
        Added to the names of the files, such as "_part_1_of_8".
    """

    def __init__(self, folder: Path, name: str = "") -> None:
        self.table = folder / f"batch{name}.csv"
        self.summary = folder / f"summary{name}.csv"
        self._next = 0.0
        self._was_refused = False

    def write_soon(self, table: Table) -> tuple[str, ...]:
        """Write the table, unless that was done a moment ago; return what to tell the user.

        A table that cannot be written for now ends no batch: a spreadsheet may hold it open.
        """
        if time.monotonic() < self._next:
            return ()
        try:
            self.write(table)
        except OutputError as error:
            self._next = time.monotonic() + _AFTER_REFUSAL_S
            if not self._was_refused:
                self._was_refused = True
                return (f"{error} The batch goes on meanwhile.",)
        return ()

    def write(self, table: Table) -> None:
        """Write the table, and what was measured; if nothing was, an old summary goes.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        start = time.monotonic()
        rows = [
            (row.image, row.state, _seconds(row.seconds), row.note, row.labels)
            for row in table.rows
        ]
        write_csv(self.table, _COLUMNS, rows)
        measured = [{"image": row.image} | one for row in table.rows for one in row.classes]
        if measured:
            columns = list(dict.fromkeys(name for row in measured for name in row))
            if "t" in columns:  # where only some images have it, it still comes second
                columns = ["image", "t", *(c for c in columns if c not in ("image", "t"))]
            write_csv(self.summary, columns, ([row.get(c) for c in columns] for row in measured))
        elif table.count("done"):  # what an earlier run measured is not of these labels
            _drop_summary(self.summary)
        now = time.monotonic()
        self._next = now + max(_LEAST_S, _SHARE * (now - start))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV in UTF-8, at once and whole.

    Parameters
    ----------
    path : Path
        The file to make or to replace.
    columns : sequence of str
        The first line.
    rows : iterable of sequences
        Text, numbers, or None for an empty cell.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    content = text.getvalue().encode("utf-8", "replace")
    write_atomically(path, lambda file: file.write(content))


def _drop_summary(path: Path) -> None:
    """Remove a summary of ours, but no other table of that name."""
    with contextlib.suppress(OSError):  # there is most often none
        with path.open("rb") as file:
            columns = file.readline(10_000).decode("utf-8", "replace").strip().split(",")
        if set(columns) >= _OF_SUMMARY:
            path.unlink()


def _cell(value: Any) -> Any:
    """Return a value as it stands in a cell: no formula, 7 digits, nothing for what is no number.

    A text that a spreadsheet would run is led by an apostrophe (OWASP, CSV injection).
    """
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if isinstance(value, float):
        return "" if value != value else f"{value:.7g}"
    return "" if value is None else value


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
