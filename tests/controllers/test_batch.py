"""A batch: every image has a row, what is done is kept, and nothing half-made is left."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_rwkv_seg import segment_batch
from napari_rwkv_seg.controllers import batch_results, batch_rows, batch_work
from napari_rwkv_seg.controllers.batch import Batch, BatchChoices, batch_steps
from napari_rwkv_seg.controllers.batch_choices import ENDINGS
from napari_rwkv_seg.controllers.batch_items import BatchItem
from napari_rwkv_seg.controllers.batch_results import run_folder_name
from napari_rwkv_seg.controllers.batch_rows import Row, Table, TableFiles, write_csv
from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError
from napari_rwkv_seg.images import FORMATS
from napari_rwkv_seg.images.readers import ImageFile
from napari_rwkv_seg.inference.steps import drained

from .batching import (
    row_of,
    run,
    run_and_hear,
    states,
    visible,
    write_image,
    write_images,
    write_tiny_model,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path / "images", 3)
    return tmp_path / "images"


def batch(weights: Path, folder: Path, **changes: object) -> Batch:
    choices = {"model": str(weights), "device": "cpu"} | changes
    return Batch([folder], folder.parent / "out", BatchChoices(**choices))


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_of_twelve_images_of_which_three_are_broken_nine_have_results(
    model: Path, tmp_path: Path
) -> None:
    images = write_images(tmp_path / "images", 12, broken=3)
    table = run(batch(model, tmp_path / "images", measure=True))
    assert table.sentence() == "9 done, 0 skipped, 3 failed of 12 images."
    failed = [row for row in table.rows if row.state == "failed"]
    assert [row.image for row in failed] == [path.name for path in images[:3]]
    assert all(row.note.endswith(".") and row.image in row.note for row in failed)
    assert len(list((tmp_path / "out").glob("*_labels.tif"))) == 9


def test_a_batch_that_is_run_again_does_only_what_is_missing(model: Path, folder: Path) -> None:
    run(batch(model, folder, measure=True))
    out = folder.parent / "out"
    before = {path: path.stat().st_mtime_ns for path in out.glob("*_labels.*")}
    (out / "001_labels.tif").unlink()
    (out / "002_objects.csv").unlink()
    table = run(batch(model, folder, measure=True))
    assert states(table) == {"000.tif": "skipped", "001.tif": "done", "002.tif": "done"}
    after = {path: path.stat().st_mtime_ns for path in out.glob("*_labels.*")}
    assert before.keys() == after.keys()
    kept = {path.name for path in before if before[path] == after[path]}
    assert kept == {"000_labels.tif", "000_labels.json"}


def test_what_is_all_done_loads_no_torch(model: Path, folder: Path) -> None:
    run(batch(model, folder))
    code = f"""
import sys
from napari_rwkv_seg import segment_batch
table = segment_batch({str(folder)!r}, {str(folder.parent / "out")!r}, model={str(model)!r})
assert table.count("skipped") == 3, table
sys.exit("torch" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"wishes": {"threshold": 0.3}}, "another choice of threshold"),
        ({"output": "objects"}, "another choice of output"),
        ({"channel": 0}, "another choice of channel"),
        ({"tile_size": 128}, "another choice of tile size"),
    ],
)
def test_a_result_of_other_settings_is_kept_and_said(
    model: Path, folder: Path, change: dict[str, object], named: str
) -> None:
    run(batch(model, folder))
    labels = folder.parent / "out" / "000_labels.tif"
    before = labels.read_bytes()
    row = run(batch(model, folder, **change)).rows[0]
    assert row.state == "failed"
    assert named in row.note
    assert "--overwrite" in row.note
    assert labels.read_bytes() == before


