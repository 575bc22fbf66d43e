"""After a crash the dock offers what was kept; nothing of the user's is overwritten or lost."""

import json
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QMessageBox, QVBoxLayout, QWidget

from napari_rwkv_seg.controllers import journal as journal_module
from napari_rwkv_seg.controllers.journal_folders import list_entries, make_layer_folder, read_entry
from napari_rwkv_seg.controllers.journal_process import PROCESS_FILE
from napari_rwkv_seg.controllers.journal_snapshot import (
    Facts,
    pack,
    read_snapshot,
    write_snapshot,
)
from napari_rwkv_seg.images.geometry import flat_geometry
from napari_rwkv_seg.images.napari_io import SOURCE_KEY, read_layers, write_labels_layer
from napari_rwkv_seg.widgets import journal_link as link_module
from napari_rwkv_seg.widgets import recovery_row
from napari_rwkv_seg.widgets.contributions import SegmentWithMedURWKV
from napari_rwkv_seg.widgets.layer_facts import facts_of, keywords_of
from napari_rwkv_seg.widgets.recovery_row import RecoveryRow, put_on_top

pytestmark = pytest.mark.gui

LABELS = np.arange(37 * 53, dtype=np.int64).reshape(37, 53) % 5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "IDLE_MS", 10)


@pytest.fixture
def home(user_data: Path) -> Path:
    return user_data / "journal"


@pytest.fixture
def crashed(home: Path) -> Callable[..., Path]:
    """Return what leaves the copy of a napari that was killed."""

    def leave(process: str = "4711-1", name: str = "cells", number: int = 1, **more: Any) -> Path:
        folder = home / process / "1"
        folder.mkdir(parents=True, exist_ok=True)
        about = {"pid": 1, "start": "some other time", "host": platform.node()}
        (folder.parent / PROCESS_FILE).write_text(json.dumps(about))
        given = {"saved_at": time.time() - 200_000 + number, "edits": 183, **more}
        facts = Facts(name, LABELS.shape, LABELS.dtype.str, **given)
        path = folder / f"{number:08}.labels"
        write_snapshot(path, facts, {(0, 0): pack(LABELS)})
        return path

    return leave


@pytest.fixture
def open_row(
    viewer: Any, until: Callable[[Callable[[], bool]], None]
) -> Callable[..., RecoveryRow]:
    """Return what opens a dock with the row, and waits until the row knows what there is."""

    def show(where: Any = viewer) -> RecoveryRow:
        dock = QWidget()
        QVBoxLayout(dock)
        row = put_on_top(dock, where)
        where.window.add_dock_widget(dock, name="dock")
        until(lambda: row._link._found is None)
        return row

    return show


@pytest.fixture
def restore(until: Callable[[Callable[[], bool]], None]) -> Callable[[RecoveryRow], None]:
    """Return what presses Restore of the first offer and waits for the layer."""

    def press(row: RecoveryRow) -> None:
        row.offers[0].restore.click()
        until(lambda: not row._runner.is_busy)

    return press


def test_without_a_crash_the_row_takes_no_room(open_row):
    row = open_row()

    assert row.isHidden()
    assert row.offers == []


def test_after_a_crash_the_labels_are_offered_with_name_time_and_edits(open_row, crashed):
    crashed(name="cells · Nuclei")
    row = open_row()

    assert not row.isHidden()
    assert "did not end normally" in row._intro.text()
    [offer] = row.offers
    assert offer.text.text().startswith("Labels 'cells · Nuclei' of 20")
    assert "183 edits" in offer.text.text()
    buttons = [offer.restore, offer.discard, offer.later]
    assert [one.text() for one in buttons] == ["Restore", "Discard", "Later"]
    assert all(one.accessibleName() and one.toolTip() for one in buttons)


