"""The dock "Evaluate" in a real viewer."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_rwkv_seg.controllers import evaluate as room
from napari_rwkv_seg.controllers.evaluate import NO_LAYERS, SAME_LAYER
from napari_rwkv_seg.controllers.evaluate_about import OTHERS_CHOSEN
from napari_rwkv_seg.images import write_labels
from napari_rwkv_seg.widgets.contributions import Evaluate
from napari_rwkv_seg.widgets.evaluate_dock import EvaluateDock
from napari_rwkv_seg.widgets.evaluate_link import facts_of
from napari_rwkv_seg.widgets.evaluate_result import ScoreTable
from napari_rwkv_seg.widgets.finetune_matching import is_ours_to_show
from napari_rwkv_seg.widgets.marks import METADATA_KEY

pytestmark = pytest.mark.gui

PLACE = {"scale": (0.5, 0.25), "translate": (10, 20), "units": ("um", "um")}


@pytest.fixture
def truth() -> np.ndarray:
    labels = np.zeros((30, 40), np.int32)
    labels[4:12, 5:15] = 1
    labels[18:26, 20:30] = 2
    return labels


@pytest.fixture
def evaluate(viewer: Any) -> EvaluateDock:
    dock = Evaluate(viewer)
    viewer.window.add_dock_widget(dock, name="Evaluate")
    return dock


@pytest.fixture
def two(viewer: Any, truth: np.ndarray) -> list[Any]:
    """Return a layer of the truth and, above it, one that is two pixels off."""
    true = viewer.add_labels(truth, name="truth", **PLACE)
    found = viewer.add_labels(np.roll(truth, 2, 1), name="found", **PLACE)
    return [true, found]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what lets jobs go on that wait at their beginning."""
    opened, steps_of = threading.Event(), room.evaluate_steps

    def held(*arguments: Any) -> Any:
        opened.wait(20)
        return (yield from steps_of(*arguments))

    monkeypatch.setattr(room, "evaluate_steps", held)
    return opened


def run(dock: EvaluateDock, until: Any) -> None:
    dock.run.button.click()
    until(lambda: dock._controller.running is None and not dock._link.is_busy)


def test_two_layers_give_a_table_and_a_layer_of_differences(evaluate, two, viewer, until, truth):
    true, found = two
    before = [layer.data.copy() for layer in two]
    run(evaluate, until)
    table = evaluate.result.table
    titles = [table.horizontalHeaderItem(at).text() for at in range(table.columnCount())]
    assert table.rowCount() == 2
    assert table.item(0, titles.index("HD95 (µm)")).text() == "0.500"
    assert table.item(0, titles.index("Dice")).text() == "0.800"
    evaluate.result.differences.click()
    differences = viewer.layers[-1]
    assert differences.name == "found compared with truth"
    assert np.array_equal(differences.data == 1, (truth > 0) & (found.data > 0))
    assert np.allclose(differences.translate, true.translate)
    assert np.allclose(differences.scale, true.scale)
    assert is_ours_to_show(differences)
    assert all(np.array_equal(a.data, b) for a, b in zip(two, before, strict=True))


def test_differences_are_added_once_and_again_after_they_were_removed(evaluate, two, viewer, until):
    run(evaluate, until)
    evaluate.result.differences.click()
    viewer.layers[-1].visible = False
    evaluate.result.differences.click()
    assert len(viewer.layers) == 3
    assert viewer.layers[-1].visible
    del viewer.layers[-1]
    evaluate.result.differences.click()
    assert len(viewer.layers) == 3


def test_newer_differences_of_the_same_layers_take_the_place_of_the_older(
    evaluate, two, viewer, until, truth
):
    run(evaluate, until)
    evaluate.result.differences.click()
    shown = viewer.layers[-1]
    two[1].data = truth.copy()
    run(evaluate, until)
    evaluate.result.differences.click()
    assert [layer for layer in viewer.layers if layer not in two] == [shown]
    assert np.array_equal(shown.data == 1, truth > 0)
    assert not (shown.data > 1).any()

    shown.data_setitem((np.array([0]), np.array([0])), 2)
    evaluate.result.differences.click()
    assert not shown.visible
    assert np.array_equal(viewer.layers[-1].data == 1, truth > 0)


