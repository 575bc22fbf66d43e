"""What a batch's window says and does, without a window."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_rwkv_seg.cli import app
from napari_rwkv_seg.controllers import batch_control
from napari_rwkv_seg.controllers.batch_control import BatchController, BatchJob, BatchOutcome
from napari_rwkv_seg.errors import SettingsError

from .batching import write_images, write_tiny_model


@pytest.fixture
def controller(tmp_path: Path) -> BatchController:
    """Return a controller of three images, one of them broken."""
    model = write_tiny_model(tmp_path / "tiny")
    write_images(tmp_path / "images", 3, broken=1)
    controller = BatchController()
    controller.settings.choose(model=str(model), device="cpu", threshold=0.4)
    controller.choose(folder=str(tmp_path / "images"), out=str(tmp_path / "out"))
    return controller


@pytest.fixture
def read_by_shlex(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands be joined as on Linux, since `shlex` reads no others."""
    monkeypatch.setattr(batch_control, "joined", shlex.join)


def drain(controller: BatchController, job: BatchJob, stop_after: int = -1) -> BatchOutcome:
    """Run a job as a worker and a window do together; stop it after some images, if wanted."""
    steps = controller.steps(job)
    while True:
        try:
            controller.hear(job, next(steps))
        except StopIteration as end:
            controller.finish(job, end.value)
            outcome: BatchOutcome = end.value
            return outcome
        if sum(row.has_ended for row in controller.table.rows) == stop_after:
            controller.stop()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    controller = BatchController()
    assert "folder of images" in controller.problem()
    controller.choose(folder=str(tmp_path))
    assert "folder for the results" in controller.problem()
    controller.choose(source="files", out="x")
    assert "image files" in controller.problem()
    controller.choose(source="layers")
    assert "image layer" in controller.problem()
    assert controller.problem(layers=1) == ""
    with pytest.raises(SettingsError, match="image layer"):
        controller.begin()


def test_a_run_tells_rows_progress_and_its_end(controller: BatchController) -> None:
    heard: list[str] = []
    for name in ("started", "rows_changed", "progressed", "ended"):
        getattr(controller, name).connect(lambda *_, name=name: heard.append(name))
    outcome = drain(controller, controller.begin())
    assert [row.state for row in controller.table.rows] == ["failed", "done", "done"]
    assert outcome.table is not None
    assert heard[0] == "started"
    assert heard[-1] == "ended"
    assert "progressed" in heard
    assert controller.running is None
    assert not controller.can_continue


def test_a_folder_may_be_named_with_the_signs_of_patterns(
    controller: BatchController, tmp_path: Path
) -> None:
    (tmp_path / "images").rename(tmp_path / "plate [1]")
    controller.choose(folder=str(tmp_path / "plate [1]"), pattern="*.tif")
    outcome = drain(controller, controller.begin())
    assert outcome.sentence == ""
    assert [row.image for row in controller.table.rows] == ["000.tif", "001.tif", "002.tif"]


def test_a_run_that_is_cancelled_can_be_continued(controller: BatchController) -> None:
    outcome = drain(controller, controller.begin(), stop_after=2)
    assert outcome.table is None
    assert outcome.sentence == ""
    assert [row.state for row in controller.table.rows] == ["failed", "done", "waiting"]
    assert controller.can_continue
    drain(controller, controller.begin())
    assert [row.state for row in controller.table.rows] == ["failed", "skipped", "done"]


def test_a_second_run_beside_the_first_is_refused(controller: BatchController) -> None:
    controller.begin()
    with pytest.raises(SettingsError, match="is running"):
        controller.begin()


def test_an_error_of_the_whole_batch_is_one_sentence(controller: BatchController) -> None:
    controller.choose(pattern="*.jpg")
    outcome = drain(controller, controller.begin())
    assert "No file fits the pattern" in outcome.sentence
    assert controller.table.rows == []


@pytest.mark.usefixtures("read_by_shlex")
def test_the_command_that_is_copied_does_the_same(
    controller: BatchController, tmp_path: Path
) -> None:
    drain(controller, controller.begin())
    program, *arguments = shlex.split(controller.command())
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert program == "napari-rwkv-seg"
    assert "0 done, 2 skipped, 1 failed of 3 images." in result.stderr


def test_a_command_is_joined_for_the_terminal_of_this_system(
    controller: BatchController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_control, "joined", lambda words: f"joined {words[1]}")
    assert controller.command() == "joined segment"


@pytest.mark.usefixtures("read_by_shlex")
def test_a_pattern_is_part_of_the_command(controller: BatchController) -> None:
    controller.choose(pattern="**/*.tif", overlay=True)
    words = shlex.split(controller.command())
    assert words[2].endswith("images/**/*.tif")
    assert {"--overlay", "--measure"} <= set(words)


@pytest.mark.usefixtures("read_by_shlex")
def test_axes_are_told_to_every_image_and_are_part_of_the_command(
    controller: BatchController,
) -> None:
    assert "--axes" not in controller.command()
    controller.choose(axes="CYX")
    assert controller.begin().batch.choices.axes == "CYX"
    words = shlex.split(controller.command())
    assert words[words.index("--axes") + 1] == "CYX"


def test_layers_have_no_command(controller: BatchController) -> None:
    controller.choose(source="layers")
    assert controller.command() == ""


def test_other_images_begin_a_table_of_their_own(controller: BatchController) -> None:
    drain(controller, controller.begin())
    controller.choose(measure=False)
    assert len(controller.table.rows) == 3
    controller.choose(pattern="*.png")
    assert controller.table.rows == []


def test_what_is_worth_knowing_is_told_while_it_goes_on(
    controller: BatchController, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    controller.noted.connect(notes.append)
    monkeypatch.setattr(
        "napari_rwkv_seg.controllers.batch_rows.TableFiles.write_soon",
        lambda *_: ("The table is open elsewhere.",) if not notes else (),
    )
    drain(controller, controller.begin())
    assert notes == ["The table is open elsewhere."]
