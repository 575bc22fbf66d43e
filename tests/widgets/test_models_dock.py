"""The dock "Models": what it shows, and that its buttons do what they say."""

import os
import sys
import zipfile
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog

from napari_rwkv_seg.controllers.models import ModelsController
from napari_rwkv_seg.controllers.models_choices import ENDINGS
from napari_rwkv_seg.controllers.models_jobs import WORKER, empty_trash_wish
from napari_rwkv_seg.controllers.models_rows import COLUMNS
from napari_rwkv_seg.widgets import models_export
from napari_rwkv_seg.widgets.contributions import FinetuneOnMyLabels, SegmentWithMedURWKV
from napari_rwkv_seg.widgets.model_news import ModelNews, news_of
from napari_rwkv_seg.widgets.models_dock import ModelsDock
from napari_rwkv_seg.zoo.manage import list_deleted
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model
from tests.controllers.model_folders import SHIPPED, hostile_zip, put_broken, put_encoder, put_model

pytestmark = pytest.mark.gui

FAKE = Path(__file__).parents[1] / "fake_models_worker.py"
NAME, PURPOSE, SIZE = (COLUMNS.index(word) for word in ("Name", "Purpose", "Size"))


@pytest.fixture(autouse=True)
def settings_folder(tmp_path, monkeypatch):
    """Keep the user's settings out of the tests, and out of the processes that they start."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("napari_rwkv_seg.controllers.models_jobs.LEAVE_S", 0.5)


@pytest.fixture
def open_dock(qtbot):
    """Return what opens a dock on its own, with a real worker or a fake one of some mode."""
    docks = []

    def make(mode: str = "") -> ModelsDock:
        command = [sys.executable, str(FAKE), mode] if mode else WORKER
        dock = ModelsDock(ModelsController(command), ModelNews())
        dock.asked = []
        dock.ask = lambda question: dock.asked.append(question) or True
        dock.shown = []
        dock.open_folder = lambda folder: dock.shown.append(folder) or True
        qtbot.addWidget(dock)
        dock.show()
        docks.append(dock)
        return dock

    yield make
    for dock in docks:
        dock.end()


@pytest.fixture
def ended(qtbot):
    """Return what waits until a dock's job has ended; importing torch takes a process a while."""
    return lambda dock: qtbot.waitUntil(
        lambda: not dock._controller.is_busy and not dock._runner.is_busy, timeout=90_000
    )


def names(dock: ModelsDock) -> list[str]:
    return [dock.table.item(row, NAME).text() for row in range(dock.table.rowCount())]


def choose(dock: ModelsDock, name: str) -> None:
    dock.table.setCurrentCell(names(dock).index(name), NAME)


def press(dock: ModelsDock, word: str) -> None:
    button = {**dock.coming.buttons, **dock.doing.buttons}[word]
    assert button.isEnabled(), button.toolTip()
    button.click()


def enabled(dock: ModelsDock) -> set[str]:
    return {word for word, button in dock.doing.buttons.items() if button.isEnabled()}


# The list and the card


def test_models_and_encoders_are_listed_with_what_one_asks_of_them(open_dock, user_data):
    put_model(user_data, "cells", parent="nuclei", test_scores={"Dice": 0.75})
    put_encoder(user_data, "vr")
    dock = open_dock()
    assert names(dock) == [*SHIPPED, "cells", "vr"]
    texts = [dock.table.item(len(SHIPPED), column).text() for column in range(len(COLUMNS))]
    assert texts[:4] == ["cells", "yours", "Tests", "cell"]
    assert texts[5:] == ["CC0-1.0", "nuclei", "Dice 0.75"]
    assert dock.table.item(0, 1).text() == "shipped"


def test_a_click_on_a_heading_sorts_and_the_chosen_one_stays_chosen(open_dock, user_data, qtbot):
    put_model(user_data, "big")
    (user_data / "models" / "big" / "more.bin").write_bytes(bytes(25_000_000))
    put_model(user_data, "small")
    dock = open_dock()
    choose(dock, "small")
    header = dock.table.horizontalHeader()
    dock.table.horizontalScrollBar().setValue(header.sectionPosition(SIZE))
    spot = header.viewport().rect().center()
    spot.setX(header.sectionViewportPosition(SIZE) + 20)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    smallest, *shipped, largest = names(dock)
    assert (smallest, sorted(shipped), largest) == ("small", SHIPPED, "big")
    assert dock.table.key == str(user_data / "models" / "small")
    put_model(user_data, "new")
    press(dock, "refresh")
    assert names(dock)[-1] == "big"
    assert dock.table.key == str(user_data / "models" / "small")


