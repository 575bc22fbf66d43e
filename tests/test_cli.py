"""The commands, run in this process on small images with a small untrained model."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner, Result

from napari_rwkv_seg import list_models
from napari_rwkv_seg.cli import app, batch
from napari_rwkv_seg.controllers import batch_work
from napari_rwkv_seg.controllers.batch_rows import Row
from napari_rwkv_seg.controllers.batch_run import News
from napari_rwkv_seg.inference import Progress
from napari_rwkv_seg.zoo import ModelCard, ModelEntry, read_card, write_model
from napari_rwkv_seg.zoo.card import ClassCard

SHAPE = (37, 53)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model of the smallest network, with weights that were never trained."""
    import torch

    from napari_rwkv_seg.networks import build_network

    torch.manual_seed(42)
    folder = tmp_path_factory.mktemp("models") / "untrained"
    card = ModelCard(
        name="untrained",
        title="Untrained",
        purpose="for tests",
        architecture="med_urwkv",
        variant="T",
        config={"encoder": "plain"},
        classes=[
            ClassCard(name="background", color="#000000"),
            ClassCard(name="thing", color="#ff0000"),
        ],
        tile_size=64,
        license="BSD-3-Clause",
        training_data="none",
    )
    write_model(folder, build_network("med_urwkv", "T", encoder="plain"), card, "For tests.")
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "cells.tif")


def write_image(path: Path, shape: tuple[int, ...] = SHAPE) -> Path:
    pixels = np.random.default_rng(42).integers(0, 255, shape, dtype=np.uint8)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def picture_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def segment(model: Path, out: Path, *arguments: str | Path) -> Result:
    return command("segment", "--model", model, "--device", "cpu", "-o", out, *arguments)


