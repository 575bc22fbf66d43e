"""The dock: what it shows, and that its controls do what they say."""

import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QProgressBar, QPushButton, QSpinBox
from superqt import QLabeledDoubleSlider

from napari_rwkv_seg.controllers.sentences import NO_MODEL
from napari_rwkv_seg.images.napari_io import get_reader, write_labels_layer
from napari_rwkv_seg.widgets.segment_dock import SegmentDock
from napari_rwkv_seg.widgets.viewer_link import ViewerLink
from napari_rwkv_seg.zoo.store import ModelEntry

from .conftest import MODELS, make_card

pytestmark = pytest.mark.gui


def pick(combo: QComboBox, value: object) -> None:
    """Choose an entry as a user does."""
    index = combo.findData(value)
    assert index >= 0
    combo.setCurrentIndex(index)
    combo.activated.emit(index)


def test_without_an_image_the_button_is_off_and_the_reason_is_written(dock) -> None:
    assert not dock.job.button.isEnabled()
    assert "Open Sample" in dock.job.problem.text()
    assert not dock.job.problem.isHidden()
    assert "Open Sample" in dock.job.button.toolTip()


def test_an_image_that_is_opened_is_chosen_and_can_be_run(dock, viewer, image) -> None:
    viewer.add_image(image, name="cells")

    assert dock.image.image.currentText() == "cells"
    assert dock.job.button.isEnabled()
    assert dock.job.problem.text() == ""


def test_an_image_that_was_open_before_the_dock_is_chosen(viewer, controller, image) -> None:
    viewer.add_image(image, name="cells")

    dock = SegmentDock(controller, ViewerLink(viewer, controller), lambda: MODELS)
    viewer.window.add_dock_widget(dock)

    assert dock.image.image.currentText() == "cells"


def test_p12_without_a_model_the_button_is_off_and_the_reason_is_written(
    viewer, controller, image
) -> None:
    viewer.add_image(image)

    dock = SegmentDock(controller, ViewerLink(viewer, controller), list)
    viewer.window.add_dock_widget(dock)

    assert not dock.job.button.isEnabled()
    assert dock.job.problem.text() == NO_MODEL


def test_p12_a_model_that_cannot_be_used_is_listed_greyed_out_with_its_problem(dock) -> None:
    item = dock.model.combo.model().item(2)

    assert "torn" in item.text()
    assert not item.isEnabled()
    assert "get the model again" in item.data(Qt.ItemDataRole.ToolTipRole)


def test_a_model_tells_its_use_licence_and_scores(dock) -> None:
    shown = [line.text() for line in dock.model.findChildren(type(dock.job.status))]

    assert "Finds what is bright." in shown
    assert "Licence CC0-1.0 · Dice 0.9" in shown
    assert "Dice 0.9" in dock.model.combo.toolTip()


def test_m26_a_model_that_is_not_for_trade_says_so(dock) -> None:
    dock.model.combo.activated.emit(1)

    assert "not for commercial use" in dock.model._warning.text()


def test_the_words_of_a_warning_have_the_colour_of_the_theme(dock) -> None:
    words = dock.job.problem.styleSheet().replace("border-left", "").split(";")

    assert not [one for one in words if one.strip().startswith("color")]


def test_a_name_with_markup_is_shown_as_plain_text(dock) -> None:
    dock.job.show_end("", "<b>bold</b>")

    assert dock.job.problem.textFormat() == Qt.TextFormat.PlainText
    assert "&lt;b&gt;" not in dock.job.problem.text()


def test_segmenting_adds_one_layer_named_after_image_and_model(
    dock, viewer, image, segment
) -> None:
    viewer.add_image(image, name="cells")

    labels = segment(dock)

    assert [layer.name for layer in viewer.layers] == ["cells", "cells · bright"]
    np.testing.assert_array_equal(labels.data > 0, image > 125)
    assert dock.job.status.text() == "Done: 2 objects."


def test_a_run_looks_at_tiles_as_often_as_was_chosen(dock, viewer, image, engine, segment) -> None:
    viewer.add_image(image, name="cells")
    dock.views.activated.emit(dock.views.findData(8))
    segment(dock)

    assert dock.views.currentData() == 8
    assert engine.views == 8


