"""The dock "Fine-tune on my labels": what it shows, and that its controls do what they say."""

import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent, QGuiApplication
from qtpy.QtWidgets import QApplication

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_pairs import Checked
from napari_rwkv_seg.training.run_folder import RunFolder, locked
from napari_rwkv_seg.widgets.finetune_dock import FinetuneDock
from napari_rwkv_seg.widgets.finetune_link import FinetuneLink
from napari_rwkv_seg.widgets.made_of import made_of
from napari_rwkv_seg.widgets.marks import METADATA_KEY
from napari_rwkv_seg.widgets.model_news import news_of
from napari_rwkv_seg.zoo.store import ModelEntry, list_models, user_folder

from .conftest import MODELS, PATIENCE_MS

pytestmark = pytest.mark.gui

FAKE = Path(__file__).parents[1] / "fake_trainer.py"
ONE_AND_THREE = Checked("these planes", planes="1, 3")


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """Keep the user's own models and runs out of the tests."""
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Count at once, and wait for a deaf trainer for a short time only."""
    monkeypatch.setattr("napari_rwkv_seg.widgets.finetune_link.SETTLED_MS", 10)
    monkeypatch.setattr("napari_rwkv_seg.widgets.finetune_runner.POLL_MS", 20)
    monkeypatch.setattr("napari_rwkv_seg.controllers.finetune_process.LEAVE_S", 0.3)
    monkeypatch.setattr("napari_rwkv_seg.controllers.finetune_process.TERMINATE_S", 0.3)


@pytest.fixture
def labels():
    """Return 64 × 200 labels of three cells."""
    labels = np.zeros((64, 200), dtype=np.int32)
    labels[10:30, 10:30] = labels[10:40, 90:110] = labels[20:50, 160:190] = 1
    return labels


@pytest.fixture
def open_dock(viewer, tmp_path):
    """Return what opens the dock, with a trainer of a mode, in the viewer's window."""

    def make(mode: str = "good") -> FinetuneDock:
        command = lambda run: [sys.executable, str(FAKE), str(run), mode]  # noqa: E731
        controller = FinetuneController(command)
        link = FinetuneLink(viewer, controller)
        dock = FinetuneDock(controller, link, news_of(viewer), lambda: [*MODELS, *own_models()])
        dock.questions = []
        dock.ask = lambda question: dock.questions.append(question) or True
        viewer.window.add_dock_widget(dock, name="fine-tune", area="right")
        return dock

    return make


@pytest.fixture
def with_cells(viewer, labels):
    """Open an image and its labels."""
    viewer.add_image((labels * 200).astype(np.uint8), name="cells")
    return viewer.add_labels(labels, name="mine")


@pytest.fixture
def train(until):
    """Return what presses the button, and waits for the first steps."""

    def run(dock: FinetuneDock) -> None:
        dock.run.button.click()
        until(lambda: dock._controller.story.step > 1)

    return run


@pytest.fixture
def train_to_end(train, until):
    """Return what trains for some steps, stops, and waits for the result."""

    def run(dock: FinetuneDock) -> None:
        train(dock)
        dock.run.stop.click()
        until(lambda: dock._controller.state == "ended")

    return run


def own_models() -> list[ModelEntry]:
    """Return the models that the user has taken into use."""
    return [entry for entry in list_models() if user_folder() in entry.folder.parents]


def test_the_model_that_made_the_labels_is_the_one_to_start_from(open_dock, with_cells, until):
    with_cells.metadata = {METADATA_KEY: {"model": MODELS[1].name}}
    dock = open_dock()
    until(lambda: dock.model.combo.currentText() == MODELS[1].card.title)

    dock.model.combo.setCurrentIndex(0)
    dock.model.combo.activated.emit(0)
    dock.on_shown()
    dock._link.layers_changed.emit()
    QApplication.processEvents()
    assert dock.model.combo.currentText() == MODELS[0].card.title


def row_text(dock: FinetuneDock, row: int = 0) -> str:
    return dock.pairs.list.item(row).text()