def test_a_result_of_another_model_is_kept_and_said(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    run(batch(model, folder))
    other = write_tiny_model(tmp_path / "other", seed=7)
    assert "made with another model" in run(batch(other, folder)).rows[0].note


def test_a_result_of_another_image_of_the_same_name_is_kept_and_said(
    model: Path, folder: Path
) -> None:
    run(batch(model, folder))
    write_image(folder / "001.tif", seed=99)
    table = run(batch(model, folder))
    assert states(table) == {"000.tif": "skipped", "001.tif": "failed", "002.tif": "skipped"}
    assert "made from another image of this name" in table.rows[1].note


def test_labels_that_were_corrected_by_hand_are_kept_and_said(model: Path, folder: Path) -> None:
    run(batch(model, folder))
    labels = folder.parent / "out" / "001_labels.tif"
    labels.write_bytes(b"by hand")
    table = run(batch(model, folder))
    assert "was changed since it was made" in table.rows[1].note
    assert labels.read_bytes() == b"by hand"


def test_what_is_there_is_replaced_when_that_is_asked_for(model: Path, folder: Path) -> None:
    run(batch(model, folder))
    labels = folder.parent / "out" / "001_labels.tif"
    whole = tifffile.imread(labels)
    labels.write_bytes(b"by hand")
    table = run(batch(model, folder, overwrite=True))
    assert table.count("done") == 3
    np.testing.assert_array_equal(tifffile.imread(labels), whole)


def test_equal_names_in_several_folders_do_not_collide(model: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_image(images / "a" / "x.tif", 1)
    write_image(images / "b" / "x.tif", 2)
    table = run(Batch([f"{images}/**/*.tif"], tmp_path / "out", batch(model, images).choices))
    assert [row.labels for row in table.rows] == ["a/x_labels.tif", "b/x_labels.tif"]
    assert all((tmp_path / "out" / row.labels).is_file() for row in table.rows)


def test_results_may_lie_beside_their_images_and_are_not_images_themselves(
    model: Path, folder: Path
) -> None:
    here = Batch([folder], folder, batch(model, folder, overlay=True).choices)
    assert run(here).count("done") == 3
    assert states(run(here)) == {f"00{n}.tif": "skipped" for n in range(3)}


def test_labels_of_ours_in_another_format_are_not_taken_for_images(
    model: Path, folder: Path
) -> None:
    run(Batch([folder], folder, batch(model, folder).choices))
    (folder / "000_labels.tif").rename(folder / "mine.tif")
    table = run(Batch([folder], folder / "out", batch(model, folder, format="png").choices))
    assert row_of(table, "mine.tif").state == "skipped"
    assert "holds labels" in row_of(table, "mine.tif").note


def test_the_table_on_the_disk_says_what_the_rows_say(model: Path, folder: Path) -> None:
    (folder / "=1+1.tif").write_bytes(b"")
    table = run(batch(model, folder, measure=True))
    written = rows_in(folder.parent / "out" / "batch.csv")
    assert [row["state"] for row in written] == [row.state for row in table.rows]
    assert [row["labels"] for row in written] == [row.labels for row in table.rows]
    assert written[-1]["image"] == "'=1+1.tif"
    assert float(written[0]["seconds"]) > 0


def test_the_summary_has_every_class_of_every_image_also_of_what_was_there(
    model: Path, folder: Path
) -> None:
    run(batch(model, folder, measure=True))
    first = rows_in(folder.parent / "out" / "summary.csv")
    run(batch(model, folder, measure=True))
    assert rows_in(folder.parent / "out" / "summary.csv") == first
    assert [(row["image"], row["class"]) for row in first] == [
        (f"00{n}.tif", "class 1") for n in range(3)
    ]
    labels = tifffile.imread(folder.parent / "out" / "001_labels.tif")
    assert int(first[1]["pixels"]) == np.count_nonzero(labels)


def test_a_part_of_a_batch_has_a_table_of_its_own(model: Path, folder: Path) -> None:
    whole = batch(model, folder)
    part = Batch(whole.images, whole.out, whole.choices, part="2/2")
    assert states(run(part)) == {"001.tif": "done"}
    assert rows_in(whole.out / "batch_part_2_of_2.csv")[0]["image"] == "001.tif"
    assert states(run(whole))["001.tif"] == "skipped"


def test_closing_a_batch_leaves_whole_results_and_nothing_else(model: Path, folder: Path) -> None:
    steps = batch_steps(batch(model, folder))
    for news in steps:
        if any(row.image == "001.tif" and row.state == "running" for row in news.rows):
            break
    next(steps)  # within the second image
    steps.close()
    out = folder.parent / "out"
    assert visible(out) == ["000_labels.json", "000_labels.tif", "batch.csv"]
    assert [row["state"] for row in rows_in(out / "batch.csv")] == ["done", "waiting", "waiting"]


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_table_that_is_open_in_a_spreadsheet_does_not_end_the_batch(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_closed: bool
) -> None:
    """On Windows it cannot be replaced then."""
    table, tries = folder.parent / "out" / "batch.csv", []
    replace = Path.replace

    def held(self: Path, target: Path) -> Path:
        if target == table:
            tries.append(target)
            if not (is_closed and len(list(table.parent.glob("*_labels.tif"))) == 3):
                raise PermissionError(errno.EACCES, "It is used by another process", str(self))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", held)
    monkeypatch.setattr(batch_rows, "_LEAST_S", 0.0)
    monkeypatch.setattr(batch_rows, "_SHARE", 0.0)
    notes: list[str] = []
    steps = batch_steps(batch(model, folder))
    if is_closed:
        done = drained(steps, lambda news: notes.extend(news.notes))
        assert [row["state"] for row in rows_in(table)] == ["done"] * 3
        assert done.count("done") == 3
    else:
        with pytest.raises(OutputError, match=r"batch\.csv"):
            drained(steps, lambda news: notes.extend(news.notes))
        assert len(list(table.parent.glob("*_labels.tif"))) == 3
    assert len(tries) == 2  # once while it went on, and at the end
    [note] = notes
    assert "batch.csv" in note
    assert "close the file in other programs. The batch goes on" in note


def test_a_table_that_could_not_be_written_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(batch_rows.time, "monotonic", lambda: now[0])
    tables, table = TableFiles(tmp_path), Table([Row(0, "a.tif")])
    (tmp_path / "batch.csv").mkdir()  # so it cannot be written
    assert len(tables.write_soon(table)) == 1
    now[0] += 31
    assert tables.write_soon(table) == ()  # that is known already
    (tmp_path / "batch.csv").rmdir()
    now[0] += 29
    tables.write_soon(table)
    assert not (tmp_path / "batch.csv").exists()
    now[0] += 2
    tables.write_soon(table)
    assert (tmp_path / "batch.csv").is_file()


@pytest.mark.parametrize("moment", ["put_in_place", "write_labels"])
@pytest.mark.skipif(os.name == "nt", reason="kills with a signal")
def test_a_batch_that_is_killed_goes_on_with_the_image_that_ran(
    model: Path, folder: Path, moment: str
) -> None:
    out = folder.parent / "out"
    code = f"""
import os, signal
from napari_rwkv_seg import segment_batch
from napari_rwkv_seg.controllers import batch_results, batch_rows, batch_work
real = batch_work.{moment}
count = []
def kill_in_the_second(*arguments):
    count.append(1)
    if len(count) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments)
batch_work.{moment} = kill_in_the_second
segment_batch({str(folder)!r}, {str(out)!r}, model={str(model)!r}, device="cpu")
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=folder)
    assert done.returncode == -signal.SIGKILL
    assert len(list(out.glob(".batch.*"))) == 1
    table = run(batch(model, folder))
    assert states(table) == {"000.tif": "skipped", "001.tif": "done", "002.tif": "done"}
    assert list(out.glob(".batch.*")) == []


def test_what_runs_elsewhere_is_not_swept_away(model: Path, folder: Path) -> None:
    out = folder.parent / "out"
    alive = out / run_folder_name("x")
    alive.mkdir(parents=True)
    run(batch(model, folder))
    assert alive.is_dir()


@pytest.mark.parametrize(
    ("changes", "ending"),
    [({"tile_size": 96}, "made with another choice of tile size"), ({}, "by the same choices")],
)
def test_of_two_runs_at_once_the_second_replaces_nothing(
    model: Path, folder: Path, changes: dict[str, object], ending: str
) -> None:
    late = batch_steps(batch(model, folder, **changes))
    for news in late:
        if any(row.state == "running" for row in news.rows):
            break
    next(late)  # it has looked, and seen no result
    run(batch(model, folder))
    out = folder.parent / "out"
    before = {path: path.read_bytes() for path in out.glob("*_labels.*")}
    rows = drained(late).rows
    assert [row.state for row in rows] == ["failed" if changes else "skipped"] * 3
    assert all(ending in row.note for row in rows)
    assert {path: path.read_bytes() for path in out.glob("*_labels.*")} == before


def test_results_wait_for_a_run_that_puts_its_own_in_place(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_results, "_LOCK_WAIT_S", 0.1)
    out = folder.parent / "out"
    out.mkdir()
    with batch_results.placing(out):
        table = run(batch(model, folder))
    assert set(states(table).values()) == {"failed"}
    assert all("Another run has kept" in row.note for row in table.rows)
    assert set(states(run(batch(model, folder))).values()) == {"done"}


def test_a_record_without_its_labels_is_no_result(model: Path, folder: Path) -> None:
    run(batch(model, folder))
    (folder.parent / "out" / "000_labels.tif").unlink()
    assert states(run(batch(model, folder)))["000.tif"] == "done"


def test_a_record_that_is_damaged_makes_no_result_wrong(model: Path, folder: Path) -> None:
    run(batch(model, folder))
    (folder.parent / "out" / "000_labels.json").write_text("{")
    assert "nothing says how it was made" in run(batch(model, folder)).rows[0].note


def test_an_image_that_is_in_no_file_is_known_again_by_its_pixels(
    model: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (37, 53), dtype=np.uint8)

    def one(pixels: np.ndarray) -> Batch:
        item = BatchItem(
            Path("layer"), "layer", lambda: ImageFile(pixels, "YX", None, Path("layer"))
        )
        return Batch([item], tmp_path, BatchChoices(model=str(model), device="cpu"))

    assert states(run(one(pixels))) == {"layer": "done"}
    assert states(run(one(pixels.copy()))) == {"layer": "skipped"}
    assert states(run(one(pixels + 1))) == {"layer": "failed"}


def test_first_of_all_every_row_is_told(model: Path, folder: Path) -> None:
    _, heard = run_and_hear(batch(model, folder))
    assert [row.state for row in heard[0].rows] == ["waiting"] * 3
    of_first = [row.state for news in heard[1:] for row in news.rows if row.number == 0]
    assert of_first == ["running", "done"]
    assert any(news.step is not None and news.step.total > 0 for news in heard)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"wishes": {"threshold": 2.0}}, SettingsError),
        ({"tile_size": 9}, SettingsError),
        ({"channel": -1}, SettingsError),
        ({"model": "no such model"}, ModelError),
    ],
)
def test_a_wrong_choice_is_an_error_before_any_work(
    model: Path, folder: Path, change: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(batch(model, folder, **change))
    assert not (folder.parent / "out").exists()


def test_a_format_that_is_not_there_is_an_error_that_names_those_that_are(model: Path) -> None:
    with pytest.raises(SettingsError, match="ome-tiff"):
        BatchChoices(model=str(model), format="bmp")


def test_numbers_of_numpy_are_choices_as_plain_ones_are(model: Path, folder: Path) -> None:
    numbers = {"channel": np.int64(0), "tile_size": np.uint16(64)}
    wishes = {"threshold": np.float32(0.5), "smallest_object": np.int64(5)}
    assert run(batch(model, folder, wishes=wishes, **numbers)).count("done") == 3
    plain = {"threshold": 0.5, "smallest_object": 5}
    again = run(batch(model, folder, wishes=plain, channel=0, tile_size=64))
    assert again.count("skipped") == 3


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "dicom-seg"])
def test_a_result_in_any_format_is_known_again_and_can_be_replaced(
    model: Path, folder: Path, form: str
) -> None:
    one = batch(model, folder, format=form)
    assert run(one).count("done") == 3
    assert run(one).count("skipped") == 3
    assert run(batch(model, folder, format=form, overwrite=True)).count("done") == 3
    assert (folder.parent / "out" / f"000_labels{ENDINGS[form]}").exists()
    assert list((folder.parent / "out").glob(".*")) == []


def test_every_format_has_an_ending() -> None:
    assert set(FORMATS) <= set(ENDINGS)


def test_a_folder_that_cannot_be_written_is_an_error(model: Path, folder: Path) -> None:
    (folder.parent / "out").write_bytes(b"")
    with pytest.raises(OutputError, match="Cannot write"):
        run(batch(model, folder))


def test_a_mishap_of_ours_fails_one_image_and_tells_its_place(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(batch_work, "write_labels", fail)
    table = run(batch(model, folder))
    assert table.count("failed") == 3
    assert "batch_work.py" in table.rows[0].note


def test_the_python_call_tells_news_and_returns_the_table(model: Path, folder: Path) -> None:
    heard: list[object] = []
    out = folder.parent / "out"
    table = segment_batch(
        folder, out, model=model, device="cpu", output="objects", progress=heard.append
    )
    assert table.count("done") == 3
    assert len(heard) > 3
    record = json.loads((out / "000_labels.json").read_text())
    assert record["settings"]["output"] == "objects"


def test_cells_that_a_spreadsheet_would_run_are_made_plain(tmp_path: Path) -> None:
    texts = ["=cmd()", "+1", "-1", "@x", "\tx", "a=b", "ü"]
    numbers = [-1.5, float("nan"), None, 3]
    write_csv(tmp_path / "x.csv", ["a"], [[text] for text in [*texts, *numbers]])
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        cells = [row[0] if row else "" for row in csv.reader(file)][1:]
    assert cells == ["'=cmd()", "'+1", "'-1", "'@x", "'\tx", "a=b", "ü", "-1.5", "", "", "3"]
