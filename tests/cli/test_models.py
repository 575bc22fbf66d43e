"""The commands about models, from making one to throwing it away."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from napari_rwkv_seg.cli.app import app
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.zoo import pretrained
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "data")
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: tmp_path / "config")
    return tmp_path / "data"


def models(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def told(*arguments: object) -> str:
    """Run a command that must work, and return its stdout."""
    result = models(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    """Run a command that must be refused, and return the one sentence that it says."""
    result = models(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def cells() -> str:
    """Make a small model and return its name."""
    told("new", "cells", "--classes", "live,dead", "--architecture", "rwkv_unet")
    return "cells"


def test_a_model_is_made_listed_and_shown(cells, home):
    assert "cells: New: not trained yet | classes: live, dead |" in told()
    assert "test: untrained" in told("list")
    shown = dict(line.split(None, 1) for line in told("show", "cells").splitlines())
    assert shown["folder"] == str(home / "models" / "cells")
    assert shown["network"] == "rwkv_unet T"
    assert shown["trained"] == "no: fine-tune it first"
    assert shown["channels"] == "3"


@pytest.mark.parametrize(("word", "count"), [("grey", 1), ("gray", 1), ("RGB", 3), ("4", 4)])
def test_channels_are_a_word_or_a_number(word, count):
    told("new", "x", "--classes", "a", "--architecture", "rwkv_unet", "--channels", word)
    assert find_model("x").card.input_channels == count


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--channels", "many"), "'grey', 'rgb' or a number, got 'many'"),
        (("--channels", "65"), "1 to 64 channels"),
        (("--encoder", "nope"), "no pretrained encoder 'nope'"),
        (("--architecture", "unet"), "no architecture 'unet'"),
        (("--variant", "XL"), "comes as"),
        (("--classes", " , "), "1 to 255 classes"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence(option, reason):
    assert reason in refused("new", "x", "--classes", "a", *option)


def test_a_model_is_renamed_annotated_thrown_away_and_taken_back(cells, home):
    assert told("rename", "cells", "mine").strip() == str(home / "models" / "mine")
    told("note", "mine", "fine on Mondays")
    assert "fine on Mondays" in told("show", "mine")
    told("delete", "mine")
    assert "mine" not in told("list")
    assert told("undelete", "mine").strip() == str(home / "models" / "mine")
    assert "mine" in told("list")


@pytest.mark.parametrize("change", [("rename", "x"), ("note", "x"), ("delete",)], ids=str)
def test_a_shipped_model_is_not_changed(change):
    command, *more = change
    assert "cannot be changed" in refused(command, DEFAULT_MODEL, *more)


def test_a_new_model_sees_images_enlarged_if_told_so(home):
    told("new", "x", "--classes", "a", "--architecture", "rwkv_unet", "--zoom", 3)
    assert find_model("x").card.config == {"zoom": 3}
    assert "from 1 to 4" in refused("new", "y", "--classes", "a", "--zoom", 5)


def test_a_model_is_exported_and_imported_elsewhere(cells, tmp_path, home):
    file = told("export", "cells", tmp_path).strip()
    assert file == str(tmp_path / "cells.zip")
    assert told("import", file, "--name", "copy").strip() == str(home / "models" / "copy")
    assert find_model("copy").card.untrained


def test_a_model_is_exported_for_other_programs(cells, tmp_path):
    target = tmp_path / "out.zip"
    assert told("export", cells, target, "--format", "bioimageio", "--size", 64).strip() == str(
        target
    )
    assert "exists already" in refused("export", cells, target, "--format", "torch")
    assert "32 to 2048" in refused("export", cells, tmp_path / "x", "--format", "onnx", "--size", 1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[[str], Path]:
    def write(architecture: str) -> Path:
        torch.save(build_network(architecture, "T").state_dict(), tmp_path / "theirs.pth")
        return tmp_path / "theirs.pth"

    return write


def test_a_whole_network_is_imported_with_its_classes(checkpoint, home):
    file = checkpoint("rwkv_unet")
    assert told("import", file, "--classes", "liver").strip() == str(home / "models" / "theirs")
    assert [each.name for each in find_model("theirs").card.classes] == ["background", "liver"]


def test_an_encoder_is_imported_and_a_model_made_on_it(checkpoint, home):
    result = models("import", checkpoint("rwkv_unet_encoder"))
    assert result.stdout.strip() == str(home / "encoders" / "theirs")
    assert "make a model on it with `models new`" in result.stderr
    assert "theirs: pretrained encoder RWKV-UNet's encoder T | licence: unknown" in told("list")
    assert "theirs.pth" in told("show", "theirs")
    told("new", "x", "--classes", "a", "--architecture", "rwkv_unet", "--encoder", "theirs")
    assert find_model("x").card.parent == "encoder theirs"


def test_a_file_that_is_nothing_of_the_kind_is_refused(tmp_path, home):
    (tmp_path / "x.pth").write_text("no")
    assert "is not a PyTorch" in refused("import", tmp_path / "x.pth")
    assert "Cannot read" in refused("import", tmp_path / "nowhere.pth")
    assert not home.exists()


def test_what_can_be_fetched_is_listed_with_size_licence_and_citation(monkeypatch):
    monkeypatch.setattr(pretrained, "fetch", lambda *_: pytest.fail("was fetched"))
    lines = told("get").splitlines()
    assert len(lines) == len(pretrained.PRETRAINED)
    assert all("MB | licence: Apache-2.0 | cite: Duan" in line for line in lines)
    assert "not fetched" in told("get", "vrwkv_s_in1k")


def test_nothing_is_fetched_without_being_asked_for(monkeypatch):
    monkeypatch.setattr(pretrained, "fetch", lambda *_: pytest.fail("was fetched"))
    assert "Nothing was fetched" in models("get", "vrwkv_s_in1k").stderr


def test_an_encoder_is_fetched_when_it_is_asked_for(monkeypatch, checkpoint, home):
    asked = []

    def fetch(download, report):
        asked.append(download.url)
        checkpoint("vrwkv").rename(download.target)
        return download.target

    monkeypatch.setattr(pretrained, "fetch", fetch)
    folder = home / "encoders" / "vrwkv_t_in1k"
    options = ("--download", "--mirror", "https://mirror.example.org")
    assert told("get", "vrwkv_t_in1k", *options).strip() == str(folder)
    assert asked[0].startswith("https://mirror.example.org/OpenGVLab/")
    assert "is here" in told("get", "vrwkv_t_in1k")


def test_a_mirror_that_is_not_safe_is_refused():
    result = models("get", "vrwkv_t_in1k", "--download", "--mirror", "http://example.org")
    assert result.exit_code == 1
    assert "only https is used" in result.stderr


def test_the_trash_is_listed_and_emptied_when_it_is_confirmed(cells, home):
    told("delete", "cells")
    assert told("trash").startswith("cells: model, deleted ")
    said_no = CliRunner().invoke(app, ["models", "empty-trash"], input="n\n")
    assert said_no.exit_code == 1
    assert "cells" in told("trash")
    assert models("empty-trash", "--yes").stderr.strip() == "Deleted 1."
    assert told("trash") == ""
    assert models("empty-trash").stderr.strip() == "The trash is empty."


def test_the_folder_of_a_model_is_told_even_if_it_cannot_be_used(cells, home):
    assert told("reveal", "cells").strip() == str(home / "models" / "cells")
    (home / "models" / "cells" / "model.toml").write_text("torn")
    assert told("reveal", "cells").strip() == str(home / "models" / "cells")
    assert "no model 'nope'" in refused("reveal", "nope")


def test_a_model_is_exported_as_a_plain_folder(cells, tmp_path):
    assert told("export", cells, tmp_path / "out", "--format", "folder").strip() == str(
        tmp_path / "out"
    )
    assert (tmp_path / "out" / "weights.safetensors").is_file()
    told("export", cells, tmp_path, "--format", "folder")
    assert "exists already" in refused("export", cells, tmp_path, "--format", "folder")


def test_class_names_for_a_folder_that_has_its_own_are_refused(cells, tmp_path):
    file = told("export", cells, tmp_path).strip()
    assert "leave the class names out" in refused("import", file, "--classes", "a")


def test_classes_are_given_colours(home):
    told("new", "x", "--classes", "live=#00FF00, dead", "--architecture", "rwkv_unet")
    classes = find_model("x").card.classes
    assert [each.name for each in classes] == ["background", "live", "dead"]
    assert classes[1].color == "#00FF00"
    wrong = ("--classes", "a=#green", "--architecture", "rwkv_unet")
    assert "'#green' is no colour" in refused("new", "y", *wrong)


def test_the_mirror_is_told_set_and_taken_off():
    assert told("mirror").strip() == "the authors' own servers"
    assert told("mirror", "https://mirror.example.org").strip() == "https://mirror.example.org"
    assert "only https is used" in refused("mirror", "http://example.org")
    assert told("mirror", "").strip() == "the authors' own servers"


def test_all_that_does_not_fit_is_printed_on_request(tmp_path):
    state = build_network("vrwkv", "T").state_dict()
    for key in [key for key in state if "layers.5" in key]:
        del state[key]
    torch.save(state, tmp_path / "x.pth")
    assert refused("import", tmp_path / "x.pth").count("is missing") == 10
    result = models("import", tmp_path / "x.pth", "--misfits")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) > 10
    assert all("'layers.5." in line for line in result.stdout.splitlines())


def test_the_page_of_a_model_is_printed_on_request(cells):
    assert "It is not trained" not in told("show", cells)
    assert "It is not trained" in told("show", cells, "--page")