def test_the_controls_say_that_the_last_result_is_of_another_model(
    dock, viewer, image, segment
) -> None:
    viewer.add_image(image, name="cells")
    assert "at once" in dock.labels.hint.text()
    segment(dock)
    assert "at once" in dock.labels.hint.text()
    made_by = dock._controller.settings.model

    dock._controller.choose(model="another")
    assert f"The last result is of '{made_by}'" in dock.labels.hint.text()

    dock._controller.choose(model=made_by)
    assert "at once" in dock.labels.hint.text()

    dock.model.combo.activated.emit(1)
    assert "The last result is of" in dock.labels.hint.text()
    segment(dock)
    assert "at once" in dock.labels.hint.text()


def test_the_controls_know_which_axes_the_last_result_and_the_image_have(
    dock, viewer, image, segment
) -> None:
    viewer.add_image(np.stack([image] * 3)[None], name="cells")
    dock._controller.choose(axes="TZYX", output="objects")
    segment(dock)
    assert "on the last result at once" in dock.labels.hint.text()
    assert enabled_links(dock) == {"", "Z", "T", "TZ"}

    dock._controller.choose(axes="CZYX")
    assert "on the last result, of an image read as TZYX, at once" in dock.labels.hint.text()
    assert enabled_links(dock) == {"", "Z"}


def enabled_links(dock) -> set[str]:
    links = dock.labels.link
    return {
        links.itemData(index)
        for index in range(links.count())
        if links.model().item(index).isEnabled()
    }


def test_the_button_is_cancel_while_a_job_runs(dock, viewer, image, engine, until) -> None:
    viewer.add_image(image)
    engine.gate.clear()

    dock.job.button.click()
    until(engine.waiting.is_set)

    assert dock.job.button.text() == "Cancel"
    assert dock.job.button.accessibleName() == "Cancel"


def test_p06_cancel_leaves_no_layer_and_makes_segment_ready_again(
    dock, viewer, image, engine, until
) -> None:
    viewer.add_image(image)
    engine.gate.clear()
    dock.job.button.click()
    until(engine.waiting.is_set)

    dock.job.button.click()
    assert dock.job.button.text() == "Cancelling…"
    assert not dock.job.button.isEnabled()
    engine.gate.set()
    until(lambda: dock.job.button.text() == "Segment")

    assert len(viewer.layers) == 1
    assert dock.job.button.isEnabled()
    assert "Cancelled" in dock.job.status.text()


def test_progress_shows_tiles_in_the_dock_and_in_the_activity_dock(
    dock, viewer, image, segment, controller
) -> None:
    from napari.utils import progress

    viewer.add_image(image)
    lines, totals = [], []
    controller.progressed.connect(lambda _: lines.append(dock.job.status.text()))
    controller.progressed.connect(
        lambda _: totals.extend((bar.n, bar.total) for bar in progress._all_instances)
    )

    segment(dock)

    assert "tile 1 of 2 · 1 s left" in lines
    assert (1, 2) in totals
    assert not list(progress._all_instances)


def test_the_network_runs_in_another_thread(dock, viewer, image, engine, segment) -> None:
    viewer.add_image(image)

    segment(dock)

    assert threading.get_ident() not in engine.threads


def test_after_a_run_the_dock_tells_what_it_ran_on_and_why_not_faster(
    dock, viewer, image, segment
) -> None:
    viewer.add_image(image)

    segment(dock)

    assert "Running on: CPU, 1 threads, plain PyTorch" in dock.job.device.text()
    assert "No compiled kernels" in dock.job.device.text()


def test_the_reason_for_a_slow_way_is_told_once(dock, viewer, image, engine, segment) -> None:
    viewer.add_image(image)
    engine.notes = ("No compiled kernels in this installation.",)

    segment(dock)

    assert dock.job.problem.text() == ""


def test_showing_the_dock_again_keeps_the_settings(dock, controller) -> None:
    dock.labels.threshold.setValue(0.25)

    dock.reload_models()

    assert controller.settings.labels.threshold == 0.25


def test_a_model_that_was_taken_away_is_replaced_by_one_that_is_there(
    dock, controller, monkeypatch
) -> None:
    monkeypatch.setattr(dock, "_list_models", lambda: MODELS[1:])

    dock.reload_models()

    assert controller.settings.model == "three"


def test_a_model_that_was_renamed_stays_chosen(dock, controller, monkeypatch) -> None:
    cards = [make_card(name, weights_sha256=64 * name[0]) for name in ("a", "b", "c")]
    entries = [ModelEntry(Path(card.name), card) for card in cards[:2]]
    monkeypatch.setattr(dock, "_list_models", lambda: entries)
    dock.reload_models()
    dock._pick_model(entries[1])
    dock._show_settings()

    dock.labels.threshold.setValue(0.25)
    entries[1] = ModelEntry(Path("a new name"), cards[1])
    dock.reload_models()
    assert controller.settings.model == "a new name"
    assert controller.settings.labels.threshold == 0.25

    entries[1] = ModelEntry(Path("a new name"), cards[2])
    dock.reload_models()
    assert controller.settings.model == "a new name"  # by its name, whatever its weights are now


