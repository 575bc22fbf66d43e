"""The `journal` commands: list, restore to a file, discard; what can go wrong is a sentence."""

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from napari_rwkv_seg.cli import app
from napari_rwkv_seg.controllers.journal_folders import list_entries, make_layer_folder
from napari_rwkv_seg.controllers.journal_process import PROCESS_FILE
from napari_rwkv_seg.controllers.journal_snapshot import Facts, pack, write_snapshot

LABELS = np.arange(12, dtype=np.int32).reshape(3, 4)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["journal", *arguments])


def keep(folder: Path, labels: np.ndarray = LABELS, **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    facts = Facts("cells", labels.shape, labels.dtype.str, saved_at=1e9, edits=183, **more)
    write_snapshot(folder / "00000001.labels", facts, {(0,) * labels.ndim: pack(labels)})


@pytest.fixture
def home(user_data: Path) -> Path:
    """Return the folder of a journal with one lost layer, `4711-1-1`."""
    home = user_data / "journal"
    keep(home / "4711-1" / "1", place={"scale": [0.5, 0.25], "units": ["micrometer"] * 2})
    about = {"pid": 1, "start": "some other time", "host": platform.node()}
    (home / "4711-1" / PROCESS_FILE).write_text(json.dumps(about))
    return home


def test_an_empty_journal_says_so(user_data):
    result = run("list")

    assert result.exit_code == 0
    assert result.stdout == ""
    assert "No labels are kept" in result.stderr


def test_every_layer_is_listed_with_what_became_of_it(home):
    keep(make_layer_folder(home))
    keep(home / "4711-1" / "2")
    (home / "4711-1" / "2" / "ended").touch()

    lines = run("list").stdout.splitlines()

    assert len(lines) == 3
    [lost] = [line for line in lines if line.startswith("4711-1-1 ")]
    assert "2001-09" in lost
    assert "'cells'  183 edits  3 × 4  lost" in lost
    assert sorted(line.split()[-1] for line in lines) == ["closed", "lost", "open"]


@pytest.mark.parametrize("name", ["out.tif", "out.npy"])
def test_restore_writes_the_labels_and_keeps_the_copy(home, tmp_path, name):
    out = tmp_path / name

    result = run("restore", "4711-1-1", "-o", str(out))

    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(out)
    back = np.load(out, allow_pickle=False) if name.endswith("npy") else tifffile.imread(out)
    np.testing.assert_array_equal(back, LABELS)
    assert len(list_entries(home)) == 1
    if name.endswith("tif"):
        with tifffile.TiffFile(out) as file:
            assert 'PhysicalSizeX="0.25"' in (file.ome_metadata or "")


def test_labels_that_a_tiff_cannot_hold_are_written_as_npy(home, tmp_path):
    keep(home / "4711-1" / "1", LABELS - 5)

    refused = run("restore", "4711-1-1", "-o", str(tmp_path / "out.tif"))
    taken = run("restore", "4711-1-1", "-o", str(tmp_path / "out.npy"))

    assert refused.exit_code == 1
    assert ".npy" in refused.stderr
    assert taken.exit_code == 0
    assert np.load(tmp_path / "out.npy", allow_pickle=False).min() == -5


@pytest.mark.parametrize("name", ["out.png", "there.tif", "nowhere/out.tif"])
def test_restore_refuses_other_formats_and_replaces_no_file(home, tmp_path, name):
    (tmp_path / "there.tif").write_text("mine")

    result = run("restore", "4711-1-1", "-o", str(tmp_path / name))

    assert result.exit_code == 1
    assert str(tmp_path / name) in result.stderr
    assert (tmp_path / "there.tif").read_text() == "mine"


def test_restore_says_when_the_newest_copy_was_damaged(home, tmp_path):
    (home / "4711-1" / "1" / "00000002.labels").write_bytes(b"RWKVLAB1 torn")

    result = run("restore", "4711-1-1", "-o", str(tmp_path / "out.tif"))

    assert result.exit_code == 0
    assert "damaged" in result.stderr


def test_discard_deletes_and_an_unknown_id_is_a_sentence(home):
    assert run("discard", "4711-1-1").exit_code == 0
    assert list_entries(home) == []

    for command in (["discard", "4711-1-1"], ["restore", "4711-1-1", "-o", "out.tif"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "journal list" in result.stderr


def test_labels_that_are_being_edited_are_not_discarded(home):
    keep(make_layer_folder(home))
    [open_one] = [entry for entry in list_entries(home) if entry.is_alive]

    result = run("discard", open_one.id)

    assert result.exit_code == 1
    assert "close that first" in result.stderr
    assert len(list_entries(home)) == 2
