"""Images of a batch that are streamed into a store, here and by the workers of a cluster."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from napari_rwkv_seg.controllers import stream_cluster, streaming
from napari_rwkv_seg.controllers.batch import Batch, BatchChoices, batch_steps
from napari_rwkv_seg.controllers.batch_items import BatchItem
from napari_rwkv_seg.controllers.batch_stream import opened_if_huge
from napari_rwkv_seg.controllers.batch_tasks import TaskNews
from napari_rwkv_seg.controllers.batch_workers import Crew
from napari_rwkv_seg.errors import ClusterError
from napari_rwkv_seg.images.readers import read_image
from napari_rwkv_seg.inference.stream_folder import FORMAT, PROGRESS, open_levels
from napari_rwkv_seg.inference.stream_image import StreamImage

from .batching import row_of, run, states, write_image, write_tiny_model

TALL = (2100, 70)  # three rows of blocks


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def tall(tmp_path: Path) -> Path:
    return write_image(tmp_path / "images" / "tall.tif", shape=TALL)


@pytest.fixture
def batch(model: Path, tall: Path) -> Batch:
    choices = BatchChoices(model=str(model), device="cpu", stream=True)
    return Batch([tall], tall.parents[1] / "out", choices)


def labels_of(batch: Batch) -> np.ndarray:
    return np.asarray(open_levels(batch.out / "tall_labels.ome.zarr")[0])


def whole_labels(batch: Batch) -> np.ndarray:
    whole = replace(batch, out=batch.out.with_name("whole"), crew=None)
    run(replace(whole, choices=replace(batch.choices, stream=False)))
    labels: np.ndarray = tifffile.imread(whole.out / "tall_labels.tif")
    return labels


def test_a_streamed_image_has_the_labels_of_a_whole_run(batch: Batch) -> None:
    row = row_of(run(batch), "tall.tif")
    assert (row.state, row.labels) == ("done", "tall_labels.ome.zarr")
    assert "streamed into an OME-Zarr store" in row.note
    np.testing.assert_array_equal(labels_of(batch), whole_labels(batch))
    assert len(np.unique(labels_of(batch))) == 2


def test_what_is_streamed_is_kept_and_never_replaced_unasked(batch: Batch) -> None:
    run(batch)
    before = labels_of(batch)
    assert states(run(batch)) == {"tall.tif": "skipped"}
    other = replace(batch, choices=replace(batch.choices, wishes={"threshold": 0.9}))
    row = row_of(run(other), "tall.tif")
    assert row.state == "failed"
    assert "another run; different: settings" in row.note
    np.testing.assert_array_equal(labels_of(batch), before)

    again = replace(other, choices=replace(other.choices, overwrite=True))
    assert states(run(again)) == {"tall.tif": "done"}
    assert (labels_of(batch) != before).any()


@pytest.fixture
def small(tall: Path) -> Path:
    return write_image(tall, shape=(150, 70))


def overwriting(batch: Batch) -> Batch:
    return replace(batch, choices=replace(batch.choices, overwrite=True))


def test_to_overwrite_runs_the_network_also_where_all_seems_the_same(
    batch: Batch, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an image that was changed where it is not looked at to know it again."""
    monkeypatch.setattr(StreamImage, "fingerprint", lambda self: "the same")
    run(batch)
    before, time = labels_of(batch), small.stat().st_mtime
    tifffile.imwrite(small, 255 - tifffile.imread(small))
    os.utime(small, (time, time))
    assert states(run(overwriting(batch))) == {"tall.tif": "done"}
    np.testing.assert_array_equal(labels_of(batch), whole_labels(batch))
    assert (labels_of(batch) != before).any()


def test_a_file_that_was_written_since_is_not_skipped(
    batch: Batch, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamImage, "fingerprint", lambda self: "the same")
    run(batch)
    os.utime(small, (1e9, 1e9))
    row = row_of(run(batch), "tall.tif")
    assert row.state == "failed"
    assert "different: time of the file" in row.note
    assert states(run(overwriting(batch))) == {"tall.tif": "done"}
    assert states(run(batch)) == {"tall.tif": "skipped"}


