"""A short soak: every action once or more, on a seed, with the shipped model."""

import gc
import importlib.util
import weakref
from pathlib import Path

import pytest

from napari_rwkv_seg.controllers.journal_folders import journal_folder

pytestmark = pytest.mark.gui
SCRIPT = Path(__file__).with_name("soak.py")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("soak_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [1, 2])
def test_random_actions_lose_no_label(script, make_napari_viewer, qtbot, user_data, seed):
    viewer = make_napari_viewer()
    drive = script.Soak(viewer, lambda s: qtbot.wait(int(200 * s)), seed, trains=False)
    for _ in range(60):
        drive.step()
    qtbot.waitUntil(lambda: not drive.segment_dock._link.is_busy, timeout=60_000)

    assert drive.lost == []
    assert drive.counts["paint"] > 1  # what can be done depends on how far the jobs are
    assert drive.counts["segment"] > 1
    wanted = drive.wanted()
    viewer.close()
    assert script.missing_in_journal(journal_folder(), wanted) == []


def test_a_dock_that_was_closed_after_a_run_leaves_no_model_in_memory(
    script, make_napari_viewer, qtbot
):
    viewer = make_napari_viewer()
    drive = script.Soak(viewer, lambda s: qtbot.wait(50), 3, trains=False)
    drive.segment()
    qtbot.waitUntil(lambda: drive.segment_dock._controller.kept is not None, timeout=60_000)
    qtbot.waitUntil(lambda: not drive.segment_dock._link.is_busy, timeout=60_000)
    controller = weakref.ref(drive.segment_dock._controller)
    drive.reopen_dock()
    qtbot.wait(200)
    gc.collect()
    assert controller() is None


def test_a_lost_label_would_be_noticed(script, make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    drive = script.Soak(viewer, lambda s: qtbot.wait(1), 3, trains=False)
    drive.add_labels()
    while not (drive.painted and drive.painted[0].is_edited):  # some strokes change nothing
        drive.paint()
    drive.painted[0].layer.data[3, 3] += 1  # what nobody painted
    drive.check("a trial")
    assert drive.lost == [f"{drive.painted[0].name} was changed in a trial"]
    wanted = {"another": drive.painted[0].wanted}
    viewer.close()
    missing = script.missing_in_journal(journal_folder(), wanted)
    assert missing == ["another is not in the journal as it was"]


def test_memory_that_grows_is_told_in_per_cent(script):
    assert script.memory_change([900, *[100] * 40]) == 0
    assert script.memory_change([100] * 20 + [110] * 20) == pytest.approx(10)


def test_labels_with_nothing_painted_may_be_replaced(script, make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    drive = script.Soak(viewer, lambda s: qtbot.wait(1), 3, trains=False)
    drive.add_labels()
    while not (drive.painted and drive.painted[0].is_edited):
        drive.paint()
    while drive.undo():
        pass
    drive.painted[0].layer.data[3, 3] += 1  # as a newer result would
    drive.check("anything")
    assert drive.lost == []
    assert not drive.painted[0].is_edited