def test_what_cannot_be_used_is_greyed_and_says_why(open_dock, user_data):
    put_broken(user_data, "torn")
    dock = open_dock()
    choose(dock, "torn")
    item = dock.table.item(names(dock).index("torn"), PURPOSE)
    assert item.text().startswith("Cannot be used: The card")
    assert item.foreground().color() != dock.table.item(0, PURPOSE).foreground().color()
    assert item.font().italic()
    assert "cannot be used" in dock.card.toPlainText()
    assert enabled(dock) == {"reveal", "delete"}


def test_two_hundred_broken_folders_are_all_listed(open_dock, user_data):
    for number in range(200):
        put_broken(user_data, f"torn_{number:03}")
    dock = open_dock()
    assert len(names(dock)) == 200 + len(SHIPPED)
    choose(dock, "torn_199")
    assert enabled(dock) == {"reveal", "delete"}


def test_the_card_shows_facts_and_page_as_they_were_written(open_dock, user_data):
    put_model(user_data, "cells", page="# Cells\n<b>bold</b> & <script>", note="<i>mine</i>")
    dock = open_dock()
    assert "Choose a model" in dock.card.toPlainText()
    choose(dock, "cells")
    text = dock.card.toPlainText()
    assert "<b>bold</b> & <script>" in text
    assert "<i>mine</i>" in text
    assert str(user_data / "models" / "cells") in text


def test_nothing_can_be_done_while_nothing_is_chosen(open_dock):
    assert enabled(open_dock()) == set()


def test_a_shipped_model_can_be_used_but_not_changed(open_dock):
    dock = open_dock()
    choose(dock, DEFAULT_MODEL)
    assert enabled(dock) == {"use", "export", "reveal"}
    assert "comes with the package" in dock.doing.buttons["delete"].toolTip()


def test_the_list_follows_what_happens_elsewhere(open_dock, user_data):
    dock = open_dock()
    folder = put_model(user_data, "adopted")
    dock._news.adopt("adopted")  # as fine-tuning does
    assert "adopted" in names(dock)
    choose(dock, "adopted")
    folder.rename(folder.with_name(".gone"))
    dock.hide()
    dock.show()
    assert "adopted" not in names(dock)
    assert enabled(dock) == set()


# What is done at once


def test_a_model_is_renamed_unless_the_name_is_taken(open_dock, user_data):
    put_model(user_data, "cells")
    dock = open_dock()
    choose(dock, "cells")
    press(dock, "rename")
    question = dock.questions.asked
    for wrong, reason in ((DEFAULT_MODEL, "already"), ("a b", "cannot be the name")):
        question.text.setText(wrong)
        question.ok.click()
        assert reason in question.problem.text()
        assert question.isVisible()
    question.text.setText("mine")
    question.ok.click()
    assert dock.questions.asked is None
    assert names(dock) == [*SHIPPED, "mine"]
    assert dock.table.key == str(user_data / "models" / "mine")


def test_a_note_is_put_on_the_card(open_dock, user_data):
    put_model(user_data, "cells")
    dock = open_dock()
    choose(dock, "cells")
    press(dock, "note")
    dock.questions.asked.text.setText("good on Mondays")
    dock.questions.asked.ok.click()
    assert "good on Mondays" in dock.card.toPlainText()
    press(dock, "note")
    assert dock.questions.asked.text.text() == "good on Mondays"
    dock.questions.asked.reject()


def test_a_deleted_model_comes_back_with_undo(open_dock, user_data, qtbot):
    put_model(user_data, "cells")
    dock = open_dock()
    choose(dock, "cells")
    qtbot.keyClick(dock.table, Qt.Key.Key_Delete)
    assert names(dock) == [*SHIPPED]
    assert dock.undo.isVisible()
    assert "'cells' is in the trash" in dock.undo.line.text()
    dock.undo.button.click()
    assert names(dock) == [*SHIPPED, "cells"]
    assert dock.table.key == str(user_data / "models" / "cells")
    assert not dock.undo.isVisible()