def test_without_layers_the_button_is_off_and_the_reason_is_written(open_dock) -> None:
    dock = open_dock()

    assert not dock.run.button.isEnabled()
    assert "Open an image and its labels" in dock.run.problem.text()


def test_pairs_that_are_open_are_listed_at_once_with_their_pixels(
    open_dock, with_cells, until
) -> None:
    dock = open_dock()

    assert row_text(dock).startswith("cells + mine")
    until(lambda: "class 1 1\u202f900 px" in row_text(dock))
    assert "class 0 10\u202f900 px" in row_text(dock)
    assert dock.run.button.isEnabled()
    until(lambda: "held out" in dock.run.split.text())


def test_painting_is_counted_a_little_later(open_dock, with_cells, until) -> None:
    dock = open_dock()
    until(lambda: "1\u202f900 px" in row_text(dock))

    with_cells.data_setitem((np.array([0, 0]), np.array([0, 1])), 1)

    until(lambda: "1\u202f902 px" in row_text(dock))
    with_cells.undo()
    until(lambda: "1\u202f900 px" in row_text(dock))


def test_a_result_that_nobody_has_corrected_is_said_to_be_so(
    dock, segment, image, viewer, open_dock, until
) -> None:
    viewer.add_image(image)
    labels = segment(dock)
    tune = open_dock()
    until(lambda: "not corrected" in row_text(tune))
    assert "its own answers" in tune.pairs.warning.text()

    labels.paint((2, 2), 1)
    until(lambda: "px" in row_text(tune) and "not corrected" not in row_text(tune))
    assert tune.pairs.warning.text() == ""

    labels.undo()
    until(lambda: "not corrected" in row_text(tune))


def test_a_pair_that_is_not_ticked_is_not_used(open_dock, with_cells, until) -> None:
    dock = open_dock()

    dock.pairs.list.item(0).setCheckState(Qt.CheckState.Unchecked)

    until(lambda: not dock.run.button.isEnabled())
    assert "No pair is ticked" in dock.run.problem.text()


def test_two_layers_are_added_by_hand_and_a_misfit_says_what_is_wrong(
    open_dock, viewer, with_cells, until
) -> None:
    viewer.add_labels(np.zeros((8, 9), dtype=int), name="small")
    dock = open_dock()
    dock.pairs.add.labels.setCurrentIndex(dock.pairs.add.labels.findText("small"))

    dock.pairs.add.add_layers.click()

    until(lambda: dock.pairs.list.count() == 2)
    assert "do not fit" in row_text(dock, 1)
    assert "do not fit" in dock.run.problem.text()


def test_the_orientation_is_chosen_and_shown(open_dock, with_cells, until) -> None:
    dock = open_dock()
    assert dock._controller.choices.orientation == "auto"
    box = dock.budget.orientation
    box.setCurrentIndex(box.findText("As in the images"))
    box.activated.emit(box.currentIndex())
    assert dock._controller.choices.orientation == "fixed"
    dock._controller.choose(orientation="any")
    until(lambda: box.currentText() == "Any way round")


def test_labels_that_say_they_lie_elsewhere_are_not_put_together(
    open_dock, viewer, labels, until
) -> None:
    viewer.add_image((labels * 200).astype(np.uint8), name="cells", scale=(0.5, 0.5))
    viewer.add_labels(labels, name="elsewhere", scale=(0.7, 0.7))
    viewer.add_labels(labels, name="mute")
    dock = open_dock()
    assert dock.pairs.list.count() == 0  # neither lies where the image does
    for name in ("elsewhere", "mute"):
        dock.pairs.add.labels.setCurrentIndex(dock.pairs.add.labels.findText(name))
        dock.pairs.add.add_layers.click()
    until(lambda: dock.pairs.list.count() == 2)
    assert "do not lie where the image" in row_text(dock, 0)
    until(lambda: "1\u202f900 px" in row_text(dock, 1))  # says nothing of its place: by its shape


