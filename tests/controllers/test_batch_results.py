"""What lies beside labels: never another's, and never of other labels."""

import errno
import json
import os
from pathlib import Path

import pytest

from napari_rwkv_seg.controllers.batch import Batch, BatchChoices
from napari_rwkv_seg.controllers.batch_rows import Table
from napari_rwkv_seg.zoo.card import write_card
from napari_rwkv_seg.zoo.store import find_model

from .batching import run, states, visible, write_image, write_tiny_model

OTHER_LABELS = {"wishes": {"threshold": 0.01}, "overwrite": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_image(tmp_path / "images" / "x.tif")
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def segment(model: Path, out: Path, **changes: object) -> Table:
    choices = {"model": str(model), "device": "cpu", "output": "objects"} | changes
    return run(Batch([out.parent / "images"], out, BatchChoices(**choices)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["x_objects.csv", "x_overlay.png", "x_labels.json"])
def test_a_file_of_others_is_not_replaced_unasked(model: Path, out: Path, name: str) -> None:
    (out / name).write_text('{"mine": 1}')
    row = segment(model, out, measure=True, overlay=True).rows[0]
    assert row.state == "failed"
    assert name in row.note
    assert "--overwrite" in row.note
    assert (out / name).read_text() == '{"mine": 1}'
    assert visible(out) == sorted(["batch.csv", name])

    assert segment(model, out, measure=True, overlay=True, overwrite=True).count("done") == 1
    assert (out / name).read_bytes() != b'{"mine": 1}'


def test_what_is_not_to_be_written_may_lie_there(model: Path, out: Path) -> None:
    (out / "x_objects.csv").write_text("mine")
    assert segment(model, out).count("done") == 1
    assert segment(model, out, **OTHER_LABELS).count("done") == 1
    assert (out / "x_objects.csv").read_text() == "mine"


def test_measurements_of_labels_that_were_deleted_are_made_again(model: Path, out: Path) -> None:
    segment(model, out, measure=True)
    (out / "x_labels.tif").unlink()
    assert states(segment(model, out, measure=True)) == {"x.tif": "done"}


def test_each_format_has_measurements_and_a_picture_of_its_own(model: Path, out: Path) -> None:
    segment(model, out, measure=True, overlay=True)
    before = {name: (out / name).read_bytes() for name in ("x_objects.csv", "x_overlay.png")}
    wishes = {"threshold": 0.01}
    segment(model, out, measure=True, overlay=True, format="png", wishes=wishes)
    assert {name: (out / name).read_bytes() for name in before} == before
    assert {name for name in visible(out) if ".png" in name} == {
        *("x_overlay.png", "x_labels.png", "x_labels.png.json"),
        *("x_labels.png_objects.csv", "x_labels.png_overlay.png"),
    }
    assert segment(model, out, measure=True, overlay=True).count("skipped") == 1


def test_pictures_of_any_format_are_not_taken_for_images(model: Path, out: Path) -> None:
    here = out.parent / "images"
    choices = BatchChoices(model=str(model), device="cpu", overlay=True)
    run(Batch([here], here, choices))
    other = BatchChoices(model=str(model), device="cpu", overlay=True, format="ome-zarr")
    assert states(run(Batch([here], here, other))) == {"x.tif": "done"}
    assert states(run(Batch([here], here, choices))) == {"x.tif": "skipped"}


def test_measurements_and_a_picture_of_old_labels_do_not_stay_beside_new_ones(
    model: Path, out: Path
) -> None:
    segment(model, out, measure=True, overlay=True)
    assert "summary.csv" in visible(out)
    segment(model, out, **OTHER_LABELS)
    assert visible(out) == ["batch.csv", "x_labels.json", "x_labels.tif"]


def test_what_was_changed_since_stays(model: Path, out: Path) -> None:
    segment(model, out, measure=True)
    (out / "x_objects.csv").write_text("mine")
    (out / "summary.csv").write_text("mine")
    segment(model, out, **OTHER_LABELS)
    assert (out / "x_objects.csv").read_text() == "mine"
    assert (out / "summary.csv").read_text() == "mine"


def test_of_the_same_labels_what_was_measured_before_is_kept(model: Path, out: Path) -> None:
    segment(model, out, measure=True)
    before = (out / "x_objects.csv").read_bytes()
    assert states(segment(model, out, overlay=True)) == {"x.tif": "done"}
    assert (out / "x_objects.csv").read_bytes() == before
    files = json.loads((out / "x_labels.json").read_text())["batch"]["files"]
    assert set(files) == {"x_labels.tif", "x_overlay.png", "x_objects.csv"}
    assert "summary.csv" in visible(out)
    assert states(segment(model, out, measure=True, overlay=True)) == {"x.tif": "skipped"}


@pytest.mark.parametrize("change", ["image", "version"])
def test_of_another_image_or_version_nothing_is_kept(model: Path, out: Path, change: str) -> None:
    segment(model, out, measure=True)
    if change == "image":
        write_image(out.parent / "images" / "x.tif", seed=1)
    else:
        record = json.loads((out / "x_labels.json").read_text())
        (out / "x_labels.json").write_text(json.dumps(record | {"version": "0.0.1"}))
    segment(model, out, overwrite=True)
    assert visible(out) == ["batch.csv", "x_labels.json", "x_labels.tif"]


@pytest.mark.parametrize("name", ["x_objects.csv", "x_labels.tif", "x_overlay.png"])
@pytest.mark.parametrize("changes", [{"measure": True, "overlay": True}, {}], ids=["all", "labels"])
def test_a_result_of_which_a_file_is_held_by_another_program_stays_as_it_was(
    model: Path, out: Path, monkeypatch: pytest.MonkeyPatch, name: str, changes: dict[str, object]
) -> None:
    """On Windows what is open in another program can be neither replaced nor renamed."""
    segment(model, out, measure=True, overlay=True)
    before = {path: path.read_bytes() for path in out.glob("x_*")}
    replace = Path.replace

    def held(self: Path, target: Path) -> Path:
        if out / name in (self, target):
            raise PermissionError(errno.EACCES, "It is used by another process", str(self))
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", held)
        row = segment(model, out, **OTHER_LABELS, **changes).rows[0]
    assert row.state == "failed"
    assert f"{name}': It is used by another process." in row.note
    assert row.note.endswith("close the file in other programs.")
    assert {path: path.read_bytes() for path in out.glob("x_*")} == before
    assert states(segment(model, out, measure=True, overlay=True)) == {"x.tif": "skipped"}


def test_a_folder_in_the_place_of_a_file_is_not_replaced(model: Path, out: Path) -> None:
    (out / "x_labels.tif").mkdir()
    (out / "x_labels.tif" / "mine").write_text("mine")
    row = segment(model, out, overwrite=True).rows[0]
    assert row.state == "failed"
    assert "x_labels.tif" in row.note
    assert visible(out) == ["batch.csv", "x_labels.tif", "x_labels.tif/mine"]


def test_results_are_made_in_a_folder_that_others_may_read_too(
    model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows what is moved out of a private folder stays private."""
    mkdir, modes = os.mkdir, set()

    def watched(path: Path, mode: int = 0o777, **others: int) -> None:
        modes.add(mode)
        mkdir(path, mode, **others)

    monkeypatch.setattr(os, "mkdir", watched)
    assert segment(model, out).count("done") == 1
    assert modes == {0o777}


def test_a_record_of_before_there_were_views_is_one_of_one_view(model: Path, out: Path) -> None:
    image = write_image(out.parent / "images" / "a.tif")
    batch = Batch([image], out, BatchChoices(model=str(model), device="cpu"))
    run(batch)
    path = out / "a_labels.json"
    record = json.loads(path.read_text())
    del record["batch"]["asked"]["views"]
    path.write_text(json.dumps(record))

    assert states(run(batch)) == {"a.tif": "skipped"}


def test_a_model_that_looks_once_whatever_is_wished_makes_the_same_result(
    out: Path, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / "own")
    card = find_model(model).card.model_copy(update={"orientation": "fixed"})
    write_card(model, card)
    image = write_image(out.parent / "images" / "a.tif")
    for views, state in ((1, "done"), (8, "skipped")):
        choices = BatchChoices(model=str(model), device="cpu", views=views)
        assert states(run(Batch([image], out, choices))) == {"a.tif": state}


def test_labels_of_mirrored_tiles_are_not_those_of_a_model_to_which_sides_matter(
    out: Path, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / "own")
    image = write_image(out.parent / "images" / "a.tif")
    choices = BatchChoices(model=str(model), device="cpu", views=4)
    run(Batch([image], out, choices))
    card = find_model(model).card.model_copy(update={"orientation": "fixed"})
    write_card(model, card)

    [row] = run(Batch([image], out, choices)).rows
    assert row.state == "failed"
    assert "another choice of views" in row.note
