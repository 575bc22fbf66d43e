"""One way in and one way out: what a file is follows from its content, what is made from a word."""

import os
import time

import pytest

from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError
from napari_rwkv_seg.zoo import exchange
from napari_rwkv_seg.zoo.exchange import ENDINGS, export_any, import_any, lacking
from napari_rwkv_seg.zoo.folders import staging
from napari_rwkv_seg.zoo.store import find_model, write_model


@pytest.fixture
def mine(home, card, tiny_network):
    """Return the folder of a model of the user's, called tiny."""
    (home / "models").mkdir(parents=True)
    write_model(home / "models" / "tiny", tiny_network(), card, "For tests.")
    return home / "models" / "tiny"


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_what_goes_out_comes_in(form, mine, tmp_path):
    written = export_any("tiny", tmp_path, form)
    assert written.path == tmp_path / f"tiny{ENDINGS[form]}"
    imported = import_any(written.path)
    assert (imported.kind, imported.folder) == ("model", mine.with_name("tiny_2"))
    assert find_model("tiny_2").card.weights_sha256 == find_model("tiny").card.weights_sha256


def test_a_copy_is_the_models_files_and_nothing_else(mine, tmp_path):
    (mine / "secret").symlink_to(tmp_path)
    (mine / "notes.exe").write_bytes(b"x")
    copy = export_any("tiny", tmp_path / "copy", "folder").path
    assert sorted(os.listdir(copy)) == ["README.md", "model.toml", "weights.safetensors"]


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_nothing_that_is_there_is_replaced(form, mine, tmp_path):
    export_any("tiny", tmp_path, form)
    with pytest.raises(OutputError, match="exists already"):
        export_any("tiny", tmp_path, form)


def test_a_format_that_there_is_not_is_refused_with_the_choices(mine, tmp_path):
    with pytest.raises(SettingsError, match="zip, folder, bioimageio, onnx, torch"):
        export_any("tiny", tmp_path, "word")


def test_an_unknown_name_is_refused(home, tmp_path):
    with pytest.raises(ModelError, match="no model 'nope'"):
        export_any("nope", tmp_path, "onnx")


def test_classes_for_a_folder_that_names_its_own_are_refused(mine):
    with pytest.raises(SettingsError, match="leave the class names out"):
        import_any(mine, classes=["a"])


def test_libraries_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(exchange, "find_spec", lambda name: None if name == "onnx" else name)
    assert lacking("onnx") == "This needs more: pip install onnx"
    assert lacking("zip") == ""


def test_what_was_left_half_made_long_ago_goes_and_what_is_being_made_stays(tmp_path):
    old, new = tmp_path / ".making.old", tmp_path / ".making.new"
    for folder in (old, new):
        folder.mkdir()
    then = time.time() - 2 * 24 * 3600
    os.utime(old, (then, then))
    with staging(tmp_path):
        assert not old.exists()
        assert new.exists()