def test_the_prediction_is_a_result_of_ours_or_the_topmost_layer(evaluate, viewer, truth):
    assert NO_LAYERS in evaluate.run.problem.text()
    assert not evaluate.run.button.isEnabled()
    viewer.add_labels(truth, name="first")
    viewer.add_labels(truth, name="second")
    assert (evaluate.found.currentText(), evaluate.true.currentText()) == ("second", "first")
    assert evaluate.run.button.isEnabled()
    ours = viewer.add_labels(truth, name="result", metadata={METADATA_KEY: {"model": "m"}})
    viewer.layers.move(2, 0)
    ours.name = "renamed"
    assert (evaluate.found.currentText(), evaluate.true.currentText()) == ("renamed", "second")


def test_what_the_user_chose_stays_until_it_is_gone(evaluate, viewer, truth):
    first = viewer.add_labels(truth, name="first")
    viewer.add_labels(truth, name="second")
    evaluate.found.setCurrentIndex(1)
    evaluate.true.setCurrentIndex(0)
    evaluate.found.activated.emit(1)
    viewer.add_labels(truth, name="third")
    assert (evaluate.found.currentText(), evaluate.true.currentText()) == ("first", "second")
    viewer.layers.remove(first)
    assert (evaluate.found.currentText(), evaluate.true.currentText()) == ("third", "second")
    viewer.layers.clear()
    assert NO_LAYERS in evaluate.run.problem.text()


def test_the_same_layer_twice_and_another_place_are_refused_with_a_sentence(evaluate, two):
    true, found = two
    evaluate.found.setCurrentIndex(evaluate.true.currentIndex())
    evaluate._show_choices()
    assert evaluate.run.problem.text() == SAME_LAYER
    evaluate._show_layers()
    found.translate = (0, 0)
    assert "same place" in evaluate.run.problem.text()
    assert not evaluate.run.button.isEnabled()
    found.translate = true.translate
    assert evaluate.run.button.isEnabled()


def test_results_of_ours_say_what_their_numbers_mean(evaluate, viewer, truth):
    told = {METADATA_KEY: {"settings": {"output": "objects"}}}
    viewer.add_labels(truth, metadata=told)
    viewer.add_labels(truth)
    assert evaluate.means.currentData() == "objects"


def test_stacks_are_asked_about_and_time_is_known_by_its_name(evaluate, viewer, truth):
    evaluate.show()
    assert evaluate.stack.isHidden()
    movie = np.stack([truth] * 3)
    for _ in range(2):
        viewer.add_labels(movie, axis_labels=("t", "y", "x"))
    assert not evaluate.stack.isHidden()
    assert evaluate.stack.currentData() == "planes"


def test_a_wrong_tolerance_is_told_while_it_is_typed(evaluate, two, until):
    evaluate.tolerance.setText("far")
    assert "no length" in evaluate.run.problem.text()
    evaluate.tolerance.setText("0.5 µm")
    assert evaluate.run.button.isEnabled()
    run(evaluate, until)
    titles = [
        evaluate.result.table.horizontalHeaderItem(at).text()
        for at in range(evaluate.result.table.columnCount())
    ]
    assert "Surface Dice (0.5 µm)" in titles


def test_columns_sort_by_number(evaluate, viewer, until):
    labels = np.zeros((40, 60), np.int32)
    for number, width in enumerate((12, 1, 30), start=1):
        labels[10 * number : 10 * number + 4, :width] = number
    for name in ("a", "b"):
        viewer.add_labels(labels, name=name)
    run(evaluate, until)
    table = evaluate.result.table
    last = table.columnCount() - 1
    assert [table.item(row, last).text() for row in range(3)] == ["48", "4", "120"]
    table.sortItems(last, Qt.SortOrder.AscendingOrder)
    assert [table.item(row, last).text() for row in range(3)] == ["4", "48", "120"]


def test_every_row_has_the_ground_of_the_theme_and_tab_leaves_the_table(qtbot):
    table = ScoreTable()
    qtbot.addWidget(table)
    assert not table.alternatingRowColors()  # napari's themes give no second colour
    table.setRowCount(2)
    table.setColumnCount(3)
    table.show()
    table.setCurrentCell(0, 1)
    for key in (Qt.Key.Key_Tab, Qt.Key.Key_Backtab):
        qtbot.keyClick(table, key)
        assert (table.currentRow(), table.currentColumn()) == (0, 1)


