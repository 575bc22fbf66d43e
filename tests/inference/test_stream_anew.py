"""A streamed result that is made anew: the finished one stays until the new one is complete."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_rwkv_seg import files
from napari_rwkv_seg.errors import ImageError, OutputError, RunError
from napari_rwkv_seg.inference import stream_image, streaming
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.inference.steps import drained
from napari_rwkv_seg.inference.stream_anew import settle
from napari_rwkv_seg.inference.stream_folder import is_complete, open_levels, read_progress
from napari_rwkv_seg.inference.stream_image import StreamImage
from napari_rwkv_seg.inference.streaming import StreamOptions, segment_to_store_steps
from napari_rwkv_seg.inference.tiles import pieces

NETWORK_ONLY = LabelSettings(fill_holes=False, smallest_object=0)
ANEW = StreamOptions(block=64, begin_anew=True, keep_classes=False)

Stream = Callable[..., Any]


def halves(height: int = 150, width: int = 140) -> np.ndarray:
    """Return an image whose right half is bright."""
    image = np.zeros((height, width), np.float32)
    image[:, width // 2 :] = 1
    return image


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "x.ome.zarr"


@pytest.fixture
def model(pixel_model: Model) -> Model:
    return replace(pixel_model, card=pixel_model.card.model_copy(update={"tile_size": 64}))


def steps_of(
    image: Any, model: Model, store: Path, options: StreamOptions = ANEW, **changes: Any
) -> Any:
    chosen: dict[str, Any] = {"axes": "YX", "settings": NETWORK_ONLY, "options": options} | changes
    return segment_to_store_steps(image, model, store, **chosen)


def labels_in(store: Path) -> np.ndarray:
    return np.asarray(open_levels(store)[0])


def inside(store: Path) -> set[str]:
    return {one.name for one in store.iterdir()}


def bright(image: np.ndarray) -> np.ndarray:
    return image > 0.5


def test_a_cancelled_run_leaves_the_finished_result_and_is_gone_on_with(
    model: Model, store: Path
) -> None:
    first, second = halves(), 1 - halves()
    drained(steps_of(first, model, store))
    steps = steps_of(second, model, store)
    while not (store / "anew" / "work" / "classes" / "c" / "1").exists():
        next(steps)
    steps.close()
    assert is_complete(store)
    np.testing.assert_array_equal(labels_in(store), bright(first))
    before = len(model.network.sizes)  # type: ignore[arg-type]

    drained(steps_of(second, model, store))

    np.testing.assert_array_equal(labels_in(store), bright(second))
    assert len(model.network.sizes) - before < before  # type: ignore[arg-type]
    assert inside(store).isdisjoint({"anew", "old"})
    run = read_progress(store)["run"]  # type: ignore[index]
    drained(steps_of(second, model, store, StreamOptions(block=64)))  # it is this run's
    assert read_progress(store)["run"] == run  # type: ignore[index]


def test_a_run_that_fails_leaves_the_finished_result(model: Model, store: Path) -> None:
    class Broken:
        shape, dtype = halves().shape, np.dtype(np.float32)
        reads = 0

        def __getitem__(self, key: Any) -> np.ndarray:
            self.reads += 1
            if self.reads > 5:
                raise OSError("the disk is gone")
            return (1 - halves())[key]

    drained(steps_of(halves(), model, store))
    with pytest.raises(ImageError, match="the disk is gone"):
        drained(steps_of(Broken(), model, store))
    np.testing.assert_array_equal(labels_in(store), bright(halves()))
    assert (store / "anew").is_dir()


def test_what_was_begun_anew_of_yet_another_run_is_begun_once_more(
    model: Model, store: Path
) -> None:
    drained(steps_of(halves(), model, store))
    steps = steps_of(np.zeros_like(halves()), model, store)
    while not (store / "anew" / "0").exists():
        next(steps)
    steps.close()
    drained(steps_of(1 - halves(), model, store))
    np.testing.assert_array_equal(labels_in(store), bright(1 - halves()))


def test_a_store_that_is_not_complete_is_gone_on_with_in_its_place(
    model: Model, store: Path
) -> None:
    steps = steps_of(halves(300), model, store)
    while not (store / "work" / "classes" / "c" / "0").exists():
        next(steps)
    steps.close()
    done = len(model.network.sizes)  # type: ignore[arg-type]
    drained(steps_of(halves(300), model, store))
    whole = len(list(pieces(300, 64))) * len(list(pieces(140, 64)))
    assert whole <= len(model.network.sizes) < whole + done  # type: ignore[arg-type]
    np.testing.assert_array_equal(labels_in(store), bright(halves(300)))


@pytest.mark.parametrize("keep_classes", [True, False])
def test_the_network_runs_again_unless_classes_may_be_kept(
    keep_classes: bool, model: Model, store: Path
) -> None:
    drained(steps_of(halves(), model, store))
    before = len(model.network.sizes)  # type: ignore[arg-type]
    drained(steps_of(halves(), model, store, replace(ANEW, keep_classes=keep_classes)))
    again = len(model.network.sizes) - before  # type: ignore[arg-type]
    assert again == (0 if keep_classes else before)


@pytest.fixture
def both(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store whose new result, of fewer levels, is complete and has not moved."""
    store = tmp_path / "both.ome.zarr"
    drained(steps_of(halves(300, 140), model, store))
    monkeypatch.setattr(streaming, "settle", lambda folder: None)
    drained(steps_of(1 - halves(), model, store))
    monkeypatch.undo()
    np.testing.assert_array_equal(labels_in(store), bright(halves(300, 140)))
    return store


