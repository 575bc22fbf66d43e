"""The table of classes: what is being written into it is not lost."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.widgets.finetune_classes import ClassTable

from .conftest import MODELS

pytestmark = pytest.mark.gui


@pytest.fixture
def classes(qtbot) -> ClassTable:
    """Return the table with two classes of a model."""
    controller = FinetuneController()
    controller.choose_model("bright", MODELS)
    classes = ClassTable(controller)
    qtbot.addWidget(classes)
    classes.show_choices()
    classes.show()
    return classes


def test_a_name_that_is_being_written_survives_news_from_elsewhere(classes, qtbot, until) -> None:
    classes.add.click()
    editor = classes.table.findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "membr")

    classes.show_choices()  # as when pairs have been counted
    assert editor.text() == "membr"
    qtbot.keyClicks(editor, "ane")
    qtbot.keyClick(editor, Qt.Key.Key_Return)

    until(lambda: classes._controller.choices.classes[2].name == "membrane")
    assert classes.table.item(2, 1).text() == "membrane"


def test_a_class_of_another_colour_is_shown_so(classes) -> None:
    before = classes.table.item(1, 0).icon().pixmap(14, 14).toImage().pixelColor(7, 7).name()

    classes.change_color(1, "#ff0000")

    number = classes.table.item(1, 0)
    assert before != "#ff0000"
    assert number.icon().pixmap(14, 14).toImage().pixelColor(7, 7).name() == "#ff0000"
    assert "#ff0000" in number.toolTip()


def test_a_name_that_is_refused_goes_back_to_what_it_was(classes) -> None:
    classes.table.item(1, 1).setText("class 0")

    assert classes.table.item(1, 1).text() == "class 1"
    assert "already" in classes._problem.text()
