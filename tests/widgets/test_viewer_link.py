"""Between viewer and controller: whatever happens during a job, nothing of the user's is lost."""

import gc
import subprocess
import sys
import threading
import weakref
from functools import partial

import dask.array as da
import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtGui import QGuiApplication

from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.widgets import label_changes
from napari_rwkv_seg.widgets.result_layers import ResultLayers
from napari_rwkv_seg.widgets.segment_dock import SegmentDock
from napari_rwkv_seg.widgets.viewer_link import ViewerLink

from .conftest import MODELS, FakeEngine

pytestmark = pytest.mark.gui


@pytest.fixture
def begun(dock, engine, until):
    """Return what presses Segment and waits until the worker stands before the gate."""

    def begin() -> None:
        engine.gate.clear()
        dock.job.button.click()
        until(engine.waiting.is_set)

    return begin


@pytest.fixture
def ended(dock, engine, until, idle):
    """Return what opens the gate and waits until the job has been shown."""

    def end() -> None:
        engine.gate.set()
        until(lambda: dock._controller.running is None)
        idle(dock)

    return end


def test_l08_strokes_painted_during_a_run_survive(dock, viewer, image, segment, begun, ended):
    viewer.add_image(image)
    first = segment(dock)
    begun()
    first.paint((30, 5), 9)
    painted = first.data.copy()

    ended()

    np.testing.assert_array_equal(first.data, painted)
    assert len(viewer.layers) == 3


def test_l10_an_image_renamed_during_a_run_gives_the_result_its_new_name(
    dock, viewer, image, begun, ended
):
    layer = viewer.add_image(image, name="before")
    begun()
    layer.name = "after"

    ended()

    assert viewer.layers[-1].name == "after · bright"


def test_l10_an_image_deleted_during_a_run_leaves_its_result(dock, viewer, image, begun, ended):
    layer = viewer.add_image(image, name="cells", scale=(2, 3))
    begun()
    viewer.layers.remove(layer)
    del layer

    ended()

    assert [one.name for one in viewer.layers] == ["cells · bright"]
    np.testing.assert_array_equal(viewer.layers[0].scale, (2, 3))


def test_l10_a_result_deleted_during_a_run_comes_as_a_new_layer(
    dock, viewer, image, segment, begun, ended
):
    viewer.add_image(image)
    first = segment(dock)
    begun()
    viewer.layers.remove(first)

    ended()

    assert isinstance(viewer.layers[-1], Labels)
    assert viewer.layers[-1] is not first


def test_l10_an_image_moved_during_a_run_has_its_result_over_it(dock, viewer, image, begun, ended):
    layer = viewer.add_image(image)
    begun()
    layer.translate = (40, 50)

    ended()

    np.testing.assert_array_equal(viewer.layers[-1].translate, (40, 50))


def test_l10_an_image_whose_data_changes_its_shape_during_a_run_does_no_harm(
    dock, viewer, image, begun, ended
):
    layer = viewer.add_image(image)
    begun()
    layer.data = np.zeros((4, 20, 30))

    ended()

    assert viewer.layers[-1].data.shape == image.shape


def test_l10_an_image_that_loses_its_level_during_a_run_leaves_its_result(
    dock, viewer, image, begun, ended
):
    levels = [np.kron(image, np.ones((2, 2), dtype=np.uint8)), image]
    layer = viewer.add_image(levels, multiscale=True, scale=(3, 5))
    dock._controller.choose(level=1)
    begun()
    layer.data = levels[:1]

    ended()

    assert dock._controller.settings.level == 0
    assert viewer.layers[-1].data.shape == image.shape
    np.testing.assert_array_equal(viewer.layers[-1].scale, (6, 10))


def test_l08_a_result_that_comes_during_a_stroke_leaves_the_brush_its_layer(
    dock, viewer, image, segment, begun, ended, monkeypatch
):
    viewer.add_image(image)
    first = segment(dock)
    begun()
    first.paint((30, 5), 9)
    pressed = Qt.MouseButton.LeftButton
    monkeypatch.setattr(QGuiApplication, "mouseButtons", lambda: pressed)

    ended()

    assert len(viewer.layers) == 3
    assert viewer.layers.selection.active is first