def test_notes_of_a_run_stay_readable(dock, viewer, image, engine, segment) -> None:
    viewer.add_image(image)
    engine.notes = ("3 pixels were not a number and became background.",)

    segment(dock)

    assert dock.job.problem.text() == engine.notes[0]


@pytest.mark.parametrize(
    "error", [RuntimeError("out of luck"), SystemExit(2)], ids=lambda e: type(e).__name__
)
def test_p08_an_error_is_told_once_and_stays_in_the_dock(
    dock, viewer, image, engine, until, idle, error
) -> None:
    from napari.utils.notifications import notification_manager

    viewer.add_image(image)
    engine.error = error
    notification_manager.records.clear()

    dock.job.button.click()
    until(lambda: dock._controller.running is None)
    idle(dock)

    assert "The run stopped unexpectedly" in dock.job.problem.text()
    assert len(notification_manager.records) == 1
    assert dock.job.button.text() == "Segment"
    assert dock.job.button.isEnabled()


def test_something_else_that_fails_during_a_run_leaves_it_its_cancel(
    dock, viewer, image, engine, until, idle
) -> None:
    viewer.add_image(image)
    engine.gate.clear()
    dock.job.button.click()
    until(engine.waiting.is_set)

    dock.stream.copy_wanted.emit()

    assert "no streamed labels" in dock.job.problem.text()
    assert dock.job.button.text() == "Cancel"
    assert not dock.job.bar.isHidden()
    dock.job.button.click()
    engine.gate.set()
    idle(dock)
    assert engine.runs <= 1
    assert "Cancelled" in dock.job.status.text()
    assert dock.job.problem.text() == ""


def test_the_threshold_changes_the_labels_at_once_without_the_network(
    dock, viewer, image, engine, segment, idle
) -> None:
    viewer.add_image(image)
    labels = segment(dock)

    dock.labels.threshold.setValue(0.7)
    idle(dock)

    assert engine.runs == 1
    np.testing.assert_array_equal(labels.data > 0, image > 200)
    assert dock.job.status.text() == "Done: 1 object."


def test_every_adjustment_reaches_the_settings(dock, controller) -> None:
    dock.labels.smallest.setValue(12)
    dock.labels.holes.setChecked(False)
    dock.labels.distance.setValue(9)
    dock.labels.split.setChecked(False)

    labels = controller.settings.labels
    assert (labels.smallest_object, labels.fill_holes) == (12, False)
    assert (labels.split_distance, labels.split) == (9, False)


def test_p10_the_controls_cannot_leave_their_ranges(dock, controller) -> None:
    dock.labels.threshold.setValue(7)
    dock.labels.smallest.setValue(-5)
    dock.labels.distance.setValue(10**9)

    labels = controller.settings.labels
    assert labels.threshold == 1
    assert labels.smallest_object == 0
    assert labels.split_distance == 1000


def test_p10_a_decimal_comma_typed_into_the_threshold_is_taken_for_a_point(
    dock, controller, qtbot
) -> None:
    box = dock.labels.threshold.findChild(QLineEdit)

    box.selectAll()
    qtbot.keyClicks(box, "0,3")
    qtbot.keyClick(box, Qt.Key.Key_Return)

    assert controller.settings.labels.threshold == 0.3


def test_p07_fifty_moves_of_the_slider_end_at_the_last_one(
    dock, viewer, image, segment, idle, controller
) -> None:
    viewer.add_image(image)
    labels = segment(dock)

    for step in range(50):
        dock.labels.threshold.setValue(0.5 + step / 100)
    idle(dock)

    assert controller.kept.segmentation.settings.threshold == 0.99
    np.testing.assert_array_equal(labels.data > 0, image > 247)


def test_adjusting_while_the_network_runs_is_not_forgotten(
    dock, viewer, image, engine, until, idle
) -> None:
    viewer.add_image(image)
    engine.gate.clear()
    dock.job.button.click()
    until(engine.waiting.is_set)

    dock.labels.threshold.setValue(0.7)
    engine.gate.set()
    until(lambda: dock._controller.running is None)
    idle(dock)

    np.testing.assert_array_equal(viewer.layers[-1].data > 0, image > 200)


