"""A dialog runs a loop of events of its own: what ends while it is open is applied once."""

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDialog

from .conftest import PATIENCE_MS

pytestmark = pytest.mark.gui
LOOK_MS = 10


def linger(condition) -> bool:
    """Keep a modal dialog open until a condition holds; return whether it came to hold."""
    dialog, timer, looks = QDialog(), QTimer(), []

    def look() -> None:
        looks.append(condition())
        if looks[-1] or len(looks) * LOOK_MS > PATIENCE_MS:
            dialog.accept()

    timer.timeout.connect(look)
    timer.start(LOOK_MS)
    dialog.setModal(True)
    dialog.exec()
    timer.stop()
    dialog.deleteLater()
    return looks[-1]


def results(viewer) -> list[Labels]:
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def test_c08_a_result_that_comes_while_a_dialog_is_open_is_applied_once(
    dock, viewer, image, engine, segment, until
):
    layer = viewer.add_image(image)
    engine.gate.clear()
    dock.job.button.click()
    until(engine.waiting.is_set)

    engine.gate.set()
    assert linger(lambda: bool(results(viewer)) and not dock._link.is_busy)

    [labels] = results(viewer)
    np.testing.assert_array_equal(labels.data > 0, image > 125)
    layer.data = image[::-1].copy()
    assert segment(dock) is labels
    assert results(viewer) == [labels]
    np.testing.assert_array_equal(labels.data > 0, image[::-1] > 125)


def test_c08_a_run_from_a_dialog_that_opens_as_a_result_arrives_is_shown_beside_it(
    dock, viewer, image, engine, idle
):
    layer, held = viewer.add_image(image), []

    def ask(event) -> None:
        """Be another plugin, that asks the user something about every new layer."""
        if not isinstance(event.value, Labels) or held:
            return
        held.append(False)
        layer.data = image[::-1].copy()
        dock._link.run()
        held[0] = linger(lambda: engine.runs == 2 and dock._controller.running is None)

    viewer.layers.events.inserted.connect(ask)
    dock.job.button.click()
    idle_after(dock, idle)

    assert held == [True]
    older, newer = results(viewer)  # the layer of the first is not there yet when it is asked for
    np.testing.assert_array_equal(older.data > 0, image > 125)
    np.testing.assert_array_equal(newer.data > 0, image[::-1] > 125)


def test_c08_layers_removed_in_a_dialog_that_opens_as_a_result_arrives_do_no_harm(
    dock, viewer, image, segment, idle
):
    viewer.add_image(image)
    asked = []

    def ask(event) -> None:
        if isinstance(event.value, Labels) and not asked:
            asked.append(True)
            QTimer.singleShot(0, viewer.layers.clear)
            linger(lambda: not viewer.layers)

    viewer.layers.events.inserted.connect(ask)
    dock.job.button.click()
    idle_after(dock, idle)

    assert asked == [True]
    assert not dock._link.is_busy
    viewer.add_image(image)
    np.testing.assert_array_equal(segment(dock).data > 0, image > 125)


def idle_after(dock, idle) -> None:
    """Wait until what was begun has been shown."""
    idle(dock)
    assert dock._controller.running is None
