"""The command `segment` with folders, patterns, measurements, formats and workers."""

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from napari_rwkv_seg.cli import app
from napari_rwkv_seg.zoo import ModelCard, write_model
from napari_rwkv_seg.zoo.card import ClassCard


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model of the smallest network, with weights that were never trained."""
    import torch

    from napari_rwkv_seg.networks import build_network

    torch.manual_seed(42)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    classes = [ClassCard(name=name, color="#ff0000") for name in ("background", "thing")]
    card = ModelCard(
        name="tiny", title="Tiny", purpose="for tests", architecture="med_urwkv", variant="T",
        config={"encoder": "plain"}, classes=classes, tile_size=64, license="BSD-3-Clause",
        training_data="none",
    )  # fmt: skip
    write_model(folder, build_network("med_urwkv", "T", encoder="plain"), card, "For tests.")
    return folder


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    """Write two folders with an image of the same name, and one broken image."""
    for number, plate in enumerate("ab"):
        folder = tmp_path / "plates" / plate
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 255, (37, 53), dtype=np.uint8)
        tifffile.imwrite(
            folder / "x.tif",
            pixels,
            ome=True,
            metadata={
                "axes": "YX",
                "PhysicalSizeX": 0.25,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": 0.5,
                "PhysicalSizeYUnit": "µm",
            },
        )
    (tmp_path / "plates" / "b" / "broken.tif").write_bytes(b"")
    return tmp_path / "plates"


def segment(model: Path, out: Path, *arguments: str | Path) -> Result:
    words = ["segment", "--model", model, "--device", "cpu", "-o", out, *arguments]
    return CliRunner().invoke(app, [str(word) for word in words])


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_pattern_keeps_folders_and_a_failure_does_not_stop_the_rest(
    model: Path, plates: Path
) -> None:
    out = plates.parent / "out"
    result = segment(model, out, f"{plates}/**/*.tif")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        str(out / "a" / "x_labels.tif"),
        str(out / "b" / "x_labels.tif"),
    ]
    assert "b/broken.tif: " in result.stderr
    assert "2 done, 0 skipped, 1 failed of 3 images." in result.stderr


def test_the_same_command_again_is_done_at_once_and_is_no_failure(
    model: Path, plates: Path
) -> None:
    (plates / "b" / "broken.tif").unlink()
    out = plates.parent / "out"
    assert segment(model, out, plates).exit_code == 0
    again = segment(model, out, plates)
    assert again.exit_code == 0
    assert again.stdout == ""
    assert "0 done, 2 skipped, 0 failed of 2 images." in again.stderr


def test_measurements_are_in_the_unit_of_the_file(model: Path, plates: Path) -> None:
    out = plates.parent / "out"
    segment(model, out, plates, "--measure", "--output", "objects")
    labels = tifffile.imread(out / "a" / "x_labels.tif")
    objects = rows_in(out / "a" / "x_objects.csv")
    summary = rows_in(out / "summary.csv")
    assert len(objects) == labels.max()
    area = sum(float(row["area_um2"]) for row in objects)
    assert area == pytest.approx(np.count_nonzero(labels) * 0.125, rel=1e-5)
    assert float(summary[0]["size"]) == pytest.approx(area, rel=1e-5)
    assert summary[0]["size_unit"] == "um2"
    assert summary[0]["image"] == "a/x.tif"


def test_a_volume_is_measured_in_mm_and_its_labels_lie_where_it_lies(
    model: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (21, 19, 3)).astype(np.int16)
    affine = np.diag([-0.5, 0.75, 2.0, 1.0])
    affine[:3, 3] = (10, -20, 5)
    nibabel.save(nibabel.Nifti1Image(pixels, affine), tmp_path / "brain.nii.gz")
    out = tmp_path / "out"
    options = ("--format", "nifti", "--measure", "--axes", "ZYX")
    result = segment(model, out, tmp_path / "brain.nii.gz", *options)
    assert result.exit_code == 0, result.stderr
    labels = nibabel.load(out / "brain_labels.nii.gz")
    np.testing.assert_array_equal(labels.affine, affine)
    assert labels.shape == pixels.shape
    [row] = rows_in(out / "summary.csv")
    assert row["size_unit"] == "mm3"
    assert float(row["size"]) == pytest.approx(np.count_nonzero(labels.dataobj) * 0.75, rel=1e-5)
    assert (out / "brain_labels.nii.gz.json").is_file()


def test_directions_and_linking_of_a_volume_are_in_its_record(model: Path, tmp_path: Path) -> None:
    volume = np.zeros((6, 40, 44), np.uint8)
    volume[:, 10:30, 12:34] = 220
    tifffile.imwrite(tmp_path / "body.tif", volume, metadata={"axes": "ZYX"}, imagej=True)
    tifffile.imwrite(tmp_path / "flat.tif", volume[0])
    options = ("--output", "objects", "--directions", "zyx", "--link", "z")
    result = segment(model, tmp_path / "out", tmp_path / "*.tif", *options)
    record = json.loads((tmp_path / "out" / "body_labels.json").read_text())

    assert result.exit_code == 0, result.output
    assert record["directions"] == "ZYX"
    assert record["settings"]["link"] == "Z"
    assert "no volume" in result.output


def test_how_often_tiles_are_looked_at_is_in_the_record(model: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cell.tif", np.full((40, 44), 200, np.uint8))
    result = segment(model, tmp_path / "out", tmp_path / "cell.tif", "--views", "4")
    again = segment(model, tmp_path / "out", tmp_path / "cell.tif", "--views", "8", "--overwrite")
    record = json.loads((tmp_path / "out" / "cell_labels.json").read_text())

    assert result.exit_code == again.exit_code == 0, result.output
    assert record["views"] == 8


def test_a_wrong_number_of_views_is_one_sentence(model: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cell.tif", np.full((40, 44), 200, np.uint8))
    result = segment(model, tmp_path / "out", tmp_path / "cell.tif", "--views", "3")

    assert result.exit_code != 0
    assert "Views is 1, 4 or 8, not 3." in result.stderr
    assert not (tmp_path / "out").exists()


def test_two_formats_of_the_same_labels_lie_side_by_side(model: Path, plates: Path) -> None:
    out = plates.parent / "out"
    assert segment(model, out, plates / "a").exit_code == 0
    assert segment(model, out, plates / "a", "--format", "PNG").exit_code == 0
    assert segment(model, out, plates / "a").stdout == ""
    assert {path.name for path in out.iterdir()} == {
        *("x_labels.tif", "x_labels.json", "x_labels.png", "x_labels.png.json", "batch.csv")
    }


def test_parts_of_a_batch_make_the_whole(model: Path, plates: Path) -> None:
    (plates / "b" / "broken.tif").unlink()
    out = plates.parent / "out"
    assert len(segment(model, out, plates, "--part", "1/2").stdout.splitlines()) == 1
    assert len(segment(model, out, plates, "--part", "2/2").stdout.splitlines()) == 1
    assert "0 done, 2 skipped" in segment(model, out, plates).stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--format", "bmp"), "ome-tiff"),
        (("--part", "3/2"), "K/N"),
        (("--workers", "2", "--scheduler", "tcp://x:1"), "not both"),
    ],
)
def test_a_wrong_choice_is_a_sentence(
    model: Path, plates: Path, options: tuple[str, ...], named: str
) -> None:
    result = segment(model, plates.parent / "out", plates, *options)
    assert result.exit_code == 1
    assert named in result.stderr
    assert "Traceback" not in result.stderr


def test_a_pattern_that_fits_nothing_is_a_sentence(model: Path, plates: Path) -> None:
    result = segment(model, plates.parent / "out", f"{plates}/*.jpg")
    assert result.exit_code == 1
    assert "No file fits the pattern" in result.stderr


def test_workers_share_the_images(model: Path, plates: Path) -> None:
    out = plates.parent / "out"
    result = segment(model, out, plates, "--workers", "1")
    assert "2 done, 0 skipped, 1 failed of 3 images." in result.stderr
    assert sorted(path.name for path in out.rglob("*_labels.tif")) == ["x_labels.tif"] * 2