def one_sentence(result: Result) -> str:
    """Return what a failed command said: no traceback, exit code 1, nothing on stdout."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_result_is_a_label_image_of_the_size_of_the_image(
    model: Path, image: Path, tmp_path: Path
) -> None:
    result = segment(model, tmp_path / "out", image)
    assert result.exit_code == 0, result.stderr
    labels = tifffile.imread(tmp_path / "out" / "cells_labels.tif")
    assert labels.shape == SHAPE
    assert set(np.unique(labels)) <= {0, 1}


def test_the_path_of_a_result_is_all_that_stands_on_stdout(
    model: Path, image: Path, tmp_path: Path
) -> None:
    result = segment(model, tmp_path / "new" / "out", image)
    assert result.stdout == f"{tmp_path / 'new' / 'out' / 'cells_labels.tif'}\n"


def test_beside_a_result_stands_how_it_was_made(model: Path, image: Path, tmp_path: Path) -> None:
    segment(model, tmp_path, image, "--threshold", "0.3", "--output", "objects")
    record = json.loads((tmp_path / "cells_labels.json").read_text())
    assert record["model"] == "untrained"
    assert record["sha256"] == read_card(model).weights_sha256
    assert record["settings"]["threshold"] == 0.3
    assert record["settings"]["output"] == "objects"
    assert record["image"] == "cells.tif"


def test_the_record_names_no_folder_of_the_user(model: Path, image: Path, tmp_path: Path) -> None:
    segment(model, tmp_path, image)
    assert str(tmp_path) not in (tmp_path / "cells_labels.json").read_text()


def test_the_command_gives_the_labels_that_the_library_gives(
    model: Path, image: Path, tmp_path: Path
) -> None:
    from napari_rwkv_seg import segment as by_library

    segment(model, tmp_path, image)
    wanted = by_library(tifffile.imread(image), model, device="cpu").labels
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "cells_labels.tif"), wanted)


def test_settings_that_are_not_given_come_from_the_card(
    model: Path, image: Path, tmp_path: Path
) -> None:
    segment(model, tmp_path, image, "--no-fill-holes")
    settings = json.loads((tmp_path / "cells_labels.json").read_text())["settings"]
    card = read_card(model).objects.model_dump()
    asked = {"fill_holes": False, "output": "classes", "link": "", "link_overlap": 0.3}
    assert settings == {**card, **asked}


def test_of_an_ome_tiff_the_whole_ending_goes(model: Path, tmp_path: Path) -> None:
    pixels = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, metadata={"axes": "YX"})
    segment(model, tmp_path, tmp_path / "a.ome.tif")
    assert (tmp_path / "a_labels.tif").is_file()


def test_a_stack_is_segmented_plane_by_plane_with_its_axis_kept(
    model: Path, tmp_path: Path
) -> None:
    stack = write_image(tmp_path / "stack.tif", (9, 37, 41))
    result = segment(model, tmp_path / "out", stack, "--axes", "zyx", "--overlay")
    assert result.exit_code == 0, result.stderr
    assert tifffile.imread(tmp_path / "out" / "stack_labels.tif").shape == (9, 37, 41)
    assert picture_size(tmp_path / "out" / "stack_overlay.png") == (41, 37)


def test_axes_that_nobody_stated_are_said(model: Path, tmp_path: Path) -> None:
    stack = write_image(tmp_path / "stack.tif", (9, 37, 41))
    said = segment(model, tmp_path / "out", stack).stderr
    assert "stack.tif: Read as 9 × 37 × 41: a stack of 9 planes along Z" in said
    again = segment(model, tmp_path / "out", stack, "--axes", "TYX", "--overwrite").stderr
    assert "Read as" not in again


def test_the_size_of_a_tile_can_be_chosen(model: Path, image: Path, tmp_path: Path) -> None:
    segment(model, tmp_path, image, "--tile", "96")
    assert json.loads((tmp_path / "cells_labels.json").read_text())["tile_size"] == 96


def test_a_channel_can_be_picked(model: Path, tmp_path: Path) -> None:
    planes = write_image(tmp_path / "planes.tif", (2, 37, 41))
    result = segment(model, tmp_path / "out", planes, "--axes", "CYX", "--channel", "1")
    assert result.exit_code == 0, result.stderr
    assert tifffile.imread(tmp_path / "out" / "planes_labels.tif").shape == (37, 41)


def test_an_overlay_is_written_when_it_is_asked_for(
    model: Path, image: Path, tmp_path: Path
) -> None:
    segment(model, tmp_path / "out", image)
    assert not (tmp_path / "out" / "cells_overlay.png").exists()
    segment(model, tmp_path / "out", image, "--overwrite", "--overlay")
    assert picture_size(tmp_path / "out" / "cells_overlay.png") == SHAPE[::-1]


def test_a_result_that_is_there_is_kept_and_named(model: Path, image: Path, tmp_path: Path) -> None:
    there = tmp_path / "cells_labels.tif"
    there.write_bytes(b"by hand")
    said = one_sentence(segment(model, tmp_path, image))
    assert "is there already, and nothing says how it was made" in said
    assert "--overwrite" in said
    assert there.read_bytes() == b"by hand"


def test_a_result_that_is_there_is_replaced_when_that_is_asked_for(
    model: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "cells_labels.tif").write_bytes(b"old")
    assert segment(model, tmp_path, image, "--overwrite").exit_code == 0
    assert tifffile.imread(tmp_path / "cells_labels.tif").shape == SHAPE


def test_two_images_that_would_share_a_result_are_refused_before_any_work(
    model: Path, tmp_path: Path
) -> None:
    images = [write_image(tmp_path / "cells.tif"), write_image(tmp_path / "Cells.png")]
    said = one_sentence(segment(model, tmp_path / "out", *images))
    assert "would both be written" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a_labels.tif", "A_Labels.tif", "a_overlay.png"])
def test_a_result_never_replaces_an_image(model: Path, tmp_path: Path, name: str) -> None:
    images = [write_image(tmp_path / "a.tif"), write_image(tmp_path / name)]
    before = images[1].read_bytes()
    said = one_sentence(segment(model, tmp_path, *images, "--overwrite"))
    assert "would replace one of the images" in said
    assert images[1].read_bytes() == before


def test_one_bad_image_does_not_stop_the_others(model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"<html>404</html>")
    images = [bad, write_image(tmp_path / "good.tif"), tmp_path / "missing.tif"]
    result = segment(model, tmp_path / "out", *images)
    said = one_sentence(result)
    assert "bad.tif: " in said
    assert "missing.tif: " in said
    assert "1 done, 0 skipped, 2 failed of 3 images." in said
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "batch.csv",
        "good_labels.json",
        "good_labels.tif",
    ]


@pytest.mark.skipif(os.name == "nt", reason="links take a privilege on Windows")
def test_a_link_that_leads_round_in_a_circle_is_a_sentence(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tif").symlink_to(tmp_path / "b.tif")
    (tmp_path / "b.tif").symlink_to(tmp_path / "a.tif")
    said = one_sentence(segment(model, tmp_path / "out", tmp_path / "a.tif"))
    assert "a.tif: Cannot read" in said


def test_a_fault_of_ours_is_told_with_its_place_and_does_not_stop_the_others(
    model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(batch_work, "_make", fail)
    said = one_sentence(segment(model, tmp_path / "out", image))
    assert "Unexpected ZeroDivisionError in batch_work.py" in said
    assert "Please report" in said


def test_a_lack_of_memory_is_a_sentence(
    model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(batch_work, "_make", fail)
    assert "not enough memory" in one_sentence(segment(model, tmp_path / "out", image))


def test_an_output_folder_that_is_a_file_is_a_sentence(
    model: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(b"")
    assert "Cannot write" in one_sentence(segment(model, tmp_path / "out", image))


def test_an_output_folder_below_a_file_is_a_sentence(
    model: Path, image: Path, tmp_path: Path
) -> None:
    said = one_sentence(segment(model, image / "out", image))
    assert "Cannot write" in said


def test_a_result_that_cannot_be_written_is_a_sentence_for_that_image(
    model: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "cells_labels.tif").mkdir(parents=True)
    said = one_sentence(segment(model, tmp_path / "out", image, "--overwrite"))
    assert "cells.tif: Cannot write" in said


def test_a_device_that_is_not_there_is_an_error_and_nothing_is_written(
    model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = command("segment", "--model", model, "--device", "cuda", "-o", tmp_path / "o", image)
    assert "'cuda'" in one_sentence(result)
    assert names_in(tmp_path / "o") == ["batch.csv"]


def test_a_model_that_is_not_there_is_a_sentence(image: Path, tmp_path: Path) -> None:
    result = command("segment", "--model", "no_such_model", "-o", tmp_path / "out", image)
    assert "no_such_model" in one_sentence(result)


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--threshold", "1.5", "Threshold"),
        ("--threshold", "nan", "Threshold"),
        ("--smallest-object", "-3", "Smallest object"),
        ("--axes", "QX", "'QX'"),
        ("--channel", "7", "Channel 7"),
        ("--tile", "1", "ile"),
    ],
)
def test_a_setting_out_of_range_is_a_sentence_that_names_it(
    model: Path, image: Path, tmp_path: Path, option: str, value: str, named: str
) -> None:
    assert named in one_sentence(segment(model, tmp_path / "out", image, option, value))


def test_an_unknown_choice_is_answered_with_the_choices(image: Path, tmp_path: Path) -> None:
    result = command("segment", image, "-o", tmp_path, "--device", "tpu")
    assert result.exit_code == 2
    assert "cuda" in result.stderr


def test_ctrl_c_ends_with_130_and_leaves_nothing_half_written(
    model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_rwkv_seg.inference.segment.segment_steps", interrupt)
    result = segment(model, tmp_path / "out", image)
    assert result.exit_code == 130
    assert "Stopped" in result.stderr
    assert names_in(tmp_path / "out") == ["batch.csv"]
    assert ",waiting," in (tmp_path / "out" / "batch.csv").read_text()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_running_command_ends_on_the_signals_of_ctrl_c_and_of_schedulers(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    image = write_image(tmp_path / "large.png", (1500, 1500))
    arguments = ["segment", str(image), "--model", str(model), "-o", str(tmp_path / "out")]
    # Of a job in the background a shell has Ctrl+C ignored; this is one in the foreground.
    starter = f"""
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import napari_rwkv_seg.inference.segment as room
from napari_rwkv_seg.cli import main

