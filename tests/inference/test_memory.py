import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.inference import running
from napari_rwkv_seg.inference.predictor import predict_steps


def picture(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


ERRORS = [
    pytest.param(torch.OutOfMemoryError, "CUDA out of memory.", id="cuda"),
    pytest.param(RuntimeError, "DefaultCPUAllocator: can't allocate memory: 9 GB", id="cpu"),
    pytest.param(RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when …", id="cublas"),
    pytest.param(MemoryError, "", id="python"),
]


@pytest.mark.parametrize(("error", "text"), ERRORS)
def test_tiles_are_halved_when_memory_runs_out(
    error, text, make_model, greedy_network, pixel_model, drain, predict
):
    image = picture(520, 696)

    news, prediction = drain(
        predict_steps(image, make_model(greedy_network(256, error, text)), tile_size=512)
    )

    want = predict(image, pixel_model, tile_size=512).probabilities
    np.testing.assert_allclose(prediction.probabilities, want, atol=1e-4)
    assert prediction.tile_size == 256
    assert prediction.notes == (
        "Not enough memory for 512-px tiles; ran with 256-px tiles. The result is complete.",
    )
    assert [step.note for step in news if step.note] == [
        "Not enough memory; going on with 256-px tiles."
    ]
    assert news[-1].done == news[-1].total


def test_later_planes_begin_with_the_smaller_tiles(make_model, greedy_network, drain):
    network = greedy_network(150, torch.OutOfMemoryError, "")

    news, prediction = drain(predict_steps(picture(9, 300, 300), make_model(network), axes="ZYX"))

    assert prediction.tile_size == 150  # the whole plane of 300 was tried first
    assert sum("memory" in step.note for step in news) == 1
    assert news[-1].done == news[-1].total


def test_a_machine_too_small_for_the_smallest_tiles_is_told(make_model, greedy_network, predict):
    model = make_model(greedy_network(100, torch.OutOfMemoryError, ""))

    with pytest.raises(RwkvSegError, match="128-px tiles"):
        predict(picture(520, 696), model)


def test_other_errors_of_the_network_are_not_taken_for_lack_of_memory(
    make_model, greedy_network, predict
):
    model = make_model(greedy_network(1, RuntimeError, "sizes of tensors must match"))

    with pytest.raises(RuntimeError, match="must match"):
        predict(picture(20, 30), model)


def test_a_tile_that_ran_out_of_memory_leaves_no_tensor_behind(make_model):
    kept = []

    class Hungry(nn.Module):
        def forward(self, images):
            wide = images * 2
            kept.append(weakref.ref(wide))
            raise torch.OutOfMemoryError("CUDA out of memory.")

    answer = running.run_tile(make_model(Hungry()), picture(3, 20, 30))
    gc.collect()

    assert answer is None
    assert kept[0]() is None


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit], ids=["P08-interrupt", "P08-exit"]
)
def test_interrupts_inside_the_network_pass_through(error, make_model, greedy_network, predict):
    with pytest.raises(error):
        predict(picture(20, 30), make_model(greedy_network(1, error, "")))
