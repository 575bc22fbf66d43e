"""Our tiles beside MONAI's `sliding_window_inference`, on networks that look at few pixels."""

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

TILE = 64
PICTURE = np.random.default_rng(0).random((211, 301), dtype=np.float32)


class Neighbourhood(nn.Module):
    """Says class 1 where the mean of the 7 × 7 pixels around exceeds 0.5; zeros lie outside."""

    def forward(self, images: Tensor) -> Tensor:
        bright = 20 * (nn.functional.avg_pool2d(images[:, :1], 7, stride=1, padding=3) - 0.5)
        return torch.cat([-bright, bright], dim=1)


def by_monai(network: nn.Module) -> np.ndarray:
    """Return MONAI's blended probabilities (K, Y, X) for tiles that share a quarter."""
    images = torch.from_numpy(PICTURE).expand(1, 3, -1, -1)
    with torch.inference_mode():
        answer = sliding_window_inference(
            images, (TILE, TILE), 1, lambda tile: network(tile).softmax(1), 0.25, mode="gaussian"
        )
    return answer[0].numpy()


def test_tiles_give_what_monai_gives_where_a_network_looks_at_single_pixels(
    make_model, pixel_network, predict
):
    ours = predict(PICTURE, make_model(pixel_network()), tile_size=TILE).probabilities

    np.testing.assert_allclose(ours, by_monai(pixel_network()), atol=1e-5)


@pytest.mark.parametrize("measure", [np.max, np.mean], ids=["largest", "mean"])
def test_tiles_are_as_close_to_the_whole_image_as_those_of_monai(measure, make_model, predict):
    model = make_model(Neighbourhood())
    whole = predict(PICTURE, model, tile_size=512).probabilities
    tiled = predict(PICTURE, model, tile_size=TILE).probabilities

    ours = measure(np.abs(tiled - whole))

    assert ours <= measure(np.abs(by_monai(model.network) - whole))
    assert ours < 0.01
