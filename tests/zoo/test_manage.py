"""Renaming, notes, the trash: on the user's own models, never on those of the package."""

import subprocess
import sys

import pytest

from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError
from napari_rwkv_seg.zoo import manage, store
from napari_rwkv_seg.zoo.card import read_card
from napari_rwkv_seg.zoo.encoders import EncoderCard, find_encoder, write_encoder_card
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model, read_network, write_model
from napari_rwkv_seg.zoo.weights import WEIGHTS_FILE, digest, pack_weights


@pytest.fixture
def mine(home, card, tiny_network):
    """Return the folder of a model of the user's, called tiny."""
    (home / "models").mkdir(parents=True)
    write_model(home / "models" / "tiny", tiny_network(), card, "For tests.")
    return home / "models" / "tiny"


@pytest.fixture
def encoder(home, tiny_network):
    """Return an encoder's entry; nobody looks at its numbers here."""
    content = pack_weights(tiny_network())
    card = EncoderCard(
        name="enc",
        title="x",
        architecture="vrwkv",
        variant="T",
        license="x",
        source="x.pth",
        weights_sha256=digest(content),
    )
    folder = home / "encoders" / "enc"
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(content)
    write_encoder_card(folder, card)
    return find_encoder("enc")


def test_a_renamed_model_is_found_and_works_by_its_new_name_only(mine):
    entry = manage.rename("tiny", "cells")
    assert entry.folder == mine.with_name("cells")
    assert read_card(entry.folder).name == "cells"
    read_network(find_model("cells"))
    with pytest.raises(ModelError, match="no model 'tiny'"):
        find_model("tiny")


def test_an_encoder_is_renamed_too(encoder):
    manage.rename("enc", "other")
    assert find_encoder("other").card.name == "other"


@pytest.mark.parametrize("name", ["../tiny", "a b", "", "con"])
def test_a_name_that_cannot_be_used_changes_nothing(name, mine):
    with pytest.raises(SettingsError, match="cannot be the name"):
        manage.rename("tiny", name)
    assert find_model("tiny").card.name == "tiny"


@pytest.mark.parametrize("taken", ["tiny", "enc", DEFAULT_MODEL, "ENC", DEFAULT_MODEL.upper()])
def test_a_name_that_is_taken_is_refused(taken, mine, encoder):
    with pytest.raises(OutputError, match="already"):
        manage.rename("tiny", taken)


def test_a_model_may_get_other_capitals(mine):
    assert manage.rename("tiny", "Tiny").name == "Tiny"
    assert [item.name for item in mine.parent.iterdir()] == ["Tiny"]


def test_what_was_deleted_is_not_taken_back_beside_the_same_name_in_capitals(mine, monkeypatch):
    manage.delete("tiny")
    monkeypatch.setattr(manage, "all_names", lambda: {"Tiny"})
    with pytest.raises(OutputError, match="a 'tiny' by now"):
        manage.undelete()
    assert not mine.exists()


def test_a_rename_that_fails_half_way_leaves_the_old_name_in_the_card(mine, monkeypatch):
    def fail(self, target):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(type(mine), "replace", fail)
    with pytest.raises(OutputError, match="Permission denied"):
        manage.rename("tiny", "cells")
    assert read_card(mine).name == "tiny"


def test_a_note_is_kept_on_the_card_and_taken_off(mine):
    manage.set_note("tiny", "good for\nconfocal \x1b[31mimages")
    assert find_model("tiny").card.note == "good for confocal images"
    manage.set_note("tiny", "")
    assert find_model("tiny").card.note == ""
    read_network(find_model("tiny"))


def test_an_encoder_takes_no_note(encoder):
    with pytest.raises(ModelError, match="notes are for models"):
        manage.set_note("enc", "x")


def test_what_is_deleted_is_gone_and_comes_back_whole(mine):
    before = {item.name: item.read_bytes() for item in mine.iterdir()}
    deleted = manage.delete("tiny")
    assert not mine.exists()
    assert [(each.name, each.kind) for each in manage.list_deleted()] == [("tiny", "models")]
    assert deleted == manage.list_deleted()[0]
    assert manage.undelete("tiny") == mine
    assert {item.name: item.read_bytes() for item in mine.iterdir()} == before
    assert manage.list_deleted() == []


def test_an_encoder_comes_back_among_the_encoders(encoder):
    manage.delete("enc")
    assert manage.undelete() == encoder.folder
    assert find_encoder("enc").card == encoder.card


def test_the_last_deleted_comes_back_first(mine, encoder):
    manage.delete("tiny")
    manage.delete("enc")
    assert manage.undelete().name == "enc"
    assert manage.undelete().name == "tiny"
    with pytest.raises(ModelError, match="The trash is empty"):
        manage.undelete()


def test_a_broken_model_can_be_deleted(mine):
    (mine / "model.toml").write_text("broken")
    manage.delete("tiny")
    assert not mine.exists()


def test_a_deleted_model_does_not_replace_a_new_one_of_its_name(mine, card, tiny_network):
    manage.delete("tiny")
    write_model(mine, tiny_network(), card, "Another.")
    with pytest.raises(OutputError, match="There is a 'tiny' by now"):
        manage.undelete("tiny")
    assert len(manage.list_deleted()) == 1


def test_the_trash_is_emptied_when_it_is_asked_for_and_only_of_what_is_ours(mine, home):
    manage.delete("tiny")
    (home / "trash" / "something else").mkdir()
    assert manage.empty_trash() == 1
    assert [item.name for item in (home / "trash").iterdir()] == ["something else"]


@pytest.mark.parametrize(
    "change",
    [
        lambda name: manage.rename(name, "x"),
        lambda name: manage.set_note(name, "x"),
        manage.delete,
    ],
    ids=["rename", "note", "delete"],
)
def test_a_shipped_model_is_never_changed(change, home):
    folder = store.shipped_folder() / DEFAULT_MODEL
    before = {item.name: item.read_bytes() for item in folder.iterdir()}
    with pytest.raises(ModelError, match="comes with the package and cannot be changed"):
        change(DEFAULT_MODEL)
    assert {item.name: item.read_bytes() for item in folder.iterdir()} == before


@pytest.mark.parametrize("change", [manage.delete, lambda name: manage.rename(name, "x")])
def test_a_name_that_is_not_there_is_told(change, home):
    with pytest.raises(ModelError, match="no model or encoder 'nope'"):
        change("nope")


def test_the_size_on_the_disk_is_that_of_its_files(mine):
    size = sum(item.stat().st_size for item in mine.iterdir())
    assert manage.size_of(find_model("tiny")) == size > 1000


def test_managing_needs_no_torch():
    rooms = "manage, transfer, pretrained, encoders, preferences, download"
    code = f"import sys; from napari_rwkv_seg.zoo import {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_a_folder_tells_a_model_from_a_shipped_one_of_the_same_name(mine, home):
    twin = mine.rename(mine.with_name(DEFAULT_MODEL))
    with pytest.raises(ModelError, match="comes with the package"):
        manage.delete(DEFAULT_MODEL)
    renamed = manage.rename(str(twin), "own")
    assert renamed.folder == mine.with_name("own")


def test_the_older_of_two_deleted_namesakes_can_be_taken_back(mine, card, tiny_network):
    first = manage.delete("tiny")
    write_model(mine, tiny_network(), card, "Again.")
    manage.delete("tiny")
    assert manage.restore(first) == mine
    assert "Again." not in (mine / "README.md").read_text()
    with pytest.raises(ModelError, match="not in the trash any more"):
        manage.restore(first)
