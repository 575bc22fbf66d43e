import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.errors import ModelError, SettingsError
from napari_rwkv_seg.inference.predictor import predict_steps


def picture(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


PATTERNS = {
    "gradient": np.tile(np.linspace(0, 1, 301, dtype=np.float32), (211, 1)),
    "checkerboard": (np.indices((211, 301)).sum(0) % 2).astype(np.float32),
    "constant": np.full((211, 301), 0.7, dtype=np.float32),
    "noise": picture(211, 301),
}


@pytest.mark.parametrize("pattern", [pytest.param(name, id=f"P01-{name}") for name in PATTERNS])
def test_tiles_give_what_the_whole_image_gives(pattern, pixel_model, predict):
    image = PATTERNS[pattern]

    whole = predict(image, pixel_model)
    tiled = predict(image, pixel_model, tile_size=64)

    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=1e-6)


def test_no_seam_shows_where_a_network_looks_at_the_whole_tile(
    make_model, whole_tile_network, predict
):  # P01
    ramp = PATTERNS["gradient"]

    tiled = predict(ramp, make_model(whole_tile_network()), tile_size=64).probabilities

    assert np.abs(np.diff(tiled[1], axis=1)).max() < 0.02


def test_no_tile_is_larger_than_asked_for_and_only_the_last_ones_are_smaller(
    make_model, pixel_network, predict
):
    network = pixel_network()

    predict(picture(150, 333), make_model(network), tile_size=64)

    assert set(network.sizes) == {(height, width) for height in (64, 54) for width in (64, 45)}


def test_probabilities_sum_to_one_over_the_classes(make_model, pixel_network, predict):
    prediction = predict(picture(150, 99), make_model(pixel_network(4), classes=4), tile_size=64)

    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-5)


def test_the_digest_tells_images_apart(pixel_model, predict):
    image = picture(20, 30)
    changed = image.copy()
    changed[7, 7] += 0.001

    digests = {predict(given, pixel_model).image_sha256 for given in (image, image.copy(), changed)}

    assert len(digests) == 2


def test_progress_counts_every_tile_from_none_to_all(pixel_model, drain):
    news, _ = drain(predict_steps(picture(9, 100, 150), pixel_model, axes="ZYX", tile_size=64))

    total = news[0].total
    assert [step.done for step in news] == list(range(total + 1))
    assert {step.total for step in news} == {total}
    assert news[0].seconds_left is None
    assert news[-1].seconds_left == 0


def test_closing_the_generator_between_tiles_runs_no_more_tiles(make_model, pixel_network):  # P06
    network = pixel_network()
    steps = predict_steps(picture(200, 300), make_model(network), tile_size=64)
    for _ in range(3):
        next(steps)

    steps.close()

    assert len(network.sizes) == 2


def test_nothing_runs_before_the_first_progress(make_model, pixel_network):  # P06
    network = pixel_network()
    steps = predict_steps(picture(20, 30), make_model(network))
    next(steps)
    steps.close()

    assert not network.sizes


def test_an_answer_of_another_shape_is_refused(make_model, pixel_network, predict):
    with pytest.raises(ModelError, match=r"\(1, 4, 20, 30\).*expected \(1, 2, 20, 30\)"):
        predict(picture(20, 30), make_model(pixel_network(4)))


def test_an_encoder_that_returns_feature_maps_is_refused(make_model, predict):
    class Encoder(nn.Module):
        def forward(self, images):
            return [images]

    with pytest.raises(ModelError, match="does not segment: it returned list"):
        predict(picture(20, 30), make_model(Encoder()))


def test_an_answer_that_is_not_finite_is_refused(make_model, predict):  # I06
    class Broken(nn.Module):
        def forward(self, images):
            return images[:, :2] * float("nan")

    with pytest.raises(ModelError, match="not finite"):
        predict(picture(20, 30), make_model(Broken()))


@pytest.mark.parametrize("size", [0, 63, 4097, -512])
def test_a_tile_size_out_of_range_is_refused(size, pixel_model, predict):
    with pytest.raises(SettingsError, match="64 to 4096"):
        predict(picture(20, 30), pixel_model, tile_size=size)


def test_large_results_are_kept_in_half_precision(pixel_model, monkeypatch, predict):
    monkeypatch.setattr("napari_rwkv_seg.inference.predictor._HALF_ABOVE", 1000)
    image = picture(40, 50)

    prediction = predict(image, pixel_model)

    assert prediction.probabilities.dtype == np.float16
    monkeypatch.undo()
    np.testing.assert_allclose(
        prediction.probabilities, predict(image, pixel_model).probabilities, atol=1e-3
    )


def test_gradients_and_threads_of_torch_are_left_as_they_were(pixel_model):
    threads = torch.get_num_threads()
    steps = predict_steps(picture(200, 300), pixel_model, tile_size=64)
    for _ in steps:
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()

    assert torch.get_num_threads() == threads