def test_strokes_painted_while_a_worker_looks_for_changes_survive(
    dock, viewer, image, segment, controller, until, idle, monkeypatch
):
    viewer.add_image(image)
    first = segment(dock)
    find, looked, painted = label_changes.find_change, threading.Event(), threading.Event()

    def slow(*args):
        change = find(*args)
        looked.set()
        painted.wait(20)
        return change

    monkeypatch.setattr(label_changes, "find_change", slow)
    controller.choose(threshold=0.7)
    until(looked.is_set)
    first.paint((30, 5), 9)
    strokes = first.data.copy()

    painted.set()
    idle(dock)

    assert len(viewer.layers) == 3
    np.testing.assert_array_equal(first.data, strokes)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["anew", "cancelled"])
def test_a_run_goes_on_until_what_it_changes_is_found(
    dock, viewer, image, controller, until, idle, monkeypatch, is_cancelled
):
    find, looked, gate = label_changes.find_change, threading.Event(), threading.Event()

    def slow(*args):
        looked.set()
        gate.wait(20)
        return find(*args)

    monkeypatch.setattr(label_changes, "find_change", slow)
    viewer.add_image(image)
    dock.job.button.click()
    until(looked.is_set)
    assert controller.running is not None
    controller.choose(threshold=0.7)
    (controller.stop if is_cancelled else dock._link.run)()

    gate.set()
    idle(dock)

    assert len(viewer.layers) == (1 if is_cancelled else 2)
    if not is_cancelled:
        np.testing.assert_array_equal(viewer.layers[1].data > 0, image > 0.7 * image.max())


def test_c05_a_result_that_cannot_be_shown_is_told_and_the_next_run_works(
    dock, viewer, image, segment, begun, ended, monkeypatch
):
    viewer.add_image(image)
    with monkeypatch.context() as broken:
        broken.setattr(ResultLayers, "_add", _no_memory)
        begun()
        ended()

    assert "not enough memory" in dock.job.problem.text()
    assert dock.job.status.text() == ""
    assert dock.job.button.text() == "Segment"
    assert len(viewer.layers) == 1
    assert segment(dock).data.any()


def _no_memory(*args: object, **kwargs: object) -> None:
    """Stand in for a layer that is too large."""
    raise MemoryError


def test_pixels_changed_during_a_run_do_not_reach_the_network(dock, viewer, image, begun, ended):
    layer = viewer.add_image(image.copy())
    begun()
    layer.data[:] = 0

    ended()

    assert viewer.layers[-1].data.any()


def test_c04_clearing_all_layers_during_a_run_does_no_harm(dock, viewer, image, begun, ended):
    viewer.add_image(image, name="cells")
    begun()
    viewer.layers.clear()

    ended()

    assert [one.name for one in viewer.layers] == ["cells · bright"]


def test_l11_undo_after_a_run_in_the_window_restores_what_was_there(dock, viewer, image, segment):
    layer = viewer.add_image(image)
    labels = segment(dock)
    before = labels.data.copy()
    layer.data = image[::-1].copy()

    segment(dock)
    assert (labels.data != before).any()
    labels.undo()

    np.testing.assert_array_equal(labels.data, before)


def test_l12_painting_does_not_change_the_labels_that_the_next_adjustment_starts_from(
    dock, viewer, image, segment, controller
):
    viewer.add_image(image)
    labels = segment(dock)
    kept = controller.kept.segmentation.labels.copy()

    labels.data[:] = 5

    np.testing.assert_array_equal(controller.kept.segmentation.labels, kept)


def test_l13_the_result_of_a_lazy_image_can_be_painted(dock, viewer, image, segment):
    viewer.add_image(da.from_array(image, chunks=(10, 10)))

    labels = segment(dock)
    labels.paint((30, 5), 9)

    assert isinstance(labels.data, np.ndarray)
    assert labels.data[30, 5] == 9


def test_l13_a_read_only_image_can_be_run(dock, viewer, image, segment):
    image.flags.writeable = False
    viewer.add_image(image)

    assert segment(dock).data.any()