def test_the_dock_of_the_plugin_has_the_row_at_its_top(viewer, crashed, until):
    crashed()
    dock = SegmentWithMedURWKV(viewer)
    viewer.window.add_dock_widget(dock, name="segment")
    row = dock.layout().itemAt(0).widget()
    until(lambda: bool(row.offers))

    assert isinstance(row, RecoveryRow)
    viewer.window.remove_dock_widget(dock)


def test_restore_adds_a_new_layer_and_touches_no_other(open_row, crashed, viewer, restore):
    mine = viewer.add_labels(np.zeros((37, 53), dtype=np.int32), name="cells")
    crashed()
    row = open_row()

    restore(row)

    assert [layer.name for layer in viewer.layers] == ["cells", "cells (restored)"]
    assert not mine.data.any()
    restored = viewer.layers[-1]
    np.testing.assert_array_equal(restored.data, LABELS)
    assert restored.data.dtype == LABELS.dtype
    restored.paint((5, 5), 9)
    assert restored.data[5, 5] == 9
    assert row.isHidden()


def test_labels_that_come_back_in_the_middle_of_a_stroke_leave_it_its_layer(
    open_row, crashed, viewer, restore, monkeypatch
):
    mine = viewer.add_labels(np.zeros((37, 53), dtype=np.int32), name="mine")
    crashed()
    row = open_row()
    monkeypatch.setattr(QGuiApplication, "mouseButtons", lambda: Qt.MouseButton.LeftButton)

    restore(row)

    assert len(viewer.layers) == 2
    assert viewer.layers.selection.active is mine


def test_a_restored_layer_lies_and_looks_as_before(open_row, crashed, viewer, restore):
    colors = DirectLabelColormap(color_dict={None: "white", 0: "transparent", 1: "red"})
    before = Labels(
        LABELS,
        name="cells",
        scale=(2, 3),
        translate=(4, 5),
        rotate=30,
        shear=[0.2],
        affine=[[1, 0.1, 7], [0, 1, 8], [0, 0, 1]],
        units=("um", "um"),
        axis_labels=("y", "x"),
        colormap=colors,
        features={"index": [0, 1], "class": ["background", "nucleus"]},
        metadata={
            "napari-rwkv-seg": {"model": "bright", "layer": "photo"},
            SOURCE_KEY: {
                "path": "photo.tif",
                "axes": "YX",
                "shape": (37, 53),
                "geometry": flat_geometry("YX", (0.5, 0.5)),
            },
        },
    )
    facts = facts_of(before, viewer)
    crashed(place=facts.place, look=facts.look, provenance=facts.provenance, source=facts.source)

    restore(open_row())

    after = viewer.layers[-1]
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-12)
    np.testing.assert_allclose(after.affine.affine_matrix, before.affine.affine_matrix)
    assert after.units == before.units
    assert after.axis_labels == ("y", "x")
    np.testing.assert_array_equal(after.colormap.color_dict[1], [1, 0, 0, 1])
    assert list(after.features["class"]) == ["background", "nucleus"]
    assert after.metadata == before.metadata


def test_restored_labels_are_saved_as_the_file_has_them_that_they_were_drawn_on(tmp_path):
    sagittal = [[0, 0, -3, 60], [1, 0, 0, -30], [0, 1, 0, -40], [0, 0, 0, 1]]
    scan = nibabel.Nifti1Image(np.zeros((20, 24, 10), np.int16), np.array(sagittal, float))
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    [(data, keywords, _)] = read_layers(str(tmp_path / "scan.nii.gz"))
    keywords = {key: value for key, value in keywords.items() if key not in ("name", "rgb")}
    layer = Labels(np.zeros(data.shape, np.int32), name="cells", **keywords)
    layer.data[2:4, 5:9, 6:12] = 1
    facts = facts_of(layer, None)
    planes = {(z, 0, 0): pack(plane) for z, plane in enumerate(layer.data)}
    write_snapshot(tmp_path / "copy", facts, planes)
    read, labels = read_snapshot(tmp_path / "copy")
    restored = Labels(labels, name="cells", **keywords_of(read))

    for name, each in (("direct", layer), ("restored", restored)):
        _, meta, _ = each.as_layer_data_tuple()
        write_labels_layer(str(tmp_path / f"{name}.nii.gz"), each.data, meta)

    saved = nibabel.load(tmp_path / "restored.nii.gz")
    assert saved.shape == scan.shape
    np.testing.assert_array_equal(saved.affine, scan.affine)
    direct, again = (tmp_path / f"{name}.nii.gz" for name in ("direct", "restored"))
    assert again.read_bytes() == direct.read_bytes()