def test_a_folder_of_images_and_masks_is_added(open_dock, labels, tmp_path, until) -> None:
    import tifffile

    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", (labels * 200).astype(np.uint8))
        tifffile.imwrite(tmp_path / f"{name}_mask.tif", labels.astype(np.uint8))
    dock = open_dock()
    dock.pairs.choose_folder = lambda title: str(tmp_path)

    dock.pairs.add.add_folder.click()

    until(lambda: dock.pairs.list.count() == 2 and "1\u202f900 px" in row_text(dock, 1))
    assert dock.run.button.isEnabled()


def test_boxes_say_what_is_checked(open_dock, viewer, with_cells, until) -> None:
    dock = open_dock()
    until(lambda: "1\u202f900 px" in row_text(dock))

    dock.pairs.checked.new_boxes.click()
    until(lambda: "Draw boxes" in row_text(dock))
    layer = viewer.layers["Checked regions"]
    layer.add_rectangles(np.array([[9.5, 9.5], [29.5, 29.5]]))

    until(lambda: "in boxes: class 1 400 px" in row_text(dock))
    until(lambda: "No background is confirmed" in dock.pairs.warning.text())
    layer.data = [np.array([[0, 0], [0, 100], [40, 100], [40, 0]])]
    until(lambda: "class 1 " in row_text(dock) and "400 px" not in row_text(dock))
    until(lambda: dock.pairs.warning.text() == "")


def test_boxes_are_drawn_in_the_pixels_and_the_unit_of_the_image(
    open_dock, viewer, labels, until
) -> None:
    grid = {"scale": (0.0005, 0.0005), "units": ("mm", "mm")}
    viewer.add_image((labels * 200).astype(np.uint8), name="cells", **grid)
    viewer.add_labels(labels, name="mine", **grid)
    dock = open_dock()
    units = getattr(viewer.dims, "units", None)

    dock.pairs.checked.new_boxes.click()
    layer = viewer.layers["Checked regions"]
    layer.add_rectangles(np.array([[9.5, 9.5], [29.5, 29.5]]))

    np.testing.assert_allclose(layer.scale, (0.0005, 0.0005))
    assert getattr(viewer.dims, "units", None) == units
    until(lambda: "in boxes: class 1 400 px" in row_text(dock))


def test_a_second_result_leaves_the_corrected_one_ticked(
    dock, segment, image, viewer, open_dock, until
) -> None:
    layer = viewer.add_image(image, name="cells")
    corrected = segment(dock)
    assert made_of(corrected) is layer
    corrected.paint((2, 2), 1)
    tune = open_dock()
    segment(dock)

    until(lambda: tune.pairs.list.count() == 2 and "not corrected" in row_text(tune, 1))
    until(lambda: "px" in row_text(tune, 0))
    ticked = [row.source.labels for row in tune._controller.rows.used]
    assert ticked == [corrected]


def test_of_a_stack_the_plane_that_is_shown_is_checked_at_first(
    open_dock, viewer, labels, until
) -> None:
    stack = np.stack([labels, labels * 0, labels])
    viewer.add_image(stack * 200, name="stack")
    viewer.add_labels(stack, name="mine")
    viewer.dims.set_point(0, 2)
    dock = open_dock()
    until(lambda: "plane 2: class 1 1\u202f900 px" in row_text(dock))

    viewer.dims.set_point(0, 0)
    dock.pairs.checked.shown.click()

    until(lambda: "class 1 3\u202f800 px" in row_text(dock))
    assert dock.pairs.checked.planes.text() == "2, 0"


def test_a_plane_that_is_not_there_is_said(open_dock, viewer, labels, until) -> None:
    viewer.add_image(np.stack([labels, labels]), name="stack")
    viewer.add_labels(np.stack([labels, labels]), name="mine")
    dock = open_dock()

    dock.pairs.checked.planes.setText("5")
    dock.pairs.checked.planes.editingFinished.emit()

    until(lambda: "There is no plane 5" in row_text(dock))
    assert not dock.run.button.isEnabled()