def test_a_zarr_whose_pixels_got_another_size_is_not_skipped(batch: Batch, tall: Path) -> None:
    import zarr

    folder = tall.with_name("z.ome.zarr")
    scale = {"type": "scale", "scale": [1, 1]}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    axes = [{"name": one, "type": "space", "unit": "micrometer"} for one in "yx"]

    def describe(size: float) -> None:
        scale["scale"] = [size, size]
        about = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [dataset]}]}
        zarr.open_group(folder, mode="a").attrs["ome"] = about

    describe(1)
    pixels = np.random.default_rng(42).integers(0, 255, (80, 70), dtype=np.uint8)
    zarr.create_array(folder / "0", data=pixels)
    image = replace(batch, images=[folder])
    assert states(run(image)) == {"z.ome.zarr": "done"}
    assert states(run(image)) == {"z.ome.zarr": "skipped"}
    describe(2)
    assert "different: place of the pixels" in run(image).rows[0].note


@pytest.mark.usefixtures("small")
def test_a_cancelled_overwriting_leaves_the_finished_labels(batch: Batch) -> None:
    run(batch)
    before = labels_of(batch)
    other = overwriting(replace(batch, choices=replace(batch.choices, wishes={"threshold": 0.01})))
    steps = batch_steps(other)
    while not (batch.out / "tall_labels.ome.zarr" / "anew" / "0" / "c").exists():
        next(steps)
    steps.close()
    np.testing.assert_array_equal(labels_of(batch), before)
    assert states(run(batch)) == {"tall.tif": "skipped"}
    assert states(run(other)) == {"tall.tif": "done"}
    np.testing.assert_array_equal(labels_of(batch), whole_labels(other))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_store_whose_state_is_damaged_fails_alone(
    batch: Batch, small: Path, overwrite: bool
) -> None:
    store = batch.out / "tall_labels.ome.zarr"
    store.mkdir(parents=True)
    (store / PROGRESS).write_text(json.dumps({"format": FORMAT, "run": {}, "state": []}))
    write_image(small.with_name("z.tif"), shape=(80, 70))
    both = replace(overwriting(batch) if overwrite else batch, images=[small.parent])
    table = run(both)
    assert states(table) == {"tall.tif": "failed", "z.tif": "done"}
    assert "is damaged; delete the folder" in row_of(table, "tall.tif").note


def test_what_a_streamed_image_does_not_get_is_said(batch: Batch) -> None:
    choices = replace(batch.choices, measure=True, overlay=True, format="nifti")
    row = row_of(run(replace(batch, choices=choices)), "tall.tif")
    assert row.note.endswith("without measurements, a picture, the format nifti.")


