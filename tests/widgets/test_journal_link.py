"""Edits of every kind reach the journal, and painting is never disturbed."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_rwkv_seg.controllers import journal as journal_module
from napari_rwkv_seg.controllers import journal_copies
from napari_rwkv_seg.controllers.journal_folders import Entry, list_entries, read_entry
from napari_rwkv_seg.controllers.journal_snapshot import pack
from napari_rwkv_seg.widgets import journal_link as link_module
from napari_rwkv_seg.widgets.journal_link import JournalLink
from napari_rwkv_seg.widgets.layer_facts import box_of
from napari_rwkv_seg.widgets.recovery_row import put_on_top

pytestmark = pytest.mark.gui

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save after a moment, so that tests need not wait for half a minute."""
    monkeypatch.setattr(journal_module, "AFTER_S", 0.02)
    monkeypatch.setattr(link_module, "IDLE_MS", 10)


@pytest.fixture
def viewer(qapp: Any) -> Any:
    """Return a viewer without a window, which is quicker; tests of windows make their own."""
    return ViewerModel()


@pytest.fixture
def link(viewer: Any) -> Iterator[JournalLink]:
    link = JournalLink.of(viewer)
    yield link
    link.close()


@pytest.fixture
def kept(user_data: Path) -> Callable[[], list[Entry]]:
    return lambda: list_entries(user_data / "journal")


@pytest.fixture
def saved(link: JournalLink, until: Until, kept: Any) -> Callable[..., np.ndarray]:
    """Return what waits until all is saved, and gives the newest kept labels."""

    def wait() -> np.ndarray:
        until(lambda: not any(one.journal.is_busy for one in link._layers.values()))
        return read_entry(kept()[0])[1]

    return wait


def add(viewer: Any, shape: tuple[int, ...] = (5, 60, 70), **more: Any) -> Labels:
    return viewer.add_labels(np.zeros(shape, dtype=np.int32), name="cells", **more)


def square(layer: Labels, *corner: int) -> tuple[np.ndarray, ...]:
    grid = np.meshgrid(*[np.arange(at, at + 3) for at in corner], indexing="ij")
    return tuple(axis.ravel() for axis in grid)