def test_a_table_that_is_there_is_replaced_only_if_the_user_says_so(
    evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    typed, asked, answers = [], [], []
    no, yes = QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (typed.pop(0), ""))
    question = lambda *arguments: asked.append(arguments[2]) or answers.pop(0)  # noqa: E731
    monkeypatch.setattr(QMessageBox, "question", question)
    short, whole = str(tmp_path / "of.january"), str(tmp_path / "of.january.csv")
    typed[:] = [short]
    assert evaluate.ask_file() == short
    Path(whole).touch()
    typed[:] = [whole]  # the file dialog has asked
    assert evaluate.ask_file() == whole
    assert asked == []
    typed[:], answers[:] = [short], [yes]
    assert evaluate.ask_file() == short
    assert asked == ["of.january.csv exists already. Replace it?"]
    typed[:], answers[:] = [short, ""], [no]
    assert evaluate.ask_file() == ""


def test_the_table_is_saved_and_a_place_that_refuses_is_a_sentence(
    evaluate, two, until, tmp_path: Path
):
    run(evaluate, until)
    evaluate.ask_file = lambda: str(tmp_path / "scores")
    evaluate.result.save.click()
    until(lambda: (tmp_path / "scores.csv").is_file() and not evaluate._link.is_busy)
    assert "scores.csv" in evaluate.run.status.text()
    evaluate.ask_file = lambda: str(tmp_path / "no" / "scores.csv")
    evaluate.result.save.click()
    until(lambda: not evaluate._link.is_busy)
    assert "Cannot write" in evaluate.run.problem.text()


def test_two_folders_are_compared_and_what_has_no_partner_is_told(
    evaluate, until, truth, tmp_path: Path
):
    for name in ("found", "true"):
        (tmp_path / name).mkdir()
        write_labels(tmp_path / name / "a.tif", truth, (0.5, 0.5))
    write_labels(tmp_path / "found" / "b.tif", truth)
    evaluate.ask_folder = lambda which: str(tmp_path / which)
    evaluate.what.setCurrentIndex(1)
    evaluate.what.activated.emit(1)
    evaluate.found_folder.click()
    assert not evaluate.run.button.isEnabled()
    evaluate.true_folder.click()
    run(evaluate, until)
    assert evaluate.result.about.text() == "folder 'found' against folder 'true'"
    assert evaluate.result.outdated.text() == ""
    assert evaluate.result.table.item(0, 0).text() == "a.tif"
    assert "b.tif" in evaluate.result.notes.text()
    assert evaluate.result.differences.isHidden()


def test_a_job_can_be_cancelled_and_leaves_all_as_it_was(
    evaluate, two, viewer, until, monkeypatch: pytest.MonkeyPatch
):
    gate, waiting = threading.Event(), threading.Event()
    steps_of = room.evaluate_steps

    def slow(*arguments: Any) -> Any:
        waiting.set()
        gate.wait(20)
        return (yield from steps_of(*arguments))

    monkeypatch.setattr(room, "evaluate_steps", slow)
    evaluate.run.button.click()
    assert evaluate.run.button.text() == "Cancel"
    until(waiting.is_set)
    evaluate.run.button.click()
    gate.set()
    until(lambda: not evaluate._link.is_busy)
    assert "Cancelled" in evaluate.run.status.text()
    assert evaluate.run.button.text() == "Evaluate"
    assert len(viewer.layers) == 2


def test_saving_the_last_scores_during_a_job_leaves_it_its_cancel(
    evaluate, two, until, tmp_path: Path, gate: threading.Event
):
    gate.set()
    run(evaluate, until)
    gate.clear()
    evaluate.run.button.click()
    for folder, line in ((".", evaluate.run.status), ("no", evaluate.run.problem)):
        evaluate.ask_file = lambda folder=folder: str(tmp_path / folder / "scores.csv")
        evaluate.result.save.click()
        until(lambda line=line: "scores.csv" in line.text())
        assert evaluate.run.button.text() == "Cancel"
        assert not evaluate.run.bar.isHidden()
    gate.set()
    until(lambda: not evaluate._link.is_busy)
    assert evaluate.run.button.text() == "Evaluate"
    assert evaluate.run.status.text() == "Done."


