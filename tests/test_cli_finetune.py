"""The `finetune` command, in this process, with a network that trains in milliseconds."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

import napari_rwkv_seg
from napari_rwkv_seg.cli import app
from napari_rwkv_seg.training import process
from napari_rwkv_seg.training.run_settings import read_settings
from napari_rwkv_seg.zoo import read_card
from napari_rwkv_seg.zoo.card import write_card


@pytest.fixture(autouse=True)
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the settings of this process as they are: they would outlast the test."""
    monkeypatch.setattr(process, "settle_process", lambda: None)


@pytest.fixture
def data(tiny: ModuleType, tmp_path: Path) -> Path:
    """Write three images with masks, and a model to start from."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number, pair in enumerate(tiny.bright_pairs(3)):
        tifffile.imwrite(tmp_path / "images" / f"{number}.tif", pair.image)
        tifffile.imwrite(tmp_path / "masks" / f"{number}_mask.tif", pair.labels.astype(np.uint8))
    tiny.write_base(tmp_path / "base")
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["finetune", *map(str, arguments)])


def test_images_and_masks_become_a_model_its_scores_are_written_and_its_folder_last(
    data: Path,
) -> None:
    result = run("--images", data / "images", "--masks", data / "masks", "--model", data / "base",
                 "--minutes", 0.05, "-o", data / "models" / "mine", "--run", data / "run",
                 "--depth", "everything", "--orientation", "fixed")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "held-out regions of 1 image" in lines[0]
    assert lines[1].startswith("  cell: ")
    assert lines[-1] == str(data / "models" / "mine")
    assert read_card(data / "models" / "mine").parent == "base"
    assert "held out" in result.stderr
    settings = read_settings(data / "run" / "run.toml")
    assert (settings.minutes, settings.depth) == (0.05, "everything")
    assert settings.orientation == "fixed"


def test_a_run_is_repeated_from_its_file_and_resumed_from_its_folder(data: Path) -> None:
    toml = data / "my.toml"
    toml.write_text(
        'name = "mine"\nmodel = "base"\nsteps = 3\noutput = "first"\n'
        '[[pairs]]\nname = "a"\nimage = "images/0.tif"\nlabels = "masks/0_mask.tif"\n'
        '[[pairs]]\nname = "b"\nimage = "images/1.tif"\nlabels = "masks/1_mask.tif"\n'
    )
    first = run(toml, "--run", data / "run")
    assert first.exit_code == 0, first.stderr
    assert read_card(data / "first").name == "first"

    again = run(data / "run" / "run.toml", "-o", data / "second", "--run", data / "run 2")
    assert again.exit_code == 0, again.stderr
    weights = [(data / name / "weights.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]

    for more in ([], ["--overwrite"]):
        resumed = run("--resume", data / "run", *more)
        assert resumed.exit_code == 0, resumed.stderr
        assert resumed.stdout == first.stdout


def test_a_run_that_is_done_replaces_no_model_but_its_own(data: Path) -> None:
    result = run("--images", data / "images", "--masks", data / "masks", "--model", data / "base",
                 "--minutes", 0.05, "-o", data / "mine", "--run", data / "run")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    card = read_card(data / "mine")
    write_card(data / "mine", card.model_copy(update={"weights_sha256": "0" * 64}))

    again = run("--resume", data / "run")

    assert again.exit_code == 1
    assert "exists already; choose another name" in again.stderr
    assert read_card(data / "mine").weights_sha256 == "0" * 64


def test_classes_may_be_named(data: Path) -> None:
    result = run("--images", data / "images", "--masks", data / "masks", "--model", data / "base",
                 "--minutes", 0.03, "-o", data / "new", "--run", data / "run", "--class", "cell",
                 "--class", "gland")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert [each.name for each in read_card(data / "new").classes[1:]] == ["cell", "gland"]
    assert "Nothing is labelled as 'gland'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say what to learn from"),
        (["none.toml"], "none.toml"),
        (["--resume", "nowhere"], "no run.toml"),
        (["--images", "{data}/masks", "--masks", "{data}/none", "-o", "{data}/x"], "none"),
        (["--images", "{data}/images", "--masks", "{data}/masks", "-o", "{data}/base"], "exists"),
        (["--images", "{data}/images", "--masks", "{data}/masks", "-o", "{data}/.x"], "name"),
        (["--images", "{data}/images", "--masks", "{data}/masks", "-o", "{data}/x",
          "--model", "nothing"], "There is no model 'nothing'"),
        (["--images", "{data}/images", "--masks", "{data}/masks", "-o", "{data}/x",
          "--minutes", "-1"], "minutes"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence_and_makes_nothing(
    data: Path, arguments: list[str], sentence: str
) -> None:
    before = sorted(data.rglob("*"))
    result = run(*[each.format(data=data) for each in arguments])
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(data.rglob("*")) == before


def test_the_library_does_the_same_with_arrays(data: Path, tiny: ModuleType) -> None:
    pairs = tiny.bright_pairs(3)
    heard = []
    done = napari_rwkv_seg.finetune(
        [pair.image for pair in pairs],
        [pair.labels for pair in pairs],
        data / "mine",
        model=data / "base",
        minutes=0.05,
        run=data / "run",
        progress=heard.append,
    )
    assert done.model == data / "mine"
    assert done.run == data / "run"
    assert done.sentence == heard[-1]["sentence"]
    assert read_card(done.model).name == "mine"
    assert set(done.after["classes"]) == {"cell"}


def test_arrays_that_do_not_belong_together_are_a_sentence(data: Path) -> None:
    with pytest.raises(napari_rwkv_seg.errors.TrainingDataError, match="1 images and 0 masks"):
        napari_rwkv_seg.finetune([np.zeros((5, 5))], [], data / "x", model=data / "base")
