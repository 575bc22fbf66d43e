import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from napari_rwkv_seg.cli import app
from napari_rwkv_seg.images import write_labels


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return folders of two images: one agrees, of the other one of two objects is missed."""
    for name in ("found", "true"):
        (tmp_path / name).mkdir()
    labels = np.zeros((12, 20), np.uint8)
    labels[2:8, 2:8] = labels[2:8, 12:18] = 1
    half = labels.copy()
    half[:, 10:] = 0
    for name, found in (("a.tif", labels), ("b.tif", half)):
        write_labels(tmp_path / "found" / name, found, (0.5, 0.5))
        write_labels(tmp_path / "true" / name, labels, (0.5, 0.5))
    return tmp_path / "found", tmp_path / "true"


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", *(str(argument) for argument in arguments)])


def test_means_go_to_stdout_and_every_image_into_the_file(folders, tmp_path):
    result = command(*folders, "-o", tmp_path / "s.csv", "--tolerance", "1um", "--class", "cell")
    assert result.exit_code == 0, result.stderr
    titles, row, path = result.stdout.splitlines()
    assert "HD95 (µm)" in titles
    assert "Surface Dice (1 µm)" in titles
    assert row.startswith("cell   0.833 ± 0.236")
    assert path == str(tmp_path / "s.csv")
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["pair"], row["objects_found"]) for row in rows] == [("a.tif", "2"), ("b.tif", "1")]


def test_a_table_that_is_there_is_kept_unless_it_is_to_be_replaced(folders, tmp_path):
    there = tmp_path / "s.csv"
    there.write_bytes(b"mine")
    result = command(*folders, "-o", there)
    assert result.exit_code == 1
    assert "--overwrite" in result.stderr
    assert there.read_bytes() == b"mine"
    assert command(*folders, "-o", there, "--overwrite").exit_code == 0
    assert there.read_bytes() != b"mine"


def test_a_file_that_cannot_be_compared_is_named_and_the_exit_code_tells(folders):
    found, true = folders
    (found / "b.tif").write_bytes(b"")
    result = command(found, true)
    assert result.exit_code == 1
    assert "b.tif: " in result.stderr
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--tolerance", "wide"), "is no length"),
        (("--tolerance", "1px", "--spacing", "1 2 mm"), "state it in mm"),
        (("--spacing", "0 mm"), "above 0"),
        (("--axes", "TZYX"), "names 4"),
    ],
)
def test_a_wrong_option_is_a_sentence(folders, options, told):
    result = command(folders[0] / "a.tif", folders[1] / "a.tif", *options)
    assert result.exit_code == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_objects_are_counted_by_their_numbers(folders, tmp_path):
    touching = np.array([[1, 1, 2, 2]], np.uint8)
    write_labels(tmp_path / "t.tif", touching)
    result = command(tmp_path / "t.tif", tmp_path / "t.tif", "--labels", "objects")
    assert result.stdout.splitlines()[1].split()[-2:] == ["2", "2"]