def test_output_classes_has_the_names_and_colours_of_the_model(
    dock, viewer, image, segment
) -> None:
    viewer.add_image(image)
    pick(dock.output, "classes")

    labels = segment(dock)

    assert labels.data.max() == 1
    assert list(labels.features["class"]) == ["class 0", "class 1"]
    np.testing.assert_allclose(labels.get_color(1), [1 / 255, 128 / 255, 1, 1], atol=1e-6)


def test_the_output_of_a_result_can_be_switched(dock, viewer, image, segment, idle) -> None:
    viewer.add_image(image)
    labels = segment(dock)

    pick(dock.output, "classes")
    idle(dock)
    assert labels.data.max() == 1
    assert "class" in labels.features
    pick(dock.output, "objects")
    idle(dock)

    assert labels.data.max() == 2
    assert labels.features.empty
    assert len(viewer.layers) == 2


def test_splitting_is_only_offered_for_objects(dock) -> None:
    pick(dock.output, "classes")

    assert not dock.labels.split.isEnabled()
    assert not dock.labels.distance.isEnabled()


def test_another_model_brings_its_recommended_settings_and_leaves_the_result_alone(
    dock, viewer, image, segment, idle, controller
) -> None:
    viewer.add_image(image)
    before = segment(dock).data.copy()

    dock.model.combo.activated.emit(1)
    idle(dock)

    assert controller.settings.model == "three"
    assert controller.settings.labels.output == "classes"
    np.testing.assert_array_equal(viewer.layers[-1].data, before)


def test_looking_at_another_model_and_back_leaves_the_adjusted_result_alone(
    dock, viewer, image, segment, idle, controller
) -> None:
    viewer.add_image(image)
    segment(dock).paint((30, 5), 9)
    dock.labels.threshold.setValue(0.7)
    idle(dock)
    layers = list(viewer.layers)

    dock.model.combo.activated.emit(1)
    dock.model.combo.activated.emit(0)
    idle(dock)

    assert controller.settings.labels.threshold == 0.7
    assert list(viewer.layers) == layers


def test_probabilities_are_shown_and_hidden(dock, viewer, image, segment) -> None:
    viewer.add_image(image, name="cells", scale=(2, 3))
    segment(dock)

    dock.labels.probabilities.setChecked(True)
    maps = [one for one in viewer.layers if "probability" in one.name]

    assert [type(one) for one in maps] == [Image]
    np.testing.assert_allclose(maps[0].data, image / 250, atol=1e-6)
    np.testing.assert_array_equal(maps[0].scale, (2, 3))
    assert isinstance(viewer.layers[-1], Labels)
    dock.labels.probabilities.setChecked(False)
    assert len(viewer.layers) == 2


def test_probabilities_follow_the_next_run(dock, viewer, image, segment) -> None:
    layer = viewer.add_image(image, name="cells")
    dock.labels.probabilities.setChecked(True)
    segment(dock)
    layer.data = image[::-1]

    segment(dock)

    maps = [one for one in viewer.layers if "probability" in one.name]
    assert len(maps) == 1
    np.testing.assert_allclose(maps[0].data, image[::-1] / 250, atol=1e-6)


def test_probabilities_are_not_offered_as_images_to_segment(dock, viewer, image, segment) -> None:
    viewer.add_image(image, name="cells")
    dock.labels.probabilities.setChecked(True)

    segment(dock)

    assert dock.image.image.count() == 1


def test_i11_the_axes_are_said_in_a_sentence_before_running(dock, viewer, image) -> None:
    viewer.add_image(np.stack([image] * 9))

    assert dock.image.axes.currentData() == "ZYX"
    assert "a stack of 9 planes along Z" in dock.image._sentence.text()


def test_i11_an_order_of_axes_that_is_not_clear_is_asked_for(dock, viewer, image) -> None:
    viewer.add_image(np.stack([image] * 3))

    assert not dock.job.button.isEnabled()
    assert "State its axes" in dock.job.problem.text()
    pick(dock.image.axes, "CYX")
    assert dock.job.button.isEnabled()
    assert dock.job.problem.text() == ""


def test_i11_a_five_dimensional_image_can_be_run_once_its_axes_are_stated(
    dock, viewer, image, segment
) -> None:
    viewer.add_image(np.stack([np.stack([np.stack([image] * 2)] * 3)] * 2))
    pick(dock.image.axes, "TZCYX")

    labels = segment(dock)

    assert labels.data.shape == (2, 3, 1, *image.shape)
    np.testing.assert_array_equal(labels.data[1, 2, 0] > 0, image > 125)


