from pathlib import Path

import numpy as np
import pytest

from napari_rwkv_seg.errors import OutputError, RunError
from napari_rwkv_seg.training import run_folder
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.run_folder import (
    RunFolder,
    locked,
    new_run_path,
    prepare_run,
    read_snapshot,
)
from napari_rwkv_seg.training.run_settings import RunSettings

SETTINGS = RunSettings(name="cells", minutes=1)


def make_pair(dtype: str = "uint8", shape: tuple[int, ...] = (5, 7)) -> TrainingPair:
    generator = np.random.default_rng(42)
    image = generator.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    labels = generator.integers(0, 70_000, (5, 7)).astype(np.int32)
    return TrainingPair("cell 1", image, labels, generator.random((5, 7)) > 0.5, "series")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("uint8", (5, 7, 3)),
        ("uint16", (5, 7)),
        ("int64", (5, 7)),
        ("float32", (5, 7, 4)),
        ("float64", (5, 7, 1)),
    ],
)
def test_a_snapshot_gives_back_the_pixels_that_it_was_made_of(
    tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    pair = make_pair(dtype, shape)
    [read] = read_snapshot(prepare_run(tmp_path / "run", SETTINGS, [pair]))
    assert (read.name, read.group) == ("cell 1", "series")
    assert read.image.dtype == pair.image.dtype
    np.testing.assert_array_equal(read.image, pair.image)
    np.testing.assert_array_equal(read.labels, pair.labels)
    np.testing.assert_array_equal(read.checked, pair.checked)


def test_the_settings_of_a_run_name_the_snapshot_and_can_be_read_from_anywhere(
    tmp_path: Path,
) -> None:
    run = prepare_run(tmp_path / "run", SETTINGS, [make_pair()])
    moved = RunFolder(run.path.rename(tmp_path / "moved"))
    assert moved.settings().pairs[0].image == "snapshot/000_image.tif"
    assert len(read_snapshot(moved)) == 1


def test_a_run_whose_snapshot_was_changed_is_refused(tmp_path: Path) -> None:
    run = prepare_run(tmp_path / "run", SETTINGS, [make_pair()])
    file = run.snapshot / "000_labels.tif"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match=r"000_labels\.tif.*was changed"):
        read_snapshot(run)
    file.unlink()
    with pytest.raises(RunError, match=r"000_labels\.tif"):
        read_snapshot(run)


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        prepare_run(tmp_path, SETTINGS, [make_pair()])
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_be_written_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "write_settings", full)
    with pytest.raises(OutputError, match="No space left"):
        prepare_run(tmp_path / "run", SETTINGS, [make_pair()])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run\.toml"):
        RunFolder(tmp_path).settings()


def test_a_run_is_worked_on_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = prepare_run(tmp_path / "run", SETTINGS, [make_pair()])
    with locked(run), pytest.raises(RunError, match="under way"), locked(run):
        pass
    with locked(run):
        pass


def test_two_runs_of_one_second_get_different_folders(tmp_path: Path) -> None:
    first = new_run_path("cells", tmp_path)
    first.mkdir()
    assert not new_run_path("cells", tmp_path).exists()
    assert first.name.endswith("-cells")
