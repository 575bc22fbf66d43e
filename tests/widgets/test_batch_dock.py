"""The dock for many images, in a viewer, with a small untrained network behind it."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from napari.layers import Image, Labels
from PIL import Image as Picture
from qtpy.QtGui import QGuiApplication

from napari_rwkv_seg.controllers.batch_control import BatchController
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.napari_io import read_layers
from napari_rwkv_seg.widgets.batch_dock import BatchDock
from napari_rwkv_seg.widgets.batch_layers import items_of
from napari_rwkv_seg.widgets.batch_link import BatchLink
from napari_rwkv_seg.zoo import ModelCard, write_model
from napari_rwkv_seg.zoo.card import ClassCard
from napari_rwkv_seg.zoo.store import read_entry

pytestmark = pytest.mark.gui


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model of the smallest network, with weights that were never trained."""
    from napari_rwkv_seg.networks import build_network

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
def images(tmp_path: Path) -> Path:
    """Write two small images and one that is broken."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (37, 53), dtype=np.uint8)
        Picture.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"<html>")
    return folder


@pytest.fixture
def dock(viewer: Any, model: Path) -> BatchDock:
    controller = BatchController()
    controller.settings.choose(device="cpu")
    dock = BatchDock(controller, BatchLink(viewer, controller), lambda: [read_entry(model)])
    controller.settings.choose(model=str(model))
    viewer.window.add_dock_widget(dock, name="batch", area="right")
    return dock


def cells(dock: BatchDock, column: int) -> list[str]:
    rows = dock.table.model_
    return [rows.data(rows.index(row, column)) for row in range(rows.rowCount())]


def run(dock: BatchDock, until: Any) -> None:
    dock.run.start.click()
    until(lambda: not dock._link.is_busy)


def test_what_is_missing_stands_beneath_the_buttons(dock: BatchDock, images: Path) -> None:
    assert not dock.run.start.isEnabled()
    assert "folder of images" in dock.run.problem.text()
    dock.source.folder.line.setText(str(images))
    dock.results.out.line.setText(str(images.parent / "out"))
    assert dock.run.start.isEnabled()
    assert dock.run.problem.text() == ""


def test_every_image_has_a_row_that_says_how_it_fared(
    dock: BatchDock, images: Path, until: Any
) -> None:
    dock.source.ask_folder = lambda start: str(images)
    dock.results.ask_folder = lambda start: str(images.parent / "out")
    dock.source.folder.browse.click()
    dock.results.out.browse.click()
    run(dock, until)
    assert cells(dock, 0) == ["0.png", "1.png", "broken.png"]
    assert cells(dock, 1) == ["done", "done", "failed"]
    assert "web page" in cells(dock, 3)[2]
    assert dock.run.count.text() == "2 done, 0 skipped, 1 failed of 3 images."
    assert (images.parent / "out" / "0_objects.csv").is_file()
    run(dock, until)
    assert cells(dock, 1) == ["skipped", "skipped", "failed"]


def test_a_result_opens_with_its_image(
    dock: BatchDock, images: Path, until: Any, viewer: Any
) -> None:
    dock._controller.choose(folder=str(images), out=str(images.parent / "out"))
    run(dock, until)
    dock.table.selectRow(2)
    assert not dock.run.open.isEnabled()
    assert "web page" in dock.note.text()
    dock.table.selectRow(1)
    assert dock.run.open.isEnabled()
    dock.table.activated.emit(dock.table.model_.index(1, 0))
    until(lambda: not dock._link.is_busy)
    image, labels = viewer.layers
    assert isinstance(image, Image)
    assert isinstance(labels, Labels)
    assert image.name == "1.png"
    assert labels.data.shape == image.data.shape == (37, 53)


def test_layers_are_images_too_with_their_scale(
    dock: BatchDock, tmp_path: Path, until: Any, viewer: Any
) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (37, 53), dtype=np.uint8)
    viewer.add_image(pixels, name="a/b", scale=(0.5, 0.5), units="um")
    viewer.add_image(pixels + 1, name="a:b")
    dock._controller.choose(source="layers", out=str(tmp_path / "out"))
    assert "2 image layers" in dock.source.hint.text()
    assert not dock.run.copy.isEnabled()
    run(dock, until)
    assert cells(dock, 0) == ["a_b", "a_b (2)"]
    assert cells(dock, 1) == ["done", "done"]
    header = (tmp_path / "out" / "a_b_objects.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "area_um2" in header
    dock._link.open(dock._controller.table.rows[0])
    until(lambda: not dock._link.is_busy)
    assert tuple(viewer.layers[-1].scale) == (0.5, 0.5)


def world_of(layer: Any) -> np.ndarray:
    """Return where the first pixel, and one step along every axis from it, lie in the world."""
    points = np.vstack([np.zeros(layer.ndim), np.eye(layer.ndim)])
    return np.array([layer.data_to_world(point) for point in points])


@pytest.mark.parametrize("moved", [0, 5])
def test_a_layer_of_a_scan_gives_labels_in_the_place_and_the_order_of_its_file(
    dock: BatchDock, tmp_path: Path, until: Any, viewer: Any, moved: int
) -> None:
    scan, affine = tmp_path / "scan.nii.gz", np.eye(4)
    affine[:3] = [[0, 0, -3, 60], [1, 0, 0, -30], [0, 1, 0, -40]]  # planes from the side
    values = np.random.default_rng(5).integers(0, 999, (20, 24, 10)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, affine), scan)
    ((data, keywords, _),) = read_layers(str(scan))
    layer = viewer.add_image(data, **keywords)
    layer.translate = np.array(layer.translate) + moved * np.eye(3)[0]
    dock._controller.choose(source="layers", out=str(tmp_path / "out"), format="nifti")

    run(dock, until)
    dock._link.open(dock._controller.table.rows[0])
    until(lambda: not dock._link.is_busy)

    labels = nibabel.load(tmp_path / "out" / "scan_labels.nii.gz")
    if not moved:
        assert labels.shape == values.shape
        np.testing.assert_array_equal(labels.affine, affine)
    np.testing.assert_allclose(world_of(viewer.layers[-1]), world_of(layer), atol=1e-5)


def test_labels_of_a_layer_that_was_moved_lie_on_it_and_not_where_it_was(
    dock: BatchDock, tmp_path: Path, until: Any, viewer: Any
) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (37, 53), dtype=np.uint8)
    layer = viewer.add_image(
        pixels, name="a", scale=(0.5, 0.25), translate=(100, 200), units=("um", "um")
    )
    dock._controller.choose(source="layers", out=str(tmp_path / "out"))
    run(dock, until)
    dock._link.open(dock._controller.table.rows[0])
    until(lambda: not dock._link.is_busy)
    np.testing.assert_allclose(world_of(viewer.layers[-1]), world_of(layer))

    layer.affine = [[1, 0, 30], [0, 1, 0], [0, 0, 1]]
    run(dock, until)
    assert cells(dock, 1) == ["failed"]
    assert "is there already" in cells(dock, 3)[0]
    dock._controller.choose(overwrite=True)
    run(dock, until)
    dock._link.open(dock._controller.table.rows[0])
    until(lambda: not dock._link.is_busy)
    np.testing.assert_allclose(world_of(viewer.layers[-1]), world_of(layer))


def test_the_axes_of_layers_are_those_that_they_or_the_user_state(
    dock: BatchDock, tmp_path: Path, until: Any, viewer: Any
) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (3, 33, 35), dtype=np.uint8)
    viewer.add_image(pixels, name="movie", metadata={"axes": "TYX"})
    viewer.add_image(pixels, name="unclear", scale=(1, 2, 3))
    dock._controller.choose(source="layers", out=str(tmp_path / "out"))
    run(dock, until)
    assert cells(dock, 1) == ["done", "failed"]
    assert "T (time)" in cells(dock, 3)[0]
    assert "State its axes" in cells(dock, 3)[1]

    index = dock.source.axes.findData("CYX")
    dock.source.axes.setCurrentIndex(index)
    dock.source.axes.activated.emit(index)
    viewer.layers.remove("movie")
    run(dock, until)
    assert cells(dock, 1) == ["done"]
    dock._link.open(dock._controller.table.rows[0])
    until(lambda: not dock._link.is_busy)
    assert viewer.layers[-1].data.shape == (33, 35)
    assert tuple(viewer.layers[-1].scale) == (2, 3)


def test_axes_that_leave_no_place_for_the_colours_of_a_layer_are_refused(viewer: Any) -> None:
    layer = viewer.add_image(np.zeros((20, 30, 3), dtype=np.uint8), name="colours", rgb=True)
    (item,) = items_of([layer], "ZYX")
    assert item.read is not None
    with pytest.raises(ImageError, match="'colours' has colours"):
        item.read()
    (item,) = items_of([layer], "YXC")
    assert item.read is not None
    assert item.read().geometry.axes == "YX"


def test_linking_is_offered_for_any_batch_of_objects(dock: BatchDock) -> None:
    dock._controller.settings.choose(output="objects")
    assert dock.labels.link.isVisibleTo(dock.labels)
    dock._controller.settings.choose(output="classes")
    assert not dock.labels.link.isVisibleTo(dock.labels)


def test_how_often_tiles_are_looked_at_is_chosen_and_part_of_the_command(
    dock: BatchDock, images: Path
) -> None:
    dock._controller.choose(folder=str(images), out=str(images.parent / "out"))
    assert "--views" not in dock._controller.command()

    dock.views.activated.emit(dock.views.findData(4))

    assert dock.views.currentData() == 4
    assert "--views 4" in dock._controller.command()


def test_cancel_keeps_what_is_done_and_start_becomes_continue(
    dock: BatchDock, images: Path, until: Any
) -> None:
    dock._controller.choose(folder=str(images), out=str(images.parent / "out"))

    def cancel_in_the_second(rows: tuple[Any, ...]) -> None:
        if any(row.image == "1.png" and row.state == "running" for row in rows):
            dock.run.cancel.click()

    dock._controller.rows_changed.connect(cancel_in_the_second)
    run(dock, until)
    dock._controller.rows_changed.disconnect(cancel_in_the_second)
    assert cells(dock, 1)[0] == "done"
    assert "waiting" in cells(dock, 1)
    assert dock.run.start.text() == "Continue"
    assert not dock.run.cancel.isEnabled()
    run(dock, until)
    assert cells(dock, 1) == ["skipped", "done", "failed"]
    assert dock.run.start.text() == "Start"


def test_what_is_chosen_in_the_dock_is_what_is_done(
    dock: BatchDock, images: Path, until: Any
) -> None:
    dock._controller.choose(folder=str(images), pattern="0.*", out=str(images.parent / "out"))
    dock.labels.threshold.setValue(0.25)
    dock.results.overlay.setChecked(True)
    dock.results.measure.setChecked(False)
    run(dock, until)
    names = {path.name for path in (images.parent / "out").iterdir()}
    assert names == {"0_labels.tif", "0_labels.json", "0_overlay.png", "batch.csv"}
    assert '"threshold": 0.25' in (images.parent / "out" / "0_labels.json").read_text()


def test_the_command_is_copied(dock: BatchDock, images: Path) -> None:
    dock._controller.choose(folder=str(images), out=str(images.parent / "out"))
    dock.run.copy.click()
    assert QGuiApplication.clipboard().text() == dock._controller.command()


def test_closing_the_dock_ends_the_batch_and_leaves_whole_results(
    dock: BatchDock, images: Path, until: Any, viewer: Any, qtbot: Any
) -> None:
    dock._controller.choose(folder=str(images), out=str(images.parent / "out"))
    gone: list[bool] = []
    dock.destroyed.connect(lambda: gone.append(True))
    link = dock._link
    dock.run.start.click()
    until(lambda: bool(dock._controller.table.rows))
    viewer.window.remove_dock_widget(dock)
    until(lambda: bool(gone))
    assert not link.is_busy
    assert list((images.parent / "out").glob(".batch.*")) == []


def test_an_error_of_the_batch_is_shown(dock: BatchDock, images: Path, until: Any) -> None:
    dock._controller.choose(folder=str(images), pattern="*.jpg", out=str(images.parent / "out"))
    run(dock, until)
    assert "No file fits the pattern" in dock.run.problem.text()
    assert dock.run.start.isEnabled()


def test_every_widget_has_a_name_for_screen_readers(dock: BatchDock) -> None:
    from qtpy.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QTableView

    nameless = [
        widget
        for kind in (QAbstractButton, QComboBox, QTableView)
        for widget in dock.findChildren(kind)
        if not widget.accessibleName()
        and not widget.objectName().startswith("qt_")
        and type(widget).__name__ != "QTableCornerButton"
    ]
    lines = [dock.source.folder.line, dock.results.out.line, dock.source.pattern]
    assert [type(one).__name__ for one in nameless if one.isVisibleTo(dock)] == []
    assert all(isinstance(one, QLineEdit) and one.accessibleName() for one in lines)
