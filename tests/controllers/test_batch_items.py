"""Files, folders and patterns become a list of images with names of their own."""

import os
from itertools import chain
from pathlib import Path

import pytest

from napari_rwkv_seg.controllers.batch_items import BatchItem, digest_of, find_items, part_of
from napari_rwkv_seg.errors import SettingsError, UnreadableFileError


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names(folder: Path, *wanted: str, out: str = "out") -> list[str]:
    items, _ = find_items([str(folder / each) for each in wanted], folder / out)
    return [item.name for item in items]


def test_a_pattern_is_expanded_and_folders_are_kept(tmp_path: Path) -> None:
    make(tmp_path, "a/x.tif", "b/c/x.tif", "b/y.png", "x.tif")
    assert names(tmp_path, "**/*.tif") == ["a/x.tif", "b/c/x.tif", "x.tif"]


def test_a_name_with_signs_of_a_pattern_is_taken_as_it_is(tmp_path: Path) -> None:
    make(tmp_path, "cells [1].tif", "cells 1.tif")
    assert names(tmp_path, "cells [1].tif") == ["cells [1].tif"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("*.tif", ["x.tif"]), ("x.tif", ["x.tif"]), ("**/*.tif", ["b/z.tif", "x.tif"])],
)
def test_signs_of_a_pattern_in_a_folders_name_may_be_escaped(
    tmp_path: Path, pattern: str, found: list[str]
) -> None:
    make(tmp_path, "a [1]/x.tif", "a [1]/b/z.tif", "a [1]/y.png", "a 1/x.tif")
    assert names(tmp_path, f"a [[]1]/{pattern}") == found


def test_a_folder_stands_for_all_images_in_it(tmp_path: Path) -> None:
    make(tmp_path, "a/x.TIF", "a/b/y.nii.gz", "a/notes.txt", "a/.hidden.tif", "a/.git/z.tif")
    assert names(tmp_path, "a") == ["b/y.nii.gz", "x.TIF"]


def test_a_zarr_folder_is_one_image(tmp_path: Path) -> None:
    make(tmp_path, "a/x.zarr/0/0.png", "a/y.ome.zarr/zarr.json", "a/z.png")
    assert names(tmp_path, "a") == ["x.zarr", "y.ome.zarr", "z.png"]
    assert names(tmp_path, "a/**") == ["x.zarr", "y.ome.zarr", "z.png"]
    assert names(tmp_path, "a/x.zarr") == ["x.zarr"]


def test_a_folder_of_dicom_slices_is_one_image_with_or_without_endings(tmp_path: Path) -> None:
    make(tmp_path, "a/1.2.840/1.dcm", "a/1.2.840/2.dcm", "a/other/readme.txt")
    (tmp_path / "a" / "1.2.841").mkdir()
    (tmp_path / "a" / "1.2.841" / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert names(tmp_path, "a") == ["1.2.840", "1.2.841"]


DICOM = bytes(128) + b"DICM"


def test_what_systems_leave_beside_dicom_slices_makes_no_other_images_of_them(
    tmp_path: Path,
) -> None:
    slices = [f"s/slice{n:02}.dcm" for n in range(40)]
    make(tmp_path, *slices, "s/Thumbs.db", "s/desktop.ini", "s/README")
    assert names(tmp_path, "s") == ["s"]


def test_dicom_slices_named_by_numbers_with_points_are_one_image(tmp_path: Path) -> None:
    make(tmp_path, "uid/Thumbs.db", *(f"uid/1.2.826.0.1.{n}" for n in range(13990, 13993)))
    for path in (tmp_path / "uid").glob("1.2*"):
        path.write_bytes(DICOM)
    assert names(tmp_path, "uid") == ["uid"]


@pytest.mark.parametrize("tables", [["batch.csv"], ["batch.csv", "summary.csv"]])
def test_a_folder_of_dicom_segmentations_of_ours_is_no_series(
    tables: list[str], tmp_path: Path
) -> None:
    results = [f"out/{n:02}_labels.dcm{more}" for n in range(15) for more in ("", ".json")]
    make(tmp_path, *results, *(f"out/{table}" for table in tables))
    assert len(names(tmp_path, "out", out="elsewhere")) == 15


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("b/cells.ome.tif", "b/cells"),
        ("brain.NII.GZ", "brain"),
        ("1.2.840.113", "1.2.840.113"),
        ("v1.5.png", "v1.5"),
        (".tif", ".tif"),
        ("IM0001", "IM0001"),
    ],
)
def test_the_stem_of_a_name_is_what_stands_before_its_ending(name: str, stem: str) -> None:
    assert BatchItem(Path(name), name).stem == stem


def test_what_lies_in_the_output_below_the_folder_is_no_image(tmp_path: Path) -> None:
    make(tmp_path, "x.tif", "out/x_labels.tif", "out2/y.tif")
    assert names(tmp_path, ".") == ["out2/y.tif", "x.tif"]
    assert names(tmp_path, "**/*.tif") == ["out2/y.tif", "x.tif"]


def test_an_image_that_is_found_twice_is_done_once(tmp_path: Path) -> None:
    make(tmp_path, "x.tif")
    assert names(tmp_path, "x.tif", "*.tif", ".") == ["x.tif"]


def test_a_pattern_without_a_file_is_said(tmp_path: Path) -> None:
    make(tmp_path, "x.tif")
    wanted = [str(tmp_path / "x.tif"), str(tmp_path / "*.png"), str(tmp_path / "empty")]
    (tmp_path / "empty").mkdir()
    items, notes = find_items(wanted, tmp_path / "out")
    assert len(items) == 1
    assert "*.png" in notes[0]
    assert "There is no image in" in notes[1]


def test_no_image_at_all_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No file fits the pattern"):
        find_items([str(tmp_path / "*.tif")], tmp_path)
    with pytest.raises(SettingsError, match="name some"):
        find_items([], tmp_path)


def test_an_empty_name_does_not_stand_for_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "x.tif")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="is empty"):
        find_items(["", "x.tif"], tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="links take a privilege on Windows")
def test_a_link_to_a_folder_above_does_not_lead_round_in_a_circle(tmp_path: Path) -> None:
    make(tmp_path, "a/x.tif")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path, "a") == ["x.tif"]


def test_parts_cover_all_images_once() -> None:
    items = [BatchItem(Path(str(n)), str(n)) for n in range(11)]
    parts = [part_of(items, f"{k}/3") for k in (1, 2, 3)]
    assert sorted(chain(*parts), key=items.index) == items
    assert max(map(len, parts)) - min(map(len, parts)) == 1


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "-1/3", "1/0"])
def test_a_part_that_cannot_be_is_a_sentence(part: str) -> None:
    with pytest.raises(SettingsError, match="K/N"):
        part_of([], part)


def test_the_digest_of_a_folder_changes_with_names_and_contents(tmp_path: Path) -> None:
    make(tmp_path, "a/x/0", "a/x/1")
    digests = {digest_of(tmp_path / "a")}
    (tmp_path / "a" / "x" / "1").write_bytes(b"1")
    digests.add(digest_of(tmp_path / "a"))
    (tmp_path / "a" / "x" / "1").rename(tmp_path / "a" / "x" / "2")
    digests.add(digest_of(tmp_path / "a"))
    assert len(digests) == 3


def test_the_digest_of_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="Cannot read"):
        digest_of(tmp_path / "no.tif")