class Killed(BaseException):
    """Stands for the end of the process."""


def test_wherever_the_taking_of_places_is_cut_off_it_goes_on(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace
    for moves in range(100):
        store = shutil.copytree(both, tmp_path / f"{moves}.ome.zarr")
        left = [moves]

        def move(path: Path, target: Path, left: list[int] = left) -> Path:
            if not left[0]:
                raise Killed
            left[0] -= 1
            moved: Path = real(path, target)
            return moved

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", move)
            try:
                settle(store)
            except Killed:
                is_through = False
            else:
                is_through = True
        assert read_progress(store) is not None  # it is known for ours at any moment
        settle(store)
        np.testing.assert_array_equal(labels_in(store), bright(1 - halves()))
        assert inside(store).isdisjoint({"anew", "old"})
        if is_through:
            assert moves > 5
            return
    pytest.fail("It never came to an end.")


def test_a_result_that_was_complete_takes_its_place_when_the_store_is_next_opened(
    both: Path, model: Model
) -> None:
    before = len(model.network.sizes)  # type: ignore[arg-type]
    drained(steps_of(1 - halves(), model, both, StreamOptions(block=64)))
    assert len(model.network.sizes) == before  # type: ignore[arg-type]
    np.testing.assert_array_equal(labels_in(both), bright(1 - halves()))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_in_which_nothing_can_be_moved_is_a_sentence(both: Path) -> None:
    both.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Cannot use"):
            settle(both)
    finally:
        both.chmod(0o700)


def test_what_tells_the_source_from_others_is_part_of_the_run(model: Model, store: Path) -> None:
    options = StreamOptions(block=64, source={"time of the file": 1})
    drained(steps_of(halves(), model, store, options))
    drained(steps_of(halves(), model, store, options))
    with pytest.raises(RunError, match="different: time of the file"):
        drained(steps_of(halves(), model, store, replace(options, source={"time of the file": 2})))


def test_every_pixel_of_a_small_plane_tells_images_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    image = halves(400, 400)
    other = image.copy()
    other[75, 75] = 7  # between two squares
    one, two = (StreamImage(each, "YX", 1).fingerprint() for each in (image, other))
    assert one != two
    monkeypatch.setattr(stream_image, "_AT_ONCE", 1000)
    one, two = (StreamImage(each, "YX", 1).fingerprint() for each in (image, other))
    assert one == two


def test_a_chunk_that_is_being_read_is_written_a_moment_later(
    model: Model, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows it cannot be replaced while the layer that shows it has it open."""
    real, refused = Path.replace, []

    def held(path: Path, target: Path) -> Path:
        if "c" in Path(target).parts and len(refused) < 2:
            refused.append(target)
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
        moved: Path = real(path, target)
        return moved

    monkeypatch.setattr(files, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(Path, "replace", held)
    drained(steps_of(halves(), model, store))
    assert len(refused) == 2
    np.testing.assert_array_equal(labels_in(store), bright(halves()))