def test_a_class_is_added_renamed_and_given_back(open_dock, with_cells) -> None:
    dock = open_dock()
    table = dock.classes.table

    dock.classes.add.click()
    table.item(2, 1).setText("nerve")

    names = [one.name for one in dock._controller.choices.classes]
    assert names == ["class 0", "class 1", "nerve"]
    assert "New to the model" in dock.classes._hint.text()

    table.item(1, 1).setText("nerve")
    assert "already" in dock.classes._problem.text()
    assert [one.name for one in dock._controller.choices.classes] == names

    dock.classes.reset.click()
    assert len(dock._controller.choices.classes) == 2


def test_numbers_that_are_no_classes_are_taken_for_objects_until_the_user_says_so(
    open_dock, with_cells, labels, until
) -> None:
    with_cells.data = np.where(np.arange(200) > 80, labels * 5, labels)
    dock = open_dock()
    until(lambda: dock._controller.choices.labels == "objects")
    until(lambda: "2 objects" in row_text(dock))

    dock.classes.meaning.setCurrentIndex(0)
    dock.classes.meaning.activated.emit(0)

    until(lambda: "the classes are 0 to 1" in row_text(dock))


def test_a_run_is_shown_stopped_and_its_model_is_used(
    open_dock, with_cells, train, until, data_folder, viewer, children
) -> None:
    from napari_rwkv_seg.widgets.contributions import SegmentWithMedURWKV

    viewer.window._qt_window.show()  # curves are drawn only where they are seen
    segment = SegmentWithMedURWKV(viewer)
    viewer.window.add_dock_widget(segment, name="segment")
    dock = open_dock()
    train(dock)
    assert dock.run.stop.isEnabled()
    assert not dock.run.button.isVisibleTo(dock)
    until(lambda: "Dice 0.70 at the start · best 0.80 since" in dock.run.status.text())
    until(lambda: len(dock.run.curves.loss.getData()[0]) > 5)
    assert dock.run.curves.base.value() == 0.7

    dock.run.stop.click()
    until(lambda: dock._controller.state == "ended")

    shown = "before 0.70 → after 0.80 Dice on held-out regions (n = 3)"
    assert dock.result.line.text() == shown
    assert dock.result.use.property("first")
    assert [dock.result.table.item(0, column).text() for column in range(4)] == [
        "cell", "0.700", "0.800", "+0.100",
    ]  # fmt: skip

    dock.result.name.setText("my cells")
    dock.result.use.click()
    until(lambda: (data_folder / "models" / "my-cells" / "model.toml").is_file())
    until(lambda: segment._controller.settings.model == "my-cells")

    assert segment.model.combo.currentText() == "my cells"
    assert dock.model.combo.findText("my cells") >= 0
    assert dock._controller.choices.model == "bright"  # each round starts from the chosen base
    assert children() == []


def test_the_segment_dock_that_opens_later_starts_with_the_model_in_use(
    open_dock, with_cells, train_to_end, until, viewer
) -> None:
    from napari_rwkv_seg.widgets.contributions import SegmentWithMedURWKV

    dock = open_dock()
    train_to_end(dock)
    dock.result.use.click()
    until(lambda: dock._controller.state == "idle")

    segment = SegmentWithMedURWKV(viewer)
    viewer.window.add_dock_widget(segment, name="segment")

    assert segment._controller.settings.model == "bright-tuned"


def test_a_name_that_is_taken_is_refused_and_can_be_changed(
    open_dock, with_cells, train_to_end, until
) -> None:
    dock = open_dock()
    train_to_end(dock)

    dock.result.name.setText("med_urwkv_t_nuclei")
    dock.result.use.click()
    until(lambda: "already" in dock.result.problem.text())

    assert dock.result.use.isEnabled()
    assert dock._controller.state == "ended"


def test_a_model_that_is_not_better_is_not_chosen_by_default(
    open_dock, with_cells, train_to_end, data_folder
) -> None:
    dock = open_dock("worse")
    train_to_end(dock)

    assert dock.result.keep.isDefault()
    assert not dock.result.use.isDefault()
    assert "not better" in dock.result.sentence.text()

    dock.result.keep.click()
    assert dock._controller.state == "idle"
    assert not (data_folder / "models").exists()