def test_f2_renames_and_a_key_does_nothing_where_its_button_does_not(open_dock, user_data, qtbot):
    put_model(user_data, "cells")
    dock = open_dock()
    choose(dock, "cells")
    qtbot.keyClick(dock.table, Qt.Key.Key_F2)
    assert dock.questions.asked.text.text() == "cells"
    dock.questions.asked.reject()
    choose(dock, DEFAULT_MODEL)
    for key in (Qt.Key.Key_F2, Qt.Key.Key_Delete):
        qtbot.keyClick(dock.table, key)
    assert dock.questions.asked is None
    assert names(dock) == [*SHIPPED, "cells"]


def test_an_undo_that_finds_its_name_taken_says_so_and_loses_nothing(open_dock, user_data):
    put_model(user_data, "cells")
    dock = open_dock()
    choose(dock, "cells")
    press(dock, "delete")
    put_model(user_data, "cells")
    dock.undo.button.click()
    assert "There is a 'cells' by now" in dock.job.problem.text()
    assert [each.name for each in list_deleted()] == ["cells"]


def test_the_trash_gives_back_and_is_emptied_after_a_question(open_dock, user_data, ended):
    dock = open_dock()
    assert not dock.trash.isVisible()
    for name in ("one", "two", "three"):
        put_model(user_data, name)
        press(dock, "refresh")
        choose(dock, name)
        press(dock, "delete")
    assert dock.trash.folding.button.text() == "Trash (3)"
    dock.trash.folding.button.click()
    dock.trash.list.setCurrentRow(2)
    dock.trash.restore.click()
    assert names(dock) == [*SHIPPED, "one"]
    dock.ask = lambda question: dock.asked.append(question)  # No
    dock.trash.empty.click()
    assert "three, two for good" in dock.asked[-1]
    assert len(list_deleted()) == 2
    dock.ask = lambda _: True
    dock.trash.empty.click()
    ended(dock)
    assert dock.job.status.text() == "Deleted for good: 2."
    assert list_deleted() == []
    assert not dock.trash.isVisible()


def test_a_folder_is_shown_in_the_file_manager_or_named(open_dock, user_data):
    folder = put_model(user_data, "cells")
    dock = open_dock()
    choose(dock, "cells")
    press(dock, "reveal")
    assert dock.shown == [folder]
    dock.open_folder = lambda _: False
    press(dock, "reveal")
    assert str(folder) in dock.job.problem.text()
    folder.rename(folder.with_name(".gone"))
    press(dock, "reveal")
    assert "not there any more" in dock.job.problem.text()
    assert names(dock) == [*SHIPPED]


# Out and in


def test_a_model_goes_out_and_comes_in(open_dock, user_data, ended, tmp_path, monkeypatch):
    put_model(user_data, "cells")
    dock = open_dock()
    choose(dock, "cells")
    press(dock, "export")
    target = tmp_path / "out.zip"
    asked = {}

    def get_name(*_, **options):
        asked.update(options)
        return str(target), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", get_name)
    dock.questions.asked.choose.click()
    assert asked["options"] == QFileDialog.Option.DontConfirmOverwrite  # nothing is ever replaced
    dock.questions.asked.ok.click()
    assert not dock.doing.buttons["export"].isEnabled()
    assert "under way" in dock.coming.buttons["import"].toolTip()
    ended(dock)
    assert dock.job.status.text() == f"Written: {target}"
    press(dock, "import")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(target), ""))
    dock.questions.asked.file.click()
    dock.questions.asked.ok.click()
    ended(dock)
    assert dock.table.key == str(user_data / "models" / "cells_2")
    assert "'cells_2' is among your models" in dock.job.status.text()