def test_restored_labels_are_saved_at_once_and_only_then_not_offered_again(
    open_row, crashed, viewer, restore, home, until
):
    crashed()
    row = open_row()
    restore(row)
    until(lambda: len(list_entries(home)) == 2)

    states = {entry.id: entry for entry in list_entries(home)}
    old = states.pop("4711-1-1")
    [new] = states.values()
    until(lambda: next(e for e in list_entries(home) if e.id == old.id).has_ended)
    assert new.facts.name == "cells (restored)"
    assert new.facts.edits == 183
    np.testing.assert_array_equal(read_entry(new)[1], LABELS)
    np.testing.assert_array_equal(read_entry(old)[1], LABELS)


def test_restored_labels_that_cannot_be_saved_are_offered_again(
    open_row, crashed, viewer, restore, home, until, monkeypatch
):
    crashed()
    row = open_row()
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr(
        "napari_rwkv_seg.controllers.journal_copies.shutil.disk_usage", lambda _: usage
    )
    restore(row)
    until(lambda: bool(row.problem.text()))

    assert not list_entries(home)[0].has_ended
    assert "not being saved in the background" in row.problem.text()
    assert not row.isHidden()


def test_later_hides_the_offer_until_the_next_napari(
    open_row, crashed, viewer, home, make_napari_viewer
):
    crashed()
    row = open_row()
    row.offers[0].later.click()

    assert row.isHidden()
    assert not list_entries(home)[0].has_ended
    assert len(open_row(make_napari_viewer()).offers) == 1


@pytest.mark.parametrize("answer", ["Discard", "Cancel"])
def test_discard_asks_and_deletes_only_then(open_row, crashed, home, monkeypatch, answer):
    crashed(name="mine")
    row = open_row()
    asked = []

    def question(parent: Any, title: str, text: str, *buttons: Any) -> Any:
        asked.append(text)
        return getattr(QMessageBox.StandardButton, answer)

    monkeypatch.setattr(QMessageBox, "question", question)
    row.offers[0].discard.click()

    assert "labels 'mine'" in asked[0]
    assert (len(list_entries(home)) == 0) == (answer == "Discard")
    assert row.isHidden() == (answer == "Discard")


def test_several_processes_are_offered_a_few_at_a_time_the_newest_first(open_row, crashed):
    for number in range(1, 6):
        crashed(f"{number}-1", name=f"layer {number}", number=number)
    row = open_row()
    assert [offer.entry.facts.name for offer in row.offers] == ["layer 5", "layer 4", "layer 3"]
    assert "2 more" in row._rest.text()

    row.offers[1].later.click()

    assert [offer.entry.facts.name for offer in row.offers] == ["layer 5", "layer 3", "layer 2"]
    assert "1 more" in row._rest.text()


def test_n11_labels_of_a_napari_that_runs_are_not_offered(open_row, home):
    folder = make_layer_folder(home)
    write_snapshot(folder / "00000001.labels", Facts("x", (37, 53), "<i8"), {(0, 0): pack(LABELS)})

    assert open_row().offers == []


def test_labels_that_were_closed_in_the_ordinary_way_are_not_offered(open_row, crashed):
    (crashed().parent / "ended").touch()

    assert open_row().offers == []


