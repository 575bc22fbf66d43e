"""Docks show all of their widgets from side to side."""

import pytest
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QPushButton

from napari_rwkv_seg.widgets.layouts import scrolling


@pytest.mark.parametrize("points", [8, 14, 24])
def test_an_area_is_as_wide_as_its_contents_need_whatever_the_font(qtbot, points):
    buttons = [QPushButton("Show current prediction") for _ in range(40)]
    area = scrolling(*buttons, width=100)
    qtbot.addWidget(area)
    area.resize(10, 300)
    area.show()
    for button in buttons:
        button.setFont(QFont(button.font().family(), points))
    qtbot.waitUntil(lambda: area.minimumSizeHint().width() > buttons[0].sizeHint().width())
    area.resize(area.minimumSizeHint().width(), 300)

    assert area.verticalScrollBar().isVisible()
    assert area.horizontalScrollBar().maximum() == 0
    assert area.viewport().width() >= buttons[0].sizeHint().width()


def test_an_area_has_the_width_that_it_is_given_if_its_contents_need_less(qtbot):
    area = scrolling(QPushButton("Go"), width=300)
    qtbot.addWidget(area)
    assert area.minimumSizeHint().width() == 300
