"""Row C01: layers are touched on the main thread only, in every test of this folder."""

import threading

import numpy as np
import pytest
from napari.layers import Labels

from napari_rwkv_seg.widgets import label_changes, result_layers

PLACE = (np.array([0]), np.array([4]))


def test_c01_the_guard_of_all_these_tests_notices_a_layer_touched_by_another_thread(
    main_thread_guard,
) -> None:
    layer = Labels(np.zeros((3, 5), dtype=np.int32))
    layer.opacity = 0.5
    assert main_thread_guard == []

    thread = threading.Thread(target=layer.data_setitem, args=(PLACE, 1))
    thread.start()
    thread.join()

    assert any("data_setitem" in trespass for trespass in main_thread_guard)
    main_thread_guard.clear()


@pytest.mark.gui
def test_what_a_run_and_its_adjustments_change_is_found_by_workers(
    dock, viewer, image, segment, idle, controller, monkeypatch
) -> None:
    finders: list[bool] = []
    find = label_changes.find_change

    def watched(*args: object) -> object:
        finders.append(threading.current_thread() is threading.main_thread())
        return find(*args)

    for module in (label_changes, result_layers):
        monkeypatch.setattr(module, "find_change", watched)
    viewer.add_image(image)

    labels = segment(dock)
    first = labels.data.copy()
    for threshold in (0.7, 0.3):
        controller.choose(threshold=threshold)
        idle(dock)

    assert finders == [False, False, False]
    assert len(viewer.layers) == 2
    labels.undo()
    np.testing.assert_array_equal(labels.data, first)
