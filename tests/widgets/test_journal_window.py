"""The journal and the window: a dock is opened as napari does it, and nothing is called by hand."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari._qt import qt_main_window
from qtpy.QtWidgets import QDialog, QVBoxLayout, QWidget

from napari_rwkv_seg.controllers import journal as journal_module
from napari_rwkv_seg.controllers.journal_folders import Entry, list_entries, read_entry
from napari_rwkv_seg.widgets import journal_link as link_module
from napari_rwkv_seg.widgets.closing import ClosingDock
from napari_rwkv_seg.widgets.contributions import SegmentWithMedURWKV
from napari_rwkv_seg.widgets.recovery_row import put_on_top

pytestmark = pytest.mark.gui

Until = Callable[[Callable[[], bool]], None]
WAYS = {
    "its cross": lambda window: window.windowHandle().close(),
    "Ctrl+W": lambda window: window.close(quit_app=False, confirm_need=True),
}


@pytest.fixture(autouse=True)
def consent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say yes when napari asks whether to close, and keep its settings as they are."""
    accepted = QDialog.DialogCode.Accepted
    monkeypatch.setattr(qt_main_window.ConfirmCloseDialog, "exec_", lambda _: accepted)
    monkeypatch.setattr(
        qt_main_window._QtMainWindow, "_save_current_window_settings", lambda _: None
    )


@pytest.fixture
def kept(user_data: Path) -> Callable[[], list[Entry]]:
    return lambda: list_entries(user_data / "journal")


@pytest.fixture
def painted(make_napari_viewer: Callable[..., Any], until: Until) -> tuple[Any, Any]:
    """Return a viewer, with the dock in its shown window, and its labels, just painted on."""
    viewer = make_napari_viewer(show=True)
    viewer.window.add_dock_widget(SegmentWithMedURWKV(viewer), name="segment")
    until(lambda: link_module._links[viewer]._found is None)
    layer = viewer.add_labels(np.zeros((5, 60, 70), dtype=np.int32), name="cells")
    layer.paint((2, 10, 10), 1)
    return viewer, layer


def close(viewer: Any, way: str) -> None:
    """Close the window as a user does; Qt deletes it, so the end of the test must not."""
    window = viewer.window._qt_window
    WAYS[way](window)
    assert not window.isVisible()
    viewer.window._teardown()
    del viewer.window._qt_window


@pytest.mark.parametrize("way", WAYS)
def test_a_window_that_its_user_closes_saves_the_last_strokes(painted, kept, way):
    viewer, layer = painted
    assert kept() == []  # no save was due yet
    expected = layer.data.copy()

    close(viewer, way)

    [entry] = kept()
    assert entry.has_ended
    np.testing.assert_array_equal(read_entry(entry)[1], expected)


@pytest.mark.parametrize("way", WAYS)
def test_a_window_that_is_gone_leaves_no_thread_and_no_timer(painted, until, way):
    viewer, _ = painted
    link = link_module._links[viewer]

    close(viewer, way)
    until(lambda: viewer not in link_module._links)

    assert not link._timer.isActive()
    assert link.journal._worker._shutdown


@pytest.mark.parametrize("show", [True, False])
def test_a_viewer_that_a_script_closes_saves_and_leaves_no_thread(
    make_napari_viewer, kept, until, qtbot, show
):
    viewer = make_napari_viewer(show=show)
    viewer.window.add_dock_widget(SegmentWithMedURWKV(viewer), name="segment")
    link = link_module._links[viewer]
    layer = viewer.add_labels(np.zeros((5, 60, 70), dtype=np.int32))
    layer.paint((2, 10, 10), 1)
    expected = layer.data.copy()
    until(lambda: link._window is not None)

    viewer.close()

    [entry] = kept()
    assert entry.has_ended
    np.testing.assert_array_equal(read_entry(entry)[1], expected)
    until(lambda: link.journal._worker._shutdown)
    assert not link._timer.isActive()


@pytest.mark.parametrize("comes", ["before", "after"])
def test_a_window_whose_closing_is_refused_goes_on_saving(
    make_napari_viewer, kept, until, monkeypatch, comes
):
    monkeypatch.setattr(journal_module, "AFTER_S", 0.02)
    monkeypatch.setattr(link_module, "IDLE_MS", 10)
    viewer = make_napari_viewer(show=True)
    busy = ClosingDock()
    busy.may_close = lambda: False
    plain = QWidget()
    QVBoxLayout(plain)
    put_on_top(plain, viewer)
    for dock in (busy, plain) if comes == "before" else (plain, busy):
        viewer.window.add_dock_widget(dock)
        until(dock.isVisible)
    until(lambda: link_module._links[viewer]._window is not None)
    layer = viewer.add_labels(np.zeros((5, 60, 70), dtype=np.int32))
    layer.paint((2, 10, 10), 1)

    for close in WAYS.values():
        close(viewer.window._qt_window)
    assert viewer.window._qt_window.isVisible()
    layer.paint((2, 30, 30), 1)
    until(lambda: bool(kept()) and np.array_equal(read_entry(kept()[0])[1], layer.data))

    assert not kept()[0].has_ended
    busy.may_close = lambda: True


def test_a_window_that_was_hidden_goes_on_when_it_is_shown_again(painted, kept, until, monkeypatch):
    viewer, layer = painted
    viewer.window._qt_window.hide()
    assert kept()[0].has_ended
    viewer.window._qt_window.show()
    monkeypatch.setattr(journal_module, "AFTER_S", 0.02)
    layer.paint((2, 30, 30), 1)
    until(lambda: np.array_equal(read_entry(kept()[0])[1], layer.data))

    [entry] = kept()
    assert not entry.has_ended


def test_a_dock_that_floats_knows_the_window_that_it_belongs_to(make_napari_viewer, until):
    viewer = make_napari_viewer(show=True)
    dock = QWidget()
    QVBoxLayout(dock)
    row = put_on_top(dock, viewer)
    viewer.window.add_dock_widget(dock).setFloating(True)

    until(lambda: row._link._window is not None)

    assert row._link._window() is viewer.window._qt_window


def test_a_link_outlives_its_viewer_until_the_window_is_gone(painted, until):
    viewer, _ = painted
    link = link_module._links.pop(viewer)
    journal = link.journal
    del link
    gc.collect()

    close(viewer, "its cross")

    until(lambda: journal._worker._shutdown)