def test_cancelling_asks_and_leaves_nothing(
    open_dock, with_cells, train, until, data_folder, children
) -> None:
    dock = open_dock()
    train(dock)

    dock.ask = lambda question: False
    dock.run.cancel.click()
    assert dock._controller.is_busy

    dock.ask = lambda question: True
    dock.run.cancel.click()
    until(lambda: not any((data_folder / "runs").iterdir()))

    assert children() == []
    assert "Cancelled" in dock.run.status.text()
    assert dock.run.button.isEnabled()


def test_the_current_prediction_is_one_layer_that_is_kept_up_to_date(
    open_dock, with_cells, train, until, viewer
) -> None:
    dock = open_dock()
    train(dock)

    dock.run.preview.click()
    until(lambda: "cells · current prediction" in viewer.layers)
    layer = viewer.layers["cells · current prediction"]
    until(lambda: bool(layer.data.all()))
    dock.run.preview.click()
    until(lambda: not dock._runner._asked)

    assert len(viewer.layers) == 3
    assert dock.pairs.list.count() == 1  # nothing is learnt from a prediction
    assert viewer.layers.selection.active is with_cells
    dock.run.stop.click()
    until(lambda: dock._controller.state == "ended")


def test_differences_are_shown_over_their_image(
    open_dock, with_cells, train_to_end, until, viewer
) -> None:
    import tifffile

    with_cells.scale = viewer.layers["cells"].scale = (2, 3)
    dock = open_dock()
    train_to_end(dock)
    held_out = dock._controller.folder / "held_out"
    held_out.mkdir()
    changes = np.zeros((64, 200), dtype=np.uint8)
    changes[3, 4], changes[5, 6] = 1, 2
    tifffile.imwrite(held_out / "000_difference.tif", changes)

    dock.result.differences.click()
    until(lambda: "cells · differences" in viewer.layers)

    layer = viewer.layers["cells · differences"]
    np.testing.assert_array_equal(layer.data, changes)
    np.testing.assert_array_equal(layer.scale, (2, 3))
    assert list(layer.features["class"])[1:] == ["newly right", "newly wrong"]
    assert dock.pairs.list.count() == 1


def test_differences_in_planes_of_a_series_are_one_layer_upon_its_labels(
    open_dock, viewer, labels, train_to_end, until
) -> None:
    import tifffile

    where = {"scale": (900, 2, 3), "translate": (0, -5, 7)}
    series = np.stack([labels, labels, labels, labels])
    viewer.add_image((series * 200).astype(np.uint8), name="cells", **where)
    mine = viewer.add_labels(series, name="mine", **where)
    dock = open_dock()
    dock._controller.rows.check(next(iter(dock._controller.rows)).source.key, ONE_AND_THREE)
    train_to_end(dock)
    held_out = dock._controller.folder / "held_out"
    held_out.mkdir()
    changes = np.zeros((2, 64, 200), dtype=np.uint8)
    changes[0, 3, 4], changes[1, 5, 6] = 1, 2
    for number, one in enumerate(changes):
        tifffile.imwrite(held_out / f"{number:03d}_difference.tif", one)

    dock.result.differences.click()
    until(lambda: "cells · differences" in viewer.layers)

    assert len(viewer.layers) == 3
    assert viewer.layers.selection.active is mine
    layer = viewer.layers["cells · differences"]
    np.testing.assert_array_equal(layer.extent.world, mine.extent.world)
    np.testing.assert_array_equal(layer.data[[1, 3]], changes)
    assert not layer.data[[0, 2]].any()


def test_differences_bring_their_image_if_it_was_closed(
    open_dock, with_cells, train_to_end, until, viewer
) -> None:
    import tifffile

    dock = open_dock()
    train_to_end(dock)
    viewer.layers.clear()
    held_out = dock._controller.folder / "held_out"
    held_out.mkdir()
    tifffile.imwrite(held_out / "000_difference.tif", np.ones((64, 200), dtype=np.uint8))

    dock.result.differences.click()
    until(lambda: len(viewer.layers) == 2)

    assert [layer.name for layer in viewer.layers] == ["cells", "cells · differences"]
    assert dock.pairs.list.count() == 0


