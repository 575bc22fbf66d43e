"""The register of faults: which test holds which row, and what is not held yet.

`rows/LETTER.toml` has a table for each row: a short case and what is expected,
then the tests that hold it (`FOLDER/FILE.py::NAME`, below tests/), what they do
not cover yet (`lacking`), or why no test of ours can hold it (`reason`). One
with neither tests nor a reason is open. Used by tests/conftest.py, which puts
the numbers into the names of the tests, and by scripts/reliability.py.
"""

import json
import platform
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        Whether part of it can only be seen on a GPU, and was not yet.
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
        return STATES[1] if self.lacking or self.gpu else STATES[0]


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


class Gatherer:
    """Writes how the tests of each row ended, and what they measured, when pytest ends.

    Parameters
    ----------
    path : Path
        The JSON file to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun = time.monotonic()
        self._held = rows_of_tests(read_rows())
        self._rows: dict[str, dict[str, int]] = {}
        self._figures: dict[str, Any] = {}
        self._tests = {"passed": 0, "failed": 0, "skipped": 0}
        self._took: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Hear of the end of a test, or of what could not be set up."""
        test = report.nodeid.partition("[")[0].removeprefix("tests/")
        numbers = self._held.get(test, ())
        if numbers:
            self._took[test] = self._took.get(test, 0.0) + report.duration
        if report.when != "call" and report.outcome == "passed":
            return
        if numbers:
            self._tests[report.outcome] += 1
        for number in numbers:
            row = self._rows.setdefault(number, {"passed": 0, "failed": 0, "skipped": 0})
            row[report.outcome] += 1
        self._figures |= dict(report.user_properties)

    def pytest_sessionfinish(self) -> None:
        """Write it all."""
        content = {
            "tests": self._tests,
            "seconds": round(time.monotonic() - self._begun),
            "machine": f"{platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}",
            "figures": self._figures,
            "rows": {number: self._rows[number] for number in sorted(self._rows)},
            "took": {test: round(self._took[test], 2) for test in sorted(self._took)},
        }
        self._path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
