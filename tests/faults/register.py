"""The register of faults: which test holds which row, and what is not held yet.

`rows/LETTER.toml` has a table for each row: a short case and what is expected,
then the tests that hold it (`FOLDER/FILE.py::NAME`, below tests/), what they do
not cover yet (`lacking`), or why no test of ours can hold it (`reason`). One
with neither tests nor a reason is open. Used by tests/conftest.py, which puts
the numbers into the names of the tests, and by scripts/reliability.py.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROWS = Path(__file__).with_name("rows")
LETTERS = {
    "I": "Images",
    "L": "Labels",
    "M": "Model files",
    "P": "Prediction",
    "T": "Training",
    "D": "Disks",
    "C": "Windows and threads",
    "G": "GPUs and memory",
    "S": "Security and network",
    "N": "Autosave and recovery",
}
STATES = ("held", "partly held", "open", "not testable here")


@dataclass(frozen=True)
class Row:
    """A row of the register.

    Parameters
    ----------
    number : str
        Such as I01.
    case, expected : str
        What goes wrong, and what must then happen.
    tests : tuple of str
        Those that hold it.
    lacking : str
        What of the case no test holds yet.
    reason : str
        Why no test can hold it here, or why it cannot happen.
    gpu : bool
        Whether part of it can only be seen on a GPU.
    """

    number: str
    case: str
    expected: str
    tests: tuple[str, ...] = ()
    lacking: str = ""
    reason: str = ""
    gpu: bool = False

    @property
    def state(self) -> str:
        """One of STATES."""
        if self.reason:
            return STATES[3]
        if not self.tests:
            return STATES[2]
        return STATES[1] if self.lacking else STATES[0]


def read_rows() -> dict[str, Row]:
    """Return all rows by their number, in the order of LETTERS."""
    rows: dict[str, Row] = {}
    for letter in LETTERS:
        path = ROWS / f"{letter}.toml"
        if path.exists():
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
            for number, facts in tables.items():
                rows[number] = Row(number, **facts | {"tests": tuple(facts.get("tests", ()))})
    return rows


def rows_of_tests(rows: dict[str, Row]) -> dict[str, list[str]]:
    """Return the numbers of the rows that each test holds."""
    held: dict[str, list[str]] = {}
    for row in rows.values():
        for test in row.tests:
            held.setdefault(test, []).append(row.number)
    return held