def test_an_interrupted_run_is_offered_and_resumed(open_dock, with_cells, until) -> None:
    dock = open_dock("killed")
    dock.run.button.click()
    until(lambda: dock.interrupted.isVisibleTo(dock))
    assert "can be resumed" in dock.run.problem.text()
    assert "was interrupted after 6 steps" in dock.interrupted.line.text()

    dock._controller._command = lambda run: [sys.executable, str(FAKE), str(run), "good"]
    dock.interrupted.resume.click()
    until(lambda: dock._controller.story.step > 1)
    assert not dock.interrupted.isVisibleTo(dock)
    dock.run.stop.click()
    until(lambda: dock._controller.state == "ended")
    until(lambda: not dock._runner.is_busy)

    assert not dock.interrupted.isVisibleTo(dock)


def test_a_result_that_nobody_decided_on_is_offered_to_the_next_window(
    open_dock, with_cells, train_to_end, until, viewer
) -> None:
    first = open_dock()
    train_to_end(first)
    run = first._controller.folder
    until(lambda: not first._runner.is_busy)
    assert not first.interrupted.isVisibleTo(first)  # its result is shown
    viewer.window.remove_dock_widget(first)
    first.end()

    dock = open_dock()
    until(lambda: dock.interrupted.isVisibleTo(dock))
    assert "neither in use nor declined" in dock.interrupted.line.text()
    assert dock.interrupted.resume.text() == "Show result"
    dock.interrupted.resume.click()
    assert dock._controller.folder == run
    assert dock.result.isVisibleTo(dock)
    assert not dock.interrupted.isVisibleTo(dock)

    dock.result.keep.click()
    until(lambda: (run / "decision.json").is_file())
    until(lambda: not dock._runner.is_busy)
    assert not dock.interrupted.isVisibleTo(dock)
    dock.on_shown()
    until(lambda: not dock._runner.is_busy)
    assert dock._runs == []
    assert (run / "model").is_dir()  # nothing was removed


def test_the_model_of_a_run_that_has_ended_is_declined_without_looking_at_it(
    open_dock, with_cells, train_to_end, until
) -> None:
    dock = open_dock()
    train_to_end(dock)
    run = dock._controller.folder
    dock._controller._folder = None  # as in a window that did not train it
    dock.on_shown()
    until(lambda: dock.interrupted.isVisibleTo(dock))

    assert dock.interrupted.discard.text() == "Keep old model"
    dock.interrupted.discard.click()
    until(lambda: not dock.interrupted.isVisibleTo(dock))
    assert dock.questions == []
    assert (run / "decision.json").is_file()
    assert (run / "model").is_dir()


def test_an_interrupted_run_is_discarded_after_asking(
    open_dock, with_cells, until, data_folder
) -> None:
    dock = open_dock("killed")
    dock.run.button.click()
    until(lambda: dock.interrupted.isVisibleTo(dock))

    dock.interrupted.discard.click()
    until(lambda: not any((data_folder / "runs").iterdir()))
    until(lambda: not dock.interrupted.isVisibleTo(dock))

    assert "Discard it?" in dock.questions[0]


def test_a_run_that_another_window_has_resumed_is_not_discarded_and_offered_no_more(
    open_dock, with_cells, until, data_folder
) -> None:
    dock = open_dock("killed")
    said = []
    dock._controller.failed.connect(said.append)
    dock.run.button.click()
    until(lambda: dock.interrupted.isVisibleTo(dock))
    [run] = (data_folder / "runs").iterdir()

    with locked(RunFolder(run)):
        dock.interrupted.discard.click()
        until(lambda: not dock.interrupted.isVisibleTo(dock))

    assert "under way in another process" in said[0]
    assert (run / "snapshot" / "files.json").is_file()


def test_a_dock_that_is_shown_again_offers_the_runs_as_they_are_by_then(
    open_dock, with_cells, until, data_folder
) -> None:
    dock = open_dock("killed")
    dock.run.button.click()
    until(lambda: dock.interrupted.isVisibleTo(dock))
    [run] = (data_folder / "runs").iterdir()

    with locked(RunFolder(run)):
        dock.on_shown()
        until(lambda: not dock.interrupted.isVisibleTo(dock))


