"""Name the quickest test of every row, for `make quick`: the tier that a commit can wait for.

    python tests/faults/quickest.py    # tests for pytest; on standard error, what is left out

Times are those of the last `make faults`; a test that is newer counts as quick.
"""

import json
import sys
from pathlib import Path

from register import Row, read_rows

ROOT = Path(__file__).resolve().parents[2]
MOST_S = 5.0  # of a test; rows of which all tests take longer are left to the longer tiers


def quickest(rows: dict[str, Row], took: dict[str, float]) -> tuple[list[str], list[str]]:
    """Return the quickest test of each row, and the numbers of the rows that are left out.

    Parameters
    ----------
    rows : dict
        From `read_rows`.
    took : dict
        Seconds that each test took, below tests/.
    """
    chosen, left = set(), []
    for row in rows.values():
        times = [(took.get(test, 0.0), test) for test in row.tests]
        if times and min(times)[0] <= MOST_S:
            chosen.add(min(times)[1])
        elif times:
            left.append(row.number)
    return sorted(chosen), left


def main() -> int:
    """Print the tests."""
    results = Path(__file__).parent / "results" / "faults.json"
    took = json.loads(results.read_text(encoding="utf-8"))["took"] if results.exists() else {}
    tests, left = quickest(read_rows(), took)
    sys.stdout.write("\n".join(f"tests/{test}" for test in tests) + "\n")
    sys.stderr.write(f"Rows that only longer tiers hold: {', '.join(left) or 'none'}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
