"""Row C01: layers are touched on the main thread only, in every test of this folder."""

import threading

import numpy as np
from napari.layers import Labels

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