def test_the_pairs_of_an_earlier_run_can_be_used_again(
    open_dock, with_cells, train_to_end, until, viewer
) -> None:
    dock = open_dock()
    train_to_end(dock)
    until(lambda: dock.pairs.add.run.count() == 1)
    viewer.layers.clear()

    dock.pairs.add.add_run.click()

    until(lambda: "1 pair of an earlier run" in row_text(dock))
    until(lambda: "1\u202f900 px" in row_text(dock))
    assert dock.run.button.isEnabled()


def test_the_command_that_repeats_the_run_is_copied(open_dock, with_cells, train, until) -> None:
    dock = open_dock()
    train(dock)

    dock.run.command.click()

    text = QGuiApplication.clipboard().text()
    assert text.startswith("napari-rwkv-seg finetune ")
    assert text.endswith("run.toml")
    dock.run.cancel.click()
    until(lambda: not dock._controller.is_busy)


@pytest.mark.parametrize("mode", ["good", "deaf"])
def test_closing_napari_asks_and_leaves_no_process(
    open_dock, with_cells, train, viewer, mode, children
) -> None:
    dock = open_dock(mode)
    train(dock)
    dock.ask = lambda question: False
    event = QCloseEvent()
    QApplication.sendEvent(viewer.window._qt_window, event)
    assert not event.isAccepted()
    assert dock._controller.is_busy

    dock.ask = lambda question: True
    viewer.close()

    assert children() == []


@pytest.mark.parametrize("keep", [True, False])
def test_closing_the_dock_asks_what_becomes_of_the_run(
    open_dock, with_cells, train, viewer, qtbot, keep, data_folder, children
) -> None:
    dock = open_dock()
    train(dock)
    dock.ask = lambda question: keep
    gone = []
    dock.destroyed.connect(lambda: gone.append(True))

    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: bool(gone), timeout=PATIENCE_MS)

    assert children() == []
    assert len(list((data_folder / "runs").iterdir())) == (1 if keep else 0)


def test_painting_goes_on_while_it_trains(open_dock, with_cells, train, until) -> None:
    dock = open_dock()
    train(dock)

    with_cells.data_setitem((np.array([0]), np.array([0])), 1)
    until(lambda: "1\u202f901 px" in row_text(dock))

    assert dock._controller.is_busy
    dock.run.cancel.click()
    until(lambda: not dock._controller.is_busy)


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(open_dock, with_cells) -> None:
    from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QLineEdit, QListWidget, QPushButton

    dock = open_dock()
    kinds = (QComboBox, QDoubleSpinBox, QListWidget, QPushButton)
    controls = [one for kind in kinds for one in dock.findChildren(kind)]
    nameless = [one for one in controls if not one.accessibleName() and one.parent() is not None]

    assert [one for one in nameless if not isinstance(one, QPushButton) or not one.text()] == []
    for one in controls:
        assert one.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert dock.findChildren(QLineEdit)


def test_the_curves_follow_the_theme(open_dock, with_cells, train, until, viewer) -> None:
    dock = open_dock()
    train(dock)
    until(lambda: dock.run.curves is not None)
    dark = dock.run.curves.view.backgroundBrush().color().lightnessF()

    viewer.theme = "light"

    assert dock.run.curves.view.backgroundBrush().color().lightnessF() > 0.7 > dark
    dock.run.cancel.click()
    until(lambda: not dock._controller.is_busy)


def test_labels_of_results_are_listed_with_the_image_that_they_were_made_of(
    open_dock, viewer, labels
) -> None:
    viewer.add_image(labels * 100, name="first")
    viewer.add_image(labels * 100, name="second")
    told = {"layer": "first", "axes": "YX", "settings": {"output": "objects"}}
    layer = viewer.add_labels(labels, name="result", metadata={"napari-rwkv-seg": told})
    dock = open_dock()

    assert isinstance(layer, Labels)
    assert row_text(dock).startswith("first + result")
    assert dock._controller.choices.labels == "objects"