def test_n02_a_damaged_newest_copy_gives_the_one_before_and_says_so(
    open_row, crashed, viewer, restore, monkeypatch
):
    told = []
    monkeypatch.setattr(recovery_row, "show_info", told.append)
    crashed()
    path = crashed(number=2)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    restore(open_row())

    np.testing.assert_array_equal(viewer.layers[-1].data, LABELS)
    assert "damaged" in told[0]


def test_labels_of_which_no_copy_is_whole_are_told_and_offered_on(
    open_row, crashed, viewer, restore, monkeypatch
):
    told = []
    monkeypatch.setattr(recovery_row, "show_error", told.append)
    path = crashed()
    path.write_bytes(path.read_bytes()[:-1])
    row = open_row()

    restore(row)

    assert "damaged" in told[0]
    assert len(viewer.layers) == 0
    assert row.offers[0].isEnabled()


def test_offers_that_another_napari_has_settled_meanwhile_do_no_harm(
    open_row, crashed, viewer, restore, monkeypatch
):
    told = []
    monkeypatch.setattr(recovery_row, "show_error", told.append)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Discard)
    path = crashed()
    row = open_row()
    path.unlink()
    path.parent.rmdir()

    restore(row)
    row.offers[0].discard.click()

    assert len(told) == 2
    assert len(viewer.layers) == 0


def test_two_docks_of_one_viewer_show_the_same(open_row, crashed):
    crashed()
    first, second = open_row(), open_row()
    assert len(first.offers) == len(second.offers) == 1

    second.offers[0].later.click()

    assert first.offers == second.offers == []


@pytest.fixture
def gate(monkeypatch):
    """Return what lets go of copies that are being read."""
    opened = threading.Event()

    def slow(entry: Any) -> Any:
        opened.wait(20)
        return read_entry(entry)

    monkeypatch.setattr(recovery_row, "read_entry", slow)
    return opened


def test_labels_that_one_dock_restores_cannot_be_restored_in_another_meanwhile(
    open_row, crashed, viewer, until, gate
):
    crashed("1-1")
    crashed("2-1", number=2)
    first, second = open_row(), open_row()
    first.offers[0].restore.click()
    assert not any(offer.isEnabled() for row in (first, second) for offer in row.offers)
    second.restore(second.offers[0].entry)
    gate.set()
    until(lambda: not first._recovery.is_restoring)

    assert [layer.name for layer in viewer.layers] == ["cells (restored)"]
    assert [len(row.offers) for row in (first, second)] == [1, 1]
    assert all(row.offers[0].isEnabled() for row in (first, second))


def test_a_dock_that_goes_while_it_restores_leaves_the_offer_to_the_others(
    open_row, crashed, viewer, until, gate
):
    crashed()
    first, second = open_row(), open_row()
    first.offers[0].restore.click()
    threading.Timer(0.2, gate.set).start()
    viewer.window.remove_dock_widget(first.parent())
    first.parent().deleteLater()
    until(lambda: not second._recovery.is_restoring)

    assert len(viewer.layers) + len(second.offers) == 1
    assert all(offer.isEnabled() for offer in second.offers)


def test_a_dock_that_is_closed_leaves_the_journal_running(
    open_row, viewer, home, until, monkeypatch
):
    monkeypatch.setattr(journal_module, "AFTER_S", 0.02)
    row = open_row()
    link = row._link
    viewer.window.remove_dock_widget(row.parent())
    row.parent().deleteLater()
    until(lambda: len(link.recovery.changed) == 0)
    layer = viewer.add_labels(np.zeros((37, 53), dtype=np.int32))
    layer.paint((5, 5), 3)
    until(lambda: bool(list_entries(home)))

    link.recovery.offer([])
    link.journal.tell("a problem that no dock shows")


def test_names_are_shown_as_plain_text(open_row, crashed):
    crashed(name="<b>bold</b><img src=x>")
    row = open_row()

    assert "<b>bold</b>" in row.offers[0].text.text()
    assert row.offers[0].text.textFormat().name == "PlainText"
