"""I13: of an image of a hundred gigabytes only what is at work is read, and memory stays small."""

import dask.array as da
import numpy as np
import psutil
import pytest

from napari_rwkv_seg.inference.stream_folder import read_progress
from napari_rwkv_seg.inference.streaming import segment_to_store_steps

PLANES, SIDE = 25_000, 2000


@pytest.fixture
def vast():
    """Return a lazy stack of 100 GB, and the list of planes that were made of it so far."""
    made = []

    def plane(block_info=None):
        number = block_info[None]["chunk-location"][0]
        made.append(number)
        return np.random.default_rng(number).integers(0, 255, (1, SIDE, SIDE), dtype=np.uint8)

    chunks = ((1,) * PLANES, (SIDE,), (SIDE,))
    stack = da.map_blocks(plane, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    return stack, made


def test_a_stack_of_a_hundred_gigabytes_is_read_as_it_is_needed(vast, pixel_model, tmp_path):
    stack, made = vast
    process = psutil.Process()
    before, most, told = process.memory_info().rss, 0, []
    steps = segment_to_store_steps(stack, pixel_model, tmp_path / "store", axes="ZYX")
    for progress in steps:
        most = max(most, process.memory_info().rss)
        told.append(progress)
        if progress.done > 60:
            break
    steps.close()

    assert stack.nbytes == 100_000_000_000
    assert most - before < 500_000_000
    each = told[-1].total // PLANES
    needed = set(range(-(-told[-1].done // each)))
    sampled = {part * (PLANES - 1) // 15 for part in range(16)}  # the image is told by these
    assert needed <= set(made) <= needed | sampled
    assert all(made.count(number) == 1 for number in sampled - needed)
    assert f"Measuring the brightness, plane {len(needed)} of 25000: 100%" in {
        one.note for one in told
    }


def test_what_was_done_of_many_planes_is_kept_when_it_is_cancelled(vast, pixel_model, tmp_path):
    stack, _ = vast
    steps = segment_to_store_steps(stack, pixel_model, tmp_path / "store", axes="ZYX")
    for progress in steps:
        if progress.done > 60:
            break
    steps.close()
    planes = read_progress(tmp_path / "store")["state"]["planes"]
    measured = [plane for plane in planes if plane["windows"] is not None]
    assert measured == planes[:2]
    assert planes[0]["rows"] == [[0, 0], [0, 1]]  # of 1024 pixels each
    assert planes[1]["rows"]