def told(*arguments, run=room.segment_steps, **choices):
    sys.stdout.write("running\\n")
    sys.stdout.flush()
    return run(*arguments, **choices)

room.segment_steps = told
sys.argv[1:] = {arguments!r}
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", starter], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert names_in(tmp_path / "out") == ["batch.csv"]


def test_progress_is_shown_where_stderr_is_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with batch._screen() as screen:
        screen.show(News((Row(0, "cells.tif"), Row(1, "more.tif"))))
        screen.show(News((Row(0, "cells.tif", "running"),)))
        screen.show(News(step=Progress(3, 12)))
        screen.say("[cells] are told.")
        screen.name("cells_labels.tif")
    named, said = capsys.readouterr()
    assert "3/12" in said
    assert "0/2" in said
    assert "[cells] are told.\n" in said
    assert named == "cells_labels.tif\n"


def test_results_are_named_on_stdout_also_while_progress_is_shown(
    model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = segment(model, tmp_path / "out", image)
    assert result.stdout == f"{tmp_path / 'out' / 'cells_labels.tif'}\n"


def test_every_model_is_listed_in_one_line() -> None:
    result = command("models")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0].rstrip(":") for line in lines] == [e.name for e in list_models()]


def test_the_line_of_a_model_says_what_it_is_for_its_licence_and_its_scores(
    monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    card = read_card(model).model_copy(update={"test_scores": {"Dice": 0.91234}})
    entries = [ModelEntry(model, card), ModelEntry(Path("broken"), None, "its weights are missing")]
    monkeypatch.setattr("napari_rwkv_seg.zoo.store.list_models", lambda: entries)
    usable, broken = command("models").stdout.splitlines()
    assert (
        usable == "untrained: for tests | classes: thing | licence: BSD-3-Clause | test: Dice 0.912"
    )
    assert broken == "broken: cannot be used: its weights are missing"


def test_no_model_at_all_is_a_sentence_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_rwkv_seg.zoo.store.list_models", list)
    assert "put a model folder into" in one_sentence(command("models"))


def test_doctor_says_each_fact_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = [("WKV", "cpu"), ("Memory", "much")]
    monkeypatch.setattr("napari_rwkv_seg.controllers.doctor.doctor_report", lambda: facts)
    result = command("doctor")
    assert result.stdout.splitlines() == ["WKV     cpu", "Memory  much"]


def test_the_version_is_said() -> None:
    from napari_rwkv_seg import __version__

    assert command("--version").stdout.strip() == __version__