def test_i14_a_lazy_image_that_cannot_be_read_ends_with_a_sentence(
    dock, viewer, image, until, idle
):
    layer = viewer.add_image(image)

    def read(block: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    layer._data = da.from_array(image).map_blocks(read, meta=np.zeros((0, 0), dtype=np.uint8))
    dock.job.button.click()
    until(lambda: dock._controller.running is None)
    idle(dock)

    assert "the disk is gone" in dock.job.problem.text()
    assert len(viewer.layers) == 1


def test_p06_cancelling_a_second_run_leaves_its_layer_as_it_was(
    dock, viewer, image, segment, begun, ended
):
    viewer.add_image(image)
    labels = segment(dock)
    before = labels.data.copy()
    begun()
    dock.job.button.click()

    ended()

    np.testing.assert_array_equal(labels.data, before)
    assert len(viewer.layers) == 2


def test_p06_cancel_in_the_activity_dock_cancels(dock, viewer, image, begun, ended):
    from napari.utils import progress

    viewer.add_image(image)
    begun()

    next(iter(progress._all_instances)).cancel()
    ended()

    assert len(viewer.layers) == 1


def test_c10_a_newer_run_wins_over_an_older_one_that_ends_later(dock, viewer, image, begun, ended):
    layer = viewer.add_image(image)
    begun()
    layer.data = image[::-1].copy()
    dock._link.run()

    ended()

    results = [one for one in viewer.layers if isinstance(one, Labels)]
    assert len(results) == 1
    np.testing.assert_array_equal(results[0].data > 0, image[::-1] > 125)


@pytest.mark.parametrize("stage", ["before it starts", "while it runs", "after it ended"])
def test_c02_a_viewer_closed_at_any_stage_leaves_no_worker(
    dock, viewer, image, engine, until, stage
):
    viewer.add_image(image)
    engine.gate.clear()
    dock.job.button.click()
    if stage != "before it starts":
        until(engine.waiting.is_set)
    engine.gate.set()
    if stage == "after it ended":
        QThreadPool.globalInstance().waitForDone()

    viewer.close()

    assert dock._controller.running is None
    assert not dock._link.is_busy


def test_c02_the_window_shown_and_closed_ends_the_job(
    make_napari_viewer, controller, engine, image, until
):
    viewer = make_napari_viewer(show=True)
    dock = SegmentDock(controller, ViewerLink(viewer, controller), lambda: MODELS)
    viewer.window.add_dock_widget(dock)
    viewer.add_image(image)
    engine.gate.clear()
    dock.job.button.click()
    until(engine.waiting.is_set)
    engine.gate.set()

    viewer.close()

    assert controller.running is None
    assert not dock._link.is_busy


QUIT_DURING_A_JOB = """
import time
import napari, numpy as np
from qtpy.QtCore import QTimer
from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.inference.progress import Progress
from napari_rwkv_seg.widgets.segment_dock import SegmentDock
from napari_rwkv_seg.widgets.viewer_link import ViewerLink

class SlowEngine:
    def load(self, model, device, views):
        return None
    def steps(self, image, model, settings):
        for tile in range(10_000):
            time.sleep(0.05)
            yield Progress(tile, 10_000)

viewer = napari.Viewer()
controller = SegmentController(SlowEngine())
dock = SegmentDock(controller, ViewerLink(viewer, controller), list)
viewer.window.add_dock_widget(dock)
viewer.add_image(np.ones((37, 53)))
dock._link.run()
controller.progressed.connect(lambda progress: progress.total and window.close())
window = viewer.window._qt_window
napari.run()
print("ended", controller.running)
"""


def test_c02_quitting_napari_during_a_job_ends_the_process_cleanly():
    result = subprocess.run(
        [sys.executable, "-c", QUIT_DURING_A_JOB],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert "ended None" in result.stdout


def test_c02_closing_the_dock_cancels_and_lets_go(dock, viewer, image, engine, begun, until):
    viewer.add_image(image)
    begun()
    engine.gate.set()

    gone = []
    dock.destroyed.connect(lambda: gone.append(True))
    viewer.window.remove_dock_widget(dock)
    until(lambda: bool(gone))

    assert dock._controller.running is None
    assert not dock._link.is_busy
    assert len(viewer.layers) == 1


def test_c03_hiding_and_showing_the_dock_keeps_the_job(dock, viewer, image, begun, ended):
    viewer.add_image(image)
    begun()
    dock.parent().setVisible(False)
    dock.parent().setVisible(True)

    ended()

    assert len(viewer.layers) == 2


def test_c03_floating_and_docking_again_keeps_the_dock_alive(dock, viewer, image, segment):
    viewer.add_image(image)
    dock.parent().setFloating(True)
    dock.parent().setFloating(False)

    assert segment(dock).data.any()


def test_c03_a_floating_dock_ends_its_job_with_the_main_window_and_not_with_itself(
    make_napari_viewer, controller, engine, image, until
):
    viewer = make_napari_viewer(show=True)
    dock = SegmentDock(controller, ViewerLink(viewer, controller), lambda: MODELS)
    holder = viewer.window.add_dock_widget(dock)
    viewer.add_image(image)
    holder.setFloating(True)
    engine.gate.clear()
    dock.job.button.click()
    until(engine.waiting.is_set)

    holder.setVisible(False)
    job = controller.running

    engine.gate.set()
    viewer.window._qt_window.hide()

    assert job is not None
    assert controller.running is None
    assert not dock._link.is_busy


def test_c03_twenty_docks_opened_and_closed_leave_no_callback(viewer, image):
    layer = viewer.add_image(image)

    def count() -> int:
        emitters = (viewer.layers.events.inserted, viewer.layers.events.removed, layer.events.name)
        return sum(len(emitter.callbacks) for emitter in (*emitters, layer.events.data))

    before = count()
    for _ in range(20):
        controller = SegmentController(FakeEngine())
        dock = SegmentDock(controller, ViewerLink(viewer, controller), lambda: MODELS)
        viewer.window.add_dock_widget(dock, name="segment")
        viewer.window.remove_dock_widget(dock)

    assert count() == before


def test_c03_a_closed_dock_can_be_forgotten(viewer, image, until):
    viewer.add_image(image)
    controller = SegmentController(FakeEngine())
    link = ViewerLink(viewer, controller)
    dock = SegmentDock(controller, link, lambda: MODELS)
    viewer.window.add_dock_widget(dock, name="segment")
    watched = [weakref.ref(link), weakref.ref(controller)]
    viewer.window.remove_dock_widget(dock)
    del dock, link, controller

    until(partial(_are_gone, watched))


def test_c03_a_dock_closed_in_the_middle_of_its_job_can_be_forgotten(viewer, image, until):
    viewer.add_image(image)

    watched = _close_in_the_middle(viewer, until)
    until(partial(_are_gone, watched))


def _are_gone(watched):
    gc.collect()
    return all(one() is None for one in watched)


def _close_in_the_middle(viewer, until):
    """Close a dock while its worker stands before the gate; return what watches its parts."""
    engine = FakeEngine()  # the real one holds a model
    controller = SegmentController(engine)
    dock = SegmentDock(controller, ViewerLink(viewer, controller), lambda: MODELS)
    viewer.window.add_dock_widget(dock, name="segment")
    engine.gate.clear()
    dock.job.button.click()
    until(engine.waiting.is_set)
    opening = threading.Timer(0.2, engine.gate.set)  # the worker quits at its next step
    opening.start()
    viewer.window.remove_dock_widget(dock)
    opening.join()
    return [weakref.ref(controller), weakref.ref(engine)]


def test_c03_two_docks_in_one_viewer_do_not_disturb_each_other(dock, viewer, image, segment, idle):
    viewer.add_image(image, name="cells")
    controller = SegmentController(FakeEngine())
    other = SegmentDock(controller, ViewerLink(viewer, controller), lambda: MODELS)
    viewer.window.add_dock_widget(other, name="another")
    first = segment(dock)

    second = segment(other)

    assert first is not second
    dock.labels.threshold.setValue(0.7)
    idle(dock)
    np.testing.assert_array_equal(second.data > 0, image > 125)


def test_i01_an_empty_image_never_becomes_a_layer(viewer):
    with pytest.raises(ValueError, match=r".+"):
        viewer.add_image(np.zeros((0, 10)))


def test_i01_an_image_that_becomes_empty_is_refused_with_a_sentence(dock, viewer, image):
    layer = viewer.add_image(image)
    layer._data = np.zeros((0, 10), dtype=np.uint8)
    layer.events.data()

    assert not dock.job.button.isEnabled()
    assert "empty" in dock.job.problem.text()


def test_i02_an_image_of_one_pixel_is_run(dock, viewer, segment):
    viewer.add_image(np.ones((1, 1), dtype=np.uint8))

    assert segment(dock).data.shape == (1, 1)


def test_i11_only_the_current_slice_of_a_stack_is_run(dock, viewer, image, segment):
    viewer.add_image(np.stack([image] * 9), name="stack")
    viewer.dims.set_point(0, 4)
    dock._controller.choose(scope="current slice")

    labels = segment(dock)

    filled = labels.data.any(axis=(1, 2))
    assert list(np.flatnonzero(filled)) == [4]


def test_i11_every_slice_of_a_stack_is_run_on_its_own(dock, viewer, image, segment):
    viewer.add_image(np.stack([np.roll(image, step, axis=0) for step in range(9)]))

    labels = segment(dock)

    for step in range(9):
        np.testing.assert_array_equal(labels.data[step] > 0, np.roll(image, step, axis=0) > 125)


def test_i12_a_multiscale_image_is_run_on_the_level_that_is_chosen(dock, viewer, image, segment):
    levels = [np.kron(image, np.ones((2, 2), dtype=np.uint8)), image]
    viewer.add_image(levels, multiscale=True, scale=(3, 5))
    dock._controller.choose(level=1)

    labels = segment(dock)

    assert labels.data.shape == image.shape
    np.testing.assert_array_equal(labels.scale, (6, 10))


def test_the_selected_shapes_alone_are_filled(dock, viewer, image, segment):
    viewer.add_image(image)
    shapes = viewer.add_shapes([[[2, 2], [2, 17], [14, 17], [14, 2]]])
    shapes.selected_data = {0}
    dock._controller.choose(scope="selected shapes")

    labels = segment(dock)

    assert labels.data.shape == image.shape
    np.testing.assert_array_equal(labels.data > 0, image > 200)


def test_objects_are_counted_within_the_selected_shapes(dock, viewer, image, segment, idle):
    viewer.add_image(image)
    shapes = viewer.add_shapes([[[0, 0], [0, 45], [32, 0]]], shape_type="polygon")
    shapes.selected_data = {0}
    dock._controller.choose(
        scope="selected shapes", output="objects", threshold=0.5, smallest_object=0
    )

    labels = segment(dock)  # the second square lies in the shape's box, but not in the shape

    assert len(np.unique(labels.data)) == 2
    assert dock.job.status.text() == "Done: 1 object."
    dock._controller.choose(fill_holes=True)
    idle(dock)
    assert dock.job.status.text() == "Done: 1 object."


def test_the_current_view_alone_is_filled(make_napari_viewer, controller, image, segment, until):
    viewer = make_napari_viewer(show=True)
    dock = SegmentDock(controller, ViewerLink(viewer, controller), lambda: MODELS)
    viewer.window.add_dock_widget(dock)
    layer = viewer.add_image(np.maximum(image, 200))
    camera = getattr(viewer, "scene", viewer).camera
    camera.zoom *= 6
    until(lambda: np.ptp(layer.corner_pixels, axis=0).max() < 30)
    controller.choose(scope="current view", threshold=0.5)

    labels = segment(dock)

    (top, left), (bottom, right) = layer.corner_pixels
    assert labels.data[top : bottom + 1, left : right + 1].all()
    assert np.count_nonzero(labels.data) == (bottom + 1 - top) * (right + 1 - left)


def test_the_metadata_tells_what_made_the_layer(dock, viewer, image, segment):
    viewer.add_image(image, name="cells")

    facts = segment(dock).metadata["napari-rwkv-seg"]

    assert facts["model"] == "bright"
    assert facts["sha256"] == "0" * 64
    assert facts["version"] == "0"
    assert facts["layer"] == "cells"
    assert facts["scope"] == "whole layer"
    assert facts["region"] == [[0, 37], [0, 53]]


def test_adjusting_tells_the_new_settings_in_the_metadata(dock, viewer, image, segment, idle):
    viewer.add_image(image)
    labels = segment(dock)

    dock.labels.threshold.setValue(0.7)
    idle(dock)

    assert labels.metadata["napari-rwkv-seg"]["settings"]["threshold"] == 0.7
