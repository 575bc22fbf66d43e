"""Numbers are read alike with a point and with a comma, in any locale."""

import pytest
from qtpy.QtCore import QLocale
from qtpy.QtTest import QTest

from napari_rwkv_seg.widgets.decimals import DecimalBox

LOCALES = ["en_US", "de_DE", "ar_EG"]


@pytest.fixture(params=LOCALES)
def locale(request):
    """Make a locale that of the program for a while."""
    before = QLocale()
    QLocale.setDefault(QLocale(request.param))
    yield request.param
    QLocale.setDefault(before)


@pytest.mark.parametrize(
    ("typed", "value"), [("2.5", 2.5), ("2,5", 2.5), ("0,05", 0.05), ("0.5", 0.5), ("12", 12)]
)
def test_a_point_and_a_comma_are_both_taken_for_the_decimal_one(qtbot, locale, typed, value):
    box = DecimalBox()
    box.setSuffix(" min")
    box.setRange(0, 10_000)
    box.setKeyboardTracking(False)
    qtbot.addWidget(box)
    box.selectAll()

    QTest.keyClicks(box, typed)
    box.interpretText()

    assert box.value() == value
    assert box.text() == f"{value:.2f} min"


def test_minutes_of_a_fine_tuning_and_the_least_overlap_are_such_boxes(qtbot):
    from napari_rwkv_seg.controllers.finetune import FinetuneController
    from napari_rwkv_seg.controllers.segment import SegmentController
    from napari_rwkv_seg.widgets.finetune_budget import Budget
    from napari_rwkv_seg.widgets.label_controls import LabelControls

    budget, controls = Budget(FinetuneController()), LabelControls(SegmentController())
    for widget in (budget, controls):
        qtbot.addWidget(widget)
    assert isinstance(budget.minutes, DecimalBox)
    assert isinstance(controls.overlap, DecimalBox)
