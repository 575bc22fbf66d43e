"""The register is complete, names tests that are there, and the document says what it says."""

import ast
import functools
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTER = sys.modules["fault_register"]  # loaded by tests/conftest.py
ROWS = REGISTER.read_rows()
COUNTS = {"I": 34, "L": 18, "M": 29, "P": 15, "T": 25, "D": 12, "C": 21, "G": 11, "S": 14, "N": 12}


@functools.cache
def functions_of(file: str) -> set[str]:
    """Return the names of the test functions of a file below tests/."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_number_is_there_once_and_in_order():
    wanted = [f"{letter}{n:02}" for letter, count in COUNTS.items() for n in range(1, count + 1)]
    assert list(ROWS) == wanted


@pytest.mark.shared
def test_every_row_of_the_matrix_is_in_the_register(shared):
    text = (shared / "faults.md").read_text(encoding="utf-8")
    matrix = re.findall(r"^\| ([ILMPTDCGSN]\d\d) \|", text, re.MULTILINE)
    assert sorted(matrix) == sorted(ROWS)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_names_tests_that_are_there_or_says_why_not(row):
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name in functions_of(file), test
    assert row.case
    assert row.expected
    assert not (row.tests and row.reason)
    assert row.tests or row.reason or row.lacking, "say what is missing"
    assert row.state in REGISTER.STATES


def test_the_number_of_a_row_is_in_the_name_of_its_test():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider",
         "tests/test_files.py", "tests/inference/test_tiles.py"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert "test_files.py::test_a_missing_folder_is_a_sentence[D02]" in done.stdout
    assert "test_weights_of_all_tiles_sum_to_one_in_every_pixel[" in done.stdout


def test_the_quickest_test_of_each_row_is_chosen_and_slow_rows_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "register", REGISTER)
    path = Path(__file__).with_name("quickest.py")
    spec = importlib.util.spec_from_file_location("quickest_for_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = {
        "A01": REGISTER.Row("A01", "", "", ("slow", "quick")),
        "A02": REGISTER.Row("A02", "", "", ("quick", "new")),
        "A03": REGISTER.Row("A03", "", "", ("slow",)),
        "A04": REGISTER.Row("A04", "", "", reason="cannot be"),
    }

    chosen, left = module.quickest(rows, {"slow": module.MOST_S + 0.1, "quick": 0.5})

    assert (chosen, left) == (["new", "quick"], ["A03"])


def test_the_tests_of_make_quick_are_there_and_hold_nearly_all_rows():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "faults" / "quickest.py")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    tests = [line.removeprefix("tests/") for line in done.stdout.split()]
    held = {number for test in tests for number in REGISTER.rows_of_tests(ROWS)[test]}
    left = set(re.findall(r"[A-Z]\d\d", done.stderr))

    assert held | left == {row.number for row in ROWS.values() if row.tests}
    assert len(left) < 10


def test_the_document_says_what_the_register_says():
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reliability.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