def test_closing_the_dock_ends_a_job_and_lets_go_of_the_layers(
    evaluate, two, viewer, until, monkeypatch: pytest.MonkeyPatch
):
    entered = threading.Event()

    def endless(*_: Any) -> Any:
        entered.set()
        while True:
            yield room.Compared(0, 1, "found")

    monkeypatch.setattr(room, "evaluate_steps", endless)
    evaluate.run.button.click()
    until(entered.is_set)
    link = evaluate._link
    viewer.window.remove_dock_widget(evaluate)
    until(lambda: not link.is_busy)
    two[0].name = "free"
    assert link._connections == []


def test_scores_say_what_they_are_of_and_that_a_layer_was_edited_since(evaluate, two, until):
    true, found = two
    result = evaluate.result
    assert result.about.text() == ""
    true.data_setitem((np.array([0]), np.array([0])), 1)
    run(evaluate, until)
    assert result.about.text() == "'found' against 'truth'"
    assert (result.outdated.text(), evaluate.run.status.text()) == ("", "Done.")

    def assert_edited(layer: Any) -> None:
        until(lambda: f"{layer.name!r} has changed since" in result.outdated.text())
        assert not result.differences.isEnabled()
        assert evaluate.run.status.text() == ""
        run(evaluate, until)
        assert result.outdated.text() == ""
        assert result.differences.isEnabled()

    found.data_setitem((np.array([0]), np.array([0])), 1)
    assert_edited(found)
    found.undo()
    assert_edited(found)
    true.data = true.data.copy()
    assert_edited(true)
    for layer in two:
        layer.scale = (1, 1)
    assert_edited(found if "found" in result.outdated.text() else true)


def test_a_layer_that_is_only_drawn_anew_leaves_scores_as_they_are(evaluate, two, until, viewer):
    run(evaluate, until)
    for layer in two:
        layer.visible = False
        layer.visible = True
        layer.contour = 1
    until(lambda: not evaluate._link.is_busy)
    assert evaluate.result.outdated.text() == ""


def test_a_layer_that_is_edited_during_a_job_is_told_at_its_end(
    evaluate, two, until, gate: threading.Event
):
    evaluate.run.button.click()
    two[0].data_setitem((np.array([0]), np.array([0])), 1)
    gate.set()
    until(lambda: evaluate._controller.running is None and not evaluate._link.is_busy)
    assert "'truth' has changed since" in evaluate.result.outdated.text()


def test_scores_say_that_other_layers_or_settings_are_chosen_until_they_are_not(
    evaluate, two, viewer, until, truth
):
    viewer.add_labels(truth, name="annotator 2", **PLACE)
    for combo, name in ((evaluate.found, "found"), (evaluate.true, "truth")):
        combo.setCurrentText(name)
        combo.activated.emit(combo.currentIndex())
    run(evaluate, until)
    outdated, combo = evaluate.result.outdated, evaluate.true
    for name, said in (("annotator 2", OTHERS_CHOSEN), ("truth", "")):
        combo.setCurrentText(name)
        combo.activated.emit(combo.currentIndex())
        assert outdated.text() == said
        assert evaluate.result.differences.isEnabled()
    for text, said in (("0.5 µm", OTHERS_CHOSEN), ("", "")):
        evaluate.tolerance.setText(text)
        assert outdated.text() == said
    assert evaluate.result.about.text() == "'found' against 'truth'"


def test_the_matrix_of_a_layer_takes_its_pixels_where_napari_puts_them(viewer, truth):
    layer = viewer.add_labels(
        truth, scale=(2, 0.5), translate=(3, 4), rotate=30, shear=[0.2], affine=np.diag([2, 3, 1])
    )
    facts = facts_of(layer)
    for point in ((0, 0), (5, 0), (7, 11)):
        ours = facts.matrix @ np.array(point, float) + facts.shift
        assert np.allclose(ours, layer.data_to_world(point))


def test_labels_on_the_disk_are_not_copied_while_the_window_waits(viewer, truth, tmp_path):
    labels = np.memmap(tmp_path / "labels.raw", dtype=truth.dtype, mode="w+", shape=truth.shape)
    labels[:] = truth
    pixels = facts_of(viewer.add_labels(labels), copied=True).read()
    assert np.shares_memory(pixels, labels)
    assert np.array_equal(pixels, truth)