def test_a_model_goes_out_as_a_bioimageio_package(open_dock, ended, tmp_path):
    """ONNX and torch.export take half a minute and more; tests/zoo has them."""
    dock = open_dock()
    choose(dock, DEFAULT_MODEL)
    press(dock, "export")
    question = dock.questions.asked
    question.format.setCurrentIndex(question.format.findData("bioimageio"))
    question.size.setValue(64)
    target = tmp_path / f"out{ENDINGS['bioimageio']}"
    question.target.setText(str(target))
    question.ok.click()
    ended(dock)
    assert dock.job.problem.text() == ""
    assert str(target) in dock.job.status.text()
    with zipfile.ZipFile(target) as package:  # tests/zoo has it read by bioimageio.core
        assert "bioimageio.yaml" in package.namelist()


def test_what_is_there_is_not_replaced_by_an_export(open_dock, user_data, ended, tmp_path):
    dock = open_dock()
    choose(dock, DEFAULT_MODEL)
    press(dock, "export")
    (tmp_path / "out.zip").write_text("precious")
    dock.questions.asked.target.setText(str(tmp_path / "out.zip"))
    dock.questions.asked.ok.click()
    ended(dock)
    assert "exists already" in dock.job.problem.text()
    assert (tmp_path / "out.zip").read_text() == "precious"


def test_a_format_whose_libraries_are_missing_says_what_to_install(open_dock, monkeypatch):
    said = lambda form: "This needs more: pip install onnx" if form == "onnx" else ""  # noqa: E731
    monkeypatch.setattr(models_export, "lacking", said)
    dock = open_dock()
    choose(dock, DEFAULT_MODEL)
    press(dock, "export")
    question = dock.questions.asked
    assert question.ok.isEnabled()
    assert not question.size.isVisible()
    question.format.setCurrentIndex(question.format.findData("onnx"))
    assert question.problem.text() == "This needs more: pip install onnx"
    assert not question.ok.isEnabled()
    assert question.size.isVisible()
    assert question.target.text().endswith(f"{DEFAULT_MODEL}.onnx")
    question.reject()


def test_an_encoder_goes_out_as_a_folder_only(open_dock, user_data):
    put_encoder(user_data, "vr")
    dock = open_dock()
    choose(dock, "vr")
    press(dock, "export")
    offered = [
        dock.questions.asked.format.itemData(i) for i in range(dock.questions.asked.format.count())
    ]
    assert offered == ["zip", "folder"]
    dock.questions.asked.reject()


def test_a_zip_that_would_leave_its_folder_is_refused(open_dock, ended, tmp_path, user_data):
    dock = open_dock()
    press(dock, "import")
    dock.questions.asked.ok.click()
    assert "Choose a file or a folder" in dock.questions.asked.problem.text()
    dock.questions.asked.path.setText(str(hostile_zip(tmp_path / "bad.zip")))
    dock.questions.asked.ok.click()
    ended(dock)
    assert "bad.zip" in dock.job.problem.text()
    assert list(tmp_path.rglob("escaped.txt")) == []
    assert names(dock) == [*SHIPPED]