def test_a_channel_is_offered_only_where_there_are_channels(dock, viewer, image) -> None:
    viewer.add_image(image)
    assert dock.image.channel.isHidden()

    viewer.add_image(np.stack([image] * 3))
    pick(dock.image.image, dock.image.image.itemData(0))
    pick(dock.image.axes, "CYX")

    assert not dock.image.channel.isHidden()
    assert dock.image.channel.count() == 4


def test_a_channel_that_new_data_lack_is_chosen_no_longer(dock, viewer, image) -> None:
    layer = viewer.add_image(np.stack([image] * 4))
    pick(dock.image.axes, "CYX")
    pick(dock.image.channel, 3)

    layer.data = np.stack([image] * 2)

    assert dock._controller.settings.channel is None


def test_a_new_name_of_an_image_is_shown(dock, viewer, image) -> None:
    layer = viewer.add_image(image, name="before")

    layer.name = "after"

    assert dock.image.image.currentText() == "after"


def test_c13_of_two_images_with_one_name_the_picked_one_is_run(
    dock, viewer, image, segment
) -> None:
    viewer.add_image(image, name="a")
    second = viewer.add_image(image[::-1].copy(), name="b")
    second.name = viewer.layers[0].name
    index = next(i for i in range(2) if dock.image.image.itemData(i)() is second)
    dock.image.image.setCurrentIndex(index)
    dock.image.image.activated.emit(index)

    labels = segment(dock)

    np.testing.assert_array_equal(labels.data > 0, image[::-1] > 125)


def test_an_image_that_is_removed_is_chosen_no_longer(dock, viewer, image) -> None:
    layer = viewer.add_image(image)

    viewer.layers.remove(layer)

    assert not dock.job.button.isEnabled()
    assert dock.image.image.currentText() == "No image is open"


def test_selected_shapes_without_a_shape_are_refused_with_advice(dock, viewer, image) -> None:
    viewer.add_image(image)
    pick(dock.scope, "selected shapes")

    dock.job.button.click()

    assert "No shape is selected" in dock.job.problem.text()
    assert dock.job.button.isEnabled()


def test_every_control_has_a_name_for_screen_readers(dock) -> None:
    kinds = (QComboBox, QPushButton, QCheckBox, QSpinBox, QProgressBar, QLabeledDoubleSlider)
    controls = [one for kind in kinds for one in dock.findChildren(kind)]

    assert len(controls) >= 14
    assert [one for one in controls if not one.accessibleName()] == []


def test_the_tab_key_visits_the_controls_from_top_to_bottom(dock) -> None:
    wanted = [
        *(dock.image.image, dock.image.axes, dock.model.combo, dock.scope, dock.output),
        *(dock.job.button, dock.labels.smallest, dock.labels.holes, dock.labels.probabilities),
    ]
    visited, widget = [], dock.image.image
    while len(visited) < len(wanted) and dock.isAncestorOf(widget):
        if widget in wanted and widget not in visited:
            visited.append(widget)
        widget = widget.nextInFocusChain()

    assert visited == wanted


def test_the_dock_fits_into_300_pixels(dock) -> None:
    from qtpy.QtWidgets import QScrollArea

    area = dock.findChild(QScrollArea)

    assert area.widget().minimumSizeHint().width() <= 300


def test_a_result_is_saved_with_the_exact_geometry_of_the_file(
    dock, viewer, segment, tmp_path
) -> None:
    """An oblique volume of anisotropic voxels: its affine comes back bit for bit."""
    affine = np.array([[-0.7, 0.1, 0, 31], [0.1, 0.7, 0, -8], [0, 0, 3.3, 5], [0, 0, 0, 1]])
    voxels = np.zeros((12, 10, 4), np.uint8)
    voxels[3:8, 2:7, 1:3] = 250
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    reader = get_reader(str(tmp_path / "a.nii.gz"))
    assert reader is not None
    [(data, keywords, _)] = reader(str(tmp_path / "a.nii.gz"))
    viewer.add_image(data, **keywords)

    labels = segment(dock)
    write_labels_layer(str(tmp_path / "b.nii.gz"), *labels.as_layer_data_tuple()[:2])

    saved = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(saved.affine, nibabel.load(tmp_path / "a.nii.gz").affine)
    np.testing.assert_array_equal(np.asarray(saved.dataobj) > 0, voxels > 0)
