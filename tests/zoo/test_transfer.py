"""Model folders as zip files: there and back whole, and nothing hostile comes in."""

import shutil
import zipfile

import pytest

from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError
from napari_rwkv_seg.zoo import archives, transfer
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model, read_network, shipped_folder
from napari_rwkv_seg.zoo.transfer import export_folder, import_folder


@pytest.fixture
def archive(model, tmp_path):
    """Return the zip file of a good model."""
    archives.pack_folder(model, tmp_path / "tiny.zip")
    return tmp_path / "tiny.zip"


def contents(folder):
    return {item.name: item.read_bytes() for item in folder.iterdir()}


def test_a_model_goes_out_and_comes_in_whole(archive, model, home):
    entry = import_folder(archive)
    assert entry.folder == home / "models" / "tiny"
    assert contents(entry.folder) == contents(model)
    read_network(find_model("tiny"))
    assert [item.name for item in home.iterdir()] == ["models"]


def test_a_shipped_model_can_be_exported_and_copied_under_another_name(home, tmp_path):
    file = export_folder(DEFAULT_MODEL, tmp_path)
    assert file == tmp_path / f"{DEFAULT_MODEL}.zip"
    entry = import_folder(file, name="copy")
    shipped, copy = contents(shipped_folder() / DEFAULT_MODEL), contents(entry.folder)
    assert copy["weights.safetensors"] == shipped["weights.safetensors"]
    assert find_model("copy").card.name == "copy"


def test_a_folder_is_imported_like_its_archive(model, home):
    entry = import_folder(model)
    assert contents(entry.folder) == contents(model)


def test_a_second_import_gets_a_number_and_a_chosen_name_must_be_free(archive, home):
    import_folder(archive)
    assert import_folder(archive).card.name == "tiny_2"
    with pytest.raises(OutputError, match="'tiny' already"):
        import_folder(archive, name="tiny")
    with pytest.raises(SettingsError, match="cannot be the name"):
        import_folder(archive, name="a/b")


def test_a_name_that_differs_in_capitals_only_is_taken(archive, home):
    import_folder(archive, name="Tiny")
    assert import_folder(archive).card.name == "tiny_2"
    with pytest.raises(OutputError, match="'tINY' already"):
        import_folder(archive, name="tINY")


def test_an_import_never_replaces_what_lies_in_its_place(archive, home, monkeypatch):
    mine = import_folder(archive).folder
    (mine / "README.md").write_text("mine")
    monkeypatch.setattr(transfer, "all_names", set)  # as if it had come only now
    with pytest.raises(OutputError, match="exists already; choose another name"):
        import_folder(archive)
    assert (mine / "README.md").read_text() == "mine"
    assert [item.name for item in home.iterdir()] == ["models"]


def test_an_export_replaces_nothing(home, tmp_path):
    (tmp_path / "mine.zip").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        export_folder(DEFAULT_MODEL, tmp_path / "mine.zip")
    assert (tmp_path / "mine.zip").read_bytes() == b"mine"


def test_links_and_other_kinds_of_files_are_left_out_of_an_export(model, tmp_path):
    (model / "program.py").write_text("x")
    (model / "link.txt").symlink_to(tmp_path / "secret.txt")
    archives.pack_folder(model, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        names = sorted(packed.namelist())
    assert names == ["tiny/README.md", "tiny/model.toml", "tiny/weights.safetensors"]


def test_what_macos_adds_is_left_out(archive, home):
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("__MACOSX/tiny/._model.toml", b"x")
        packed.writestr("tiny/.DS_Store", b"x")
    entry = import_folder(archive)
    assert sorted(contents(entry.folder)) == ["README.md", "model.toml", "weights.safetensors"]


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


HOSTILE = {
    "an absolute path": ("/tmp/x.txt", "leads out of the folder"),
    "the folder above": ("tiny/../../x.txt", "leads out of the folder"),
    "a drive": ("C:x.txt", "leads out of the folder"),
    "a backslash": ("tiny\\x.txt", "leads out of the folder"),
    "depth": ("tiny/a/x.txt", "lies too deep"),
    "a link": (link("tiny/x.txt"), "is a link"),
    "a program": ("tiny/x.py", "of a kind that no model folder holds"),
    "a pickle": ("tiny/x.pth", "of a kind that no model folder holds"),
    "another folder": ("other/x.txt", "several folders"),
    "the same name": ("tiny/MODEL.toml", "the same name"),
}


@pytest.mark.parametrize(("entry", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_entry_is_refused_and_nothing_is_written(entry, reason, archive, home):
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(entry, b"x")
    refused(archive, home, reason)


def refused(archive, home, reason):
    with pytest.raises(ModelError, match=reason) as caught:
        import_folder(archive)
    assert "\n" not in str(caught.value)
    left = [item for item in home.rglob("*") if item.is_file()] if home.exists() else []
    assert left == []
    assert not list(home.glob(".making*"))


def test_very_many_entries_are_refused(archive, home):
    with zipfile.ZipFile(archive, "a") as packed:
        for index in range(201):
            packed.writestr(f"tiny/{index}.txt", b"")
    refused(archive, home, "holds 204 entries")


def test_a_bomb_is_refused_unpacked(archive, home):
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("tiny/x.txt", bytes(10_000_000))
    refused(archive, home, "unpacks to far more")


def test_more_than_a_model_can_be_is_refused(archive, home, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    refused(archive, home, "would unpack to more than")


def spoil(archive, old, new):
    content = archive.read_bytes()
    assert old in content
    archive.write_bytes(content.replace(old, new))


def test_changed_bytes_are_noticed(archive, home):
    spoil(archive, b'title = "Tiny"', b'title = "Tony"')
    refused(archive, home, "damaged")


@pytest.mark.parametrize("part", [0.3, 0.8, 0.99])
def test_a_truncated_archive_is_refused(part, archive, home):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * part)])
    refused(archive, home, "neither a model folder nor a zip file of one")


def test_weights_other_than_the_cards_are_refused(model, home, tmp_path):
    weights = model / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(model, home, "SHA-256 differs")


@pytest.mark.parametrize("missing", ["model.toml", "weights.safetensors"])
def test_a_folder_without_card_or_weights_is_refused(missing, model, home):
    (model / missing).unlink()
    refused(model, home, "cannot be imported")


def test_a_full_disk_leaves_nothing(archive, home, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with zipfile.ZipFile(archive) as packed:
        folder = archive.parent / "out"
        packed.extractall(folder)
    with pytest.raises(OutputError, match="No space left"):
        import_folder(folder / "tiny")
    assert not list(home.glob(".making*"))