def test_a_pickle_that_wants_to_run_code_is_refused_unrun(open_dock, ended, tmp_path):
    canary = tmp_path / "canary"
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", f"cos\nsystem\n(S'touch {canary.name}'\ntR.")
    dock = open_dock()
    press(dock, "import")
    dock.questions.asked.path.setText(str(tmp_path / "x.pth"))
    dock.questions.asked.ok.click()
    ended(dock)
    assert "refused" in dock.job.problem.text()
    assert not canary.exists()
    assert not Path(canary.name).exists()


def test_what_does_not_fit_is_named_key_by_key_to_be_copied(open_dock, ended, tmp_path):
    dock = open_dock("misfit")
    press(dock, "import")
    dock.questions.asked.path.setText(str(tmp_path / "x.pth"))
    dock.questions.asked.ok.click()
    ended(dock)
    misfits = [f"'layers.{number}.key' is missing" for number in range(40)]
    assert dock.job.details.isVisible()
    assert dock.job.details.toPlainText().splitlines() == misfits
    dock.job.copy.click()
    copied = QGuiApplication.clipboard().text()
    assert copied.startswith("It looks like VRWKV T")
    assert copied.endswith(misfits[-1])


# Jobs


def test_a_job_is_cancelled_and_another_can_begin(open_dock, ended, until):
    dock = open_dock("wait")
    dock.begin(empty_trash_wish())
    until(lambda: "1.5 of 3.0 MB" in dock.job.status.text())
    assert dock.job.cancel.isVisible()
    dock.job.cancel.click()
    assert dock.job.status.text() == "Cancelling …"
    ended(dock)
    assert dock.job.status.text() == "Cancelled; nothing was changed."
    assert not dock.job.cancel.isVisible()
    assert dock.coming.buttons["import"].isEnabled()


def test_a_worker_that_dies_is_told(open_dock, ended):
    dock = open_dock("die")
    dock.begin(empty_trash_wish())
    ended(dock)
    assert "ended unexpectedly" in dock.job.problem.text()


@pytest.mark.parametrize("how", ["dock", "window"])
def test_closing_while_a_job_runs_leaves_no_process(how, viewer, until):
    dock = ModelsDock(ModelsController([sys.executable, str(FAKE), "deaf"]), news_of(viewer))
    viewer.window.add_dock_widget(dock, name="models", area="right")
    dock.begin(empty_trash_wish())
    process = dock._controller._job._process
    until(lambda: "1.5 of 3.0 MB" in dock.job.status.text())
    if how == "dock":
        viewer.window.remove_dock_widget(dock)
    else:
        viewer.close()
    until(lambda: process.poll() is not None)


# With the other docks


def test_a_new_model_is_in_all_lists_at_once_and_is_used(viewer, user_data, ended):
    segment, finetune = SegmentWithMedURWKV(viewer), FinetuneOnMyLabels(viewer)
    dock = ModelsDock(ModelsController(), news_of(viewer))
    for one in (segment, finetune, dock):
        viewer.window.add_dock_widget(one, area="right")
    dock.coming.buttons["new"].click()
    question = dock.questions.asked
    question.architecture.setCurrentIndex(question.architecture.findData("rwkv_unet"))
    question.channels.setCurrentIndex(0)
    question.name.setText("cells")
    question.classes.table.item(0, 0).setText("live")
    question.classes.add.click()
    question.classes.table.item(1, 0).setText("dead")
    question.classes.change_color(1, "#ff0000")
    question.ok.click()
    ended(dock)
    assert "not trained" in dock.job.status.text()
    assert dock.table.key == str(user_data / "models" / "cells")
    card = find_model("cells").card
    assert (card.input_channels, card.architecture) == (1, "rwkv_unet")
    assert [(one.name, one.color) for one in card.classes[1:]] == [
        ("live", "#e69f00"),
        ("dead", "#ff0000"),
    ]
    for picker in (segment.model, finetune.model):
        assert picker.combo.findText("cells") >= 0
    dock.doing.buttons["use"].click()
    assert segment._controller.settings.model == "cells"
    assert news_of(viewer).preferred == "cells"
    dock.doing.buttons["delete"].click()
    assert segment.model.combo.findText("cells") < 0


def test_a_new_model_from_a_chosen_encoder_has_its_network_and_size(open_dock, user_data):
    put_encoder(user_data, "unet_s", "rwkv_unet_encoder")
    put_encoder(user_data, "vr_s")
    dock = open_dock()
    choose(dock, "unet_s")
    press(dock, "new")
    question = dock.questions.asked
    assert question.architecture.currentData() == "rwkv_unet"
    assert question.encoder.currentText() == "unet_s (VRWKV S)"
    assert question.variant.currentText() == "S"
    assert not question.variant.isEnabled()
    question.encoder.setCurrentIndex(0)
    assert question.variant.isEnabled()
    question.classes.table.item(0, 0).setText(" ")
    question.ok.click()
    assert "each named" in question.problem.text()
    question.reject()
    assert not dock._controller.is_busy


@pytest.mark.parametrize("word", ["new", "import"])
def test_a_name_that_cannot_be_had_is_refused_before_any_work(word, open_dock, user_data, tmp_path):
    put_model(user_data, "cells")
    dock = open_dock()
    press(dock, word)
    question = dock.questions.asked
    if word == "import":
        question.path.setText(str(tmp_path / "x.pth"))
    for name, reason in (("cells", "'cells' already"), ("../up", "cannot be the name")):
        question.name.setText(name)
        question.ok.click()
        assert reason in question.problem.text()
        assert question.isVisible()
    question.reject()
    assert not dock._controller.is_busy
    assert os.listdir(user_data / "models") == ["cells"]