EDITS: dict[str, Callable[[Labels], object]] = {
    "paint": lambda layer: layer.paint((2, 20, 20), 7),
    "erase": lambda layer: layer.paint((2, 10, 10), 0),
    "fill": lambda layer: layer.fill((3, 30, 30), 8),
    "polygon": lambda layer: layer.paint_polygon([[2, 5, 5], [2, 40, 9], [2, 30, 50]], 9),
    "set items": lambda layer: layer.data_setitem(square(layer, 0, 50, 60), 3),
    "undo": lambda layer: layer.undo(),
    "undo and redo": lambda layer: (layer.undo(), layer.redo(), layer.undo()),
    "new data": lambda layer: setattr(layer, "data", np.full((5, 60, 70), 4, dtype=np.uint8)),
    "data of another shape": lambda layer: setattr(layer, "data", np.ones((9, 9), dtype=np.int64)),
    "array and refresh": lambda layer: (layer.data.fill(6), layer.refresh()),
    "three dimensions": lambda layer: (
        setattr(layer, "n_edit_dimensions", 3),
        layer.paint((2, 20, 20), 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_every_kind_of_edit_reaches_the_journal(link, viewer, saved, edit):
    layer = add(viewer)
    viewer.dims.set_point(0, 2)
    layer.brush_size = 9
    layer.paint((2, 10, 10), 1)
    np.testing.assert_array_equal(saved(), layer.data)
    before = layer.data.copy()

    EDITS[edit](layer)

    after = saved()
    assert after.shape != before.shape or (after != before).any()
    assert after.dtype == layer.data.dtype
    np.testing.assert_array_equal(after, layer.data)


def test_after_random_edits_the_journal_equals_the_layer(link, viewer, saved, qtbot):
    rng = np.random.default_rng(42)
    layer = add(viewer, (4, 300, 280))
    layer.paint((0, 5, 5), 1)
    for _ in range(8):
        for _ in range(rng.integers(1, 5)):
            at = tuple(int(rng.integers(0, length)) for length in layer.data.shape)
            layer.brush_size = int(rng.integers(1, 40))
            viewer.dims.set_point(0, at[0])
            if rng.random() < 0.7:
                layer.paint(at, int(rng.integers(0, 9)))
            if rng.random() < 0.3:
                layer.fill(at, int(rng.integers(1, 9)))
            if rng.random() < 0.3:
                layer.undo()
            if rng.random() < 0.2:
                layer.redo()
            if rng.random() < 0.3:
                qtbot.wait(2)
        np.testing.assert_array_equal(saved(), layer.data)


def test_strokes_of_many_points_are_one_edit(link, viewer, saved, kept):
    layer = add(viewer, (60, 70))
    for row in (10, 20, 30):
        with layer.block_history():
            for column in range(5, 60):
                layer.paint((row, column), 3)
    np.testing.assert_array_equal(saved(), layer.data)

    assert kept()[0].facts.edits == 3


class MaskedAtom(NamedTuple):
    slice_key: tuple[slice, ...]
    mask: object = None


OLD = (np.array([3, 9]), np.array([20, 4]))


@pytest.mark.parametrize(
    ("item", "box"),
    [
        ([(OLD, [0, 0], 7)], (slice(3, 10), slice(4, 21))),
        ([((2, np.array([5, 1])), [0], 7)], (slice(2, 3), slice(1, 6))),
        ([MaskedAtom((slice(3, 10), slice(4, 21)))], (slice(3, 10), slice(4, 21))),
        ([(OLD, [0, 0], 7), MaskedAtom((slice(0, 1), slice(5, 90)))], (slice(0, 10), slice(4, 90))),
        ([MaskedAtom((slice(None), slice(4, 21)))], None),
        ([((np.array([]), np.array([])), [], 7)], None),
        ([OLD[:1]], None),
        ([], None),
        (None, None),
        ([7], None),
    ],
)
def test_both_forms_of_napari_s_steps_of_undo_are_read_and_others_mean_anywhere(item, box):
    assert box_of(item, 2) == box


def test_an_edit_looks_at_its_own_chunks_and_not_at_the_layer(link, viewer, saved, monkeypatch):
    layer = add(viewer, (4096, 4096))
    layer.paint((5, 5), 1)
    saved()
    [followed] = link._layers.values()
    monkeypatch.setattr(journal_module, "AFTER_S", 1e9)
    layer.brush_size = 20
    with layer.block_history():
        layer.paint((300, 300), 2, refresh=False)

    assert followed.journal._dirty.sum() == 1
    assert not followed.journal._is_suspect


def test_moving_through_a_stack_is_no_edit(link, viewer, saved):
    layer = add(viewer)
    layer.paint((2, 10, 10), 1)
    saved()
    [followed] = link._layers.values()
    for plane in range(5):
        viewer.dims.set_point(0, plane)
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2

    assert not followed.journal.is_busy


@pytest.fixture
def beside(link: JournalLink, viewer: Any, saved: Any) -> Labels:
    """Return flat labels in the viewer of a stack, painted on and saved."""
    viewer.add_image(np.zeros((9, 60, 70)))
    layer = add(viewer, (60, 70))
    layer.brush_size = 9
    layer.paint((10, 10), 1)
    layer.paint((30, 30), 2)
    saved()
    return layer


VIEWS: dict[str, Callable[[Any], object]] = {
    "plane": lambda dims: dims.set_point(0, 5),
    "order": lambda dims: setattr(dims, "order", (1, 0, 2)),
}


@pytest.mark.parametrize("moved", VIEWS)
def test_an_undo_is_heard_after_the_view_moved_where_the_layer_is_not(beside, viewer, saved, moved):
    VIEWS[moved](viewer.dims)
    beside.undo()

    np.testing.assert_array_equal(saved(), beside.data)
    assert not (beside.data == 2).any()


def test_moving_through_another_layer_s_stack_is_no_edit(beside, link, viewer):
    for plane in range(9):
        viewer.dims.set_point(0, plane)

    assert not any(followed.journal.is_busy for followed in link._layers.values())


def test_an_undo_on_hidden_labels_is_heard_when_they_are_shown(link, viewer, saved):
    layer = add(viewer)
    viewer.dims.set_point(0, 2)
    layer.paint((2, 10, 10), 1)
    saved()
    layer.visible = False
    viewer.dims.set_point(0, 4)
    layer.undo()
    assert not link._layers[layer].journal.is_busy  # napari tells nothing of it

    layer.visible = True

    assert not saved().any()


def test_layers_without_edits_are_not_kept(link, viewer, until, kept, qtbot):
    layer = add(viewer)
    layer.opacity = 0.5
    layer.refresh()
    layer.name = "other"
    viewer.add_image(np.ones((9, 9)))
    qtbot.wait(100)

    assert kept() == []


def test_what_is_known_of_the_layer_is_kept(link, viewer, saved, kept):
    add(viewer, (60, 70), scale=(2, 3), translate=(4, 5), rotate=30, units=("um", "um"))
    viewer.add_image(np.ones((60, 70)), name="photo")
    layer = viewer.layers["cells"]
    layer.metadata["napari-rwkv-seg"] = {"model": "bright", "layer": "photo"}
    layer.name = "nuclei"
    layer.paint((10, 10), 1)
    saved()

    facts = kept()[0].facts
    assert (facts.name, facts.image, facts.edits) == ("nuclei", "photo", 1)
    assert facts.place["scale"] == [2, 3]
    assert facts.place["translate"] == [4, 5]
    assert facts.place["units"] == ["micrometer", "micrometer"]
    assert facts.provenance["model"] == "bright"


def test_a_layer_that_the_user_removes_is_kept_as_ended(link, viewer, kept):
    layer = add(viewer)
    layer.paint((2, 10, 10), 1)
    expected = layer.data.copy()
    viewer.layers.remove(layer)
    link.journal.wait()

    [entry] = kept()
    assert entry.has_ended
    np.testing.assert_array_equal(read_entry(entry)[1], expected)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return what lets the worker begin to compress; without it that takes for ever."""
    gate = threading.Event()

    def slow(chunk: np.ndarray) -> bytes:
        gate.wait(60)
        return pack(chunk)

    monkeypatch.setattr(journal_copies, "pack", slow)
    yield gate
    gate.set()


@pytest.mark.parametrize("way", ["never saved", "undone after a save"])
def test_removing_a_layer_does_not_wait_for_its_labels_to_be_compressed(
    link, viewer, kept, saved, gate, way
):
    layer = add(viewer, (3, 600, 600))
    layer.paint((2, 10, 10), 1)
    layer.paint((2, 30, 30), 2)
    if way != "never saved":
        gate.set()
        saved()
        gate.clear()
        layer.undo()
    expected = layer.data.copy()
    started = time.monotonic()
    viewer.layers.remove(layer)
    assert time.monotonic() - started < journal_module.PATIENCE_S / 2
    gate.set()
    link.journal.wait()

    [entry] = kept()
    assert entry.has_ended
    np.testing.assert_array_equal(read_entry(entry)[1], expected)
    assert link.journal.problem == ""


def test_a_window_that_closes_waits_for_a_layer_that_was_removed_just_before(
    link, viewer, kept, gate
):
    layer = add(viewer)
    layer.paint((2, 10, 10), 1)
    viewer.layers.remove(layer)
    threading.Timer(0.3, gate.set).start()
    link.close()

    [entry] = kept()
    assert entry.has_ended
    np.testing.assert_array_equal(read_entry(entry)[1], layer.data)


def test_a_removed_layer_that_is_added_and_painted_again_is_saved_anew(link, viewer, kept, gate):
    layer = add(viewer)
    layer.paint((2, 10, 10), 1)
    viewer.layers.remove(layer)
    viewer.add_layer(layer)
    layer.paint((2, 30, 30), 2)
    gate.set()
    link.close()

    newest = kept()[0]
    np.testing.assert_array_equal(read_entry(newest)[1], layer.data)


@pytest.mark.parametrize("docks", [1, 3])
def test_a_problem_is_told_once_however_many_docks_show_it(viewer, docks, monkeypatch, qtbot):
    told = []
    monkeypatch.setattr(link_module, "show_warning", told.append)
    rows = []
    for _ in range(docks):
        dock = QWidget()
        qtbot.addWidget(dock)
        QVBoxLayout(dock)
        rows.append(put_on_top(dock, viewer))
    link = JournalLink.of(viewer)
    link.journal.tell("They are not saved.")
    link.journal.tell("")
    link.close()

    assert told == ["They are not saved."]


def test_two_viewers_have_a_journal_each_and_one_viewer_has_one(viewer, link):
    other = ViewerModel()

    assert JournalLink.of(viewer) is link
    assert JournalLink.of(other) is not link
    JournalLink.of(other).close()


def test_layers_of_two_viewers_in_one_process_do_not_mix(viewer, link, kept):
    other = ViewerModel()
    JournalLink.of(other)
    for number, one in enumerate((viewer, other), start=1):
        add(one).paint((2, 10, 10), number)
    JournalLink.of(other).close()
    link.close()

    assert sorted(int(read_entry(entry)[1].max()) for entry in kept()) == [1, 2]


def test_a_removed_layer_can_be_forgotten(link, viewer):
    layer = add(viewer)
    layer.paint((2, 10, 10), 1)
    viewer.layers.remove(layer)
    add(viewer)  # napari itself holds on to the layer that was active last
    watched = weakref.ref(layer)
    del layer
    gc.collect()

    assert watched() is None
    assert len(link._layers) == 1


def test_layers_moved_in_the_list_are_followed_once(link, viewer, saved):
    first = add(viewer)
    add(viewer)
    viewer.layers.move(0, 2)
    first.paint((2, 10, 10), 4)

    assert len(link._layers) == 2
    assert saved().max() == 4


def test_arrays_that_do_not_lie_in_memory_are_left_alone(link, viewer, kept, until, qtbot):
    import dask.array as da

    layer = viewer.add_labels(da.zeros((20, 30), dtype=np.int32))
    layer.data = da.ones((20, 30), dtype=np.int32)
    qtbot.wait(50)

    assert kept() == []
    viewer.layers.remove(layer)


def test_a_fault_of_the_journal_does_not_disturb_painting_and_is_told(
    link, viewer, until, monkeypatch
):
    told = []
    link.journal.problem_changed.connect(told.append)

    def fail(*args: object) -> None:
        raise RuntimeError("broken")

    for name in ("box_of", "facts_of"):
        with monkeypatch.context() as broken:
            broken.setattr(link_module, name, fail)
            layer = add(viewer, (60, 70))
            layer.paint((10, 10), 5)
            assert layer.data[10, 10] == 5
            until(lambda: bool(link.journal.problem))
    layer.paint((30, 30), 6)
    until(lambda: not link.journal.problem)

    assert "broken" in told[0]
    assert len(told) == 2


def test_no_pixel_is_read_outside_of_the_main_thread(link, viewer, saved, monkeypatch):
    threads = set()
    original = journal_module.LayerJournal._copy

    def copy(self: Any, data: Any, most: int) -> bool:
        if np.shares_memory(data, layer.data):  # windows of other tests may still be saving
            threads.add(threading.current_thread())
        return original(self, data, most)

    layer = add(viewer)
    monkeypatch.setattr(journal_module.LayerJournal, "_copy", copy)
    layer.paint((2, 10, 10), 1)
    saved()

    assert threads == {threading.main_thread()}