def test_an_image_too_large_for_the_memory_is_streamed_by_itself(
    tall: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Picture.fromarray(np.zeros((50, 50), np.uint8)).save(tall.with_name("picture.png"))
    tall.with_name("broken.tif").write_bytes(b"II*\0 no more")
    monkeypatch.setattr(streaming, "_free_memory", lambda: 1000)
    choices = BatchChoices()
    huge = BatchItem(tall, tall.name)
    assert opened_if_huge(huge, choices) is not None
    assert opened_if_huge(huge, replace(choices, stream=False)) is None
    for axes in ("QX", "YXC"):  # the run that follows says what is wrong with them
        assert opened_if_huge(huge, replace(choices, axes=axes)) is None
    for name in ("picture.png", "broken.tif", "missing.tif"):
        assert opened_if_huge(BatchItem(tall.with_name(name), name), choices) is None

    monkeypatch.setattr(streaming, "_free_memory", lambda: 10**12)
    assert opened_if_huge(huge, choices) is None


def test_the_size_of_pixels_is_that_of_the_file(batch: Batch, tall: Path) -> None:
    import zarr

    pixels = tifffile.imread(tall)
    about = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    about |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(tall, pixels, metadata=about, ome=True)
    assert states(run(batch)) == {"tall.tif": "done"}
    group = zarr.open_group(batch.out / "tall_labels.ome.zarr", mode="r")
    [multiscale] = group.attrs["ome"]["multiscales"]
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [0.25, 0.5]
    assert [axis["unit"] for axis in multiscale["axes"]] == ["micrometer", "micrometer"]


def test_the_size_of_pixels_that_was_mended_is_taken_over_by_wish(batch: Batch, tall: Path) -> None:
    pixels = tifffile.imread(write_image(tall, shape=(80, 70)))
    run(batch)
    about = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    about |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(tall, pixels, metadata=about, ome=True)
    again = replace(batch, choices=replace(batch.choices, overwrite=True))
    assert states(run(again)) == {"tall.tif": "done"}
    assert read_image(batch.out / "tall_labels.ome.zarr").geometry.spacing == (0.25, 0.5)


def test_the_place_of_a_patient_is_that_of_the_image_as_it_is_read(
    batch: Batch, tall: Path
) -> None:
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([-1.5, 1.5, 3, 1])
    affine[:3, 3] = 90, -126, -72
    pixels = np.random.default_rng(42).integers(0, 255, (70, 80, 2), dtype=np.uint8)
    nibabel.save(nibabel.Nifti1Image(pixels, affine), tall.with_name("scan.nii"))
    scan = replace(batch, images=[tall.with_name("scan.nii")])
    assert states(run(scan)) == {"scan.nii": "done"}
    image, labels = (
        read_image(path)
        for path in (tall.with_name("scan.nii"), batch.out / "scan_labels.ome.zarr")
    )
    assert image.geometry.turn is not None
    assert labels.geometry == replace(image.geometry, nifti=None, turn=None)
    assert labels.data.shape == image.data.shape


def test_axes_that_the_user_states_are_those_of_the_result(batch: Batch, tall: Path) -> None:
    tifffile.imwrite(tall, np.zeros((5, 90, 80), np.uint8), metadata={"axes": "ZYX"})
    stated = replace(batch, choices=replace(batch.choices, axes="CYX", channel=1))
    assert states(run(stated)) == {"tall.tif": "done"}
    assert labels_of(batch).shape == (90, 80)


def test_what_no_worker_could_do_is_done_here(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its three tasks: one is done, one is lost, of one nothing is heard."""
    monkeypatch.setattr(stream_cluster, "ROWS", 1)
    given = []

    def run_tasks(tasks, crew, paths):
        given.extend(task.arguments[0].rows for task in tasks)
        yield TaskNews(tasks[0], "done", tasks[0].function(*tasks[0].arguments))
        yield TaskNews(tasks[1], "lost", error=ClusterError("It died."))
        yield TaskNews()

    monkeypatch.setattr(stream_cluster, "run_tasks", run_tasks)
    assert states(run(replace(batch, crew=Crew(workers=1)))) == {"tall.tif": "done"}
    assert given == [(0,), (1,), (2,)]
    np.testing.assert_array_equal(labels_of(batch), whole_labels(batch))


def test_a_cluster_that_is_lost_ends_the_batch_which_goes_on_later(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_tasks(tasks, crew, paths):
        yield TaskNews(tasks[0], "done", tasks[0].function(*tasks[0].arguments))
        raise ClusterError("The scheduler was lost.")

    monkeypatch.setattr(stream_cluster, "run_tasks", run_tasks)
    with pytest.raises(ClusterError, match="scheduler was lost"):
        run(replace(batch, crew=Crew(workers=1)))
    assert states(run(batch)) == {"tall.tif": "done"}
    np.testing.assert_array_equal(labels_of(batch), whole_labels(batch))
