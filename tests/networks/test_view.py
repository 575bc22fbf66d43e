"""How networks are shown images."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_rwkv_seg.networks import View, build_network


@pytest.mark.parametrize(("height", "width"), [(35, 51), (1, 1), (3, 200), (64, 10)])
def test_a_small_image_lies_in_the_middle_mirrored_at_its_borders(height, width):
    image = torch.arange(2.0 * height * width).reshape(1, 2, height, width)
    seen = []

    def network(shown):
        seen.append(shown)
        return shown * 2

    found = View(least_side=64).show(network, image, in_training=False)
    margins = [(max(64 - side, 0) // 2, -(-max(64 - side, 0) // 2)) for side in (height, width)]
    expected = np.pad(image.numpy(), [(0, 0), (0, 0), *margins], mode="symmetric")
    np.testing.assert_array_equal(seen[0], expected)
    assert torch.equal(found, 2 * image)


def test_in_training_and_where_images_are_large_enough_nothing_is_added():
    small, large = torch.zeros(1, 1, 35, 51), torch.zeros(1, 1, 64, 65)
    view = View(least_side=64)
    assert view.show(torch.clone, small, in_training=True).shape == small.shape
    sizes = []
    view.show(lambda shown: sizes.append(shown.shape) or shown, large, in_training=False)
    assert sizes == [large.shape]


def test_an_image_is_mirrored_before_it_is_enlarged():
    sizes = []
    image = torch.randn(1, 1, 35, 51)
    view = View(zoom=3, least_side=64)
    found = view.show(lambda x: sizes.append(x.shape[-2:]) or x, image, in_training=False)
    assert sizes == [(192, 192)]
    assert found.shape == image.shape
    assert abs(float(found.mean() - image.mean())) < 0.05


@pytest.mark.parametrize("architecture", ["med_urwkv", "rwkv_unet"])
def test_a_network_sees_small_images_as_its_settings_say_but_crops_as_they_are(architecture):
    network = build_network(architecture, "T", in_channels=1, least_side=64)
    sizes = []
    network.encoder.register_forward_hook(lambda _, given, __: sizes.append(given[0].shape[-2:]))
    image = torch.randn(2, 1, 33, 40)
    with torch.inference_mode():
        assert network.train()(image).shape == (2, 2, 33, 40)
        assert network.eval()(image).shape == (2, 2, 33, 40)
    assert sizes == [(64, 64) if architecture == "med_urwkv" else (48, 48), (64, 64)]


@pytest.mark.parametrize("in_training", [False, True])
def test_a_network_may_see_images_turned_by_half_a_turn_always(in_training):
    image = torch.randn(1, 2, 35, 51)
    seen = []

    def network(shown):
        seen.append(shown)
        return torch.cumsum(shown, -1)

    found = View(half_turn=True).show(network, image, in_training=in_training)

    assert torch.equal(seen[0], torch.rot90(image, 2, (-2, -1)))
    expected = torch.rot90(torch.cumsum(torch.rot90(image, 2, (-2, -1)), -1), 2, (-2, -1))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("architecture", ["med_urwkv", "rwkv_unet"])
def test_a_half_turn_goes_with_zoom_and_frame(architecture):
    torch.manual_seed(0)
    settings = {"zoom": 2, "least_side": 64}
    plain = build_network(architecture, "T", **settings).eval()
    turned = build_network(architecture, "T", half_turn=True, **settings).eval()
    turned.load_state_dict(plain.state_dict())  # no weight is of another shape
    image = torch.randn(1, 3, 34, 46)
    with torch.inference_mode():
        expected = plain(image.flip(-2, -1)).flip(-2, -1)
        torch.testing.assert_close(turned(image), expected)


@pytest.mark.parametrize("value", [1, "true", 0.0], ids=repr)
def test_a_half_turn_that_is_no_yes_or_no_is_refused(value):
    with pytest.raises(ValueError, match=f"'half_turn' is true or false, got {value!r}"):
        build_network("rwkv_unet", "T", half_turn=value)


@pytest.mark.parametrize("side", [0, 513, "64", 64.0], ids=repr)
def test_a_least_side_that_is_no_number_of_pixels_is_refused(side):
    with pytest.raises(ValueError, match=f"'least_side' is a number from 1 to 512, got {side!r}"):
        build_network("rwkv_unet", "T", least_side=side)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("med_urwkv", {}), ("med_urwkv", {"encoder": "plain"}), ("rwkv_unet", {})],
)
def test_zoomed_logits_are_means_of_those_of_the_enlarged_image(architecture, settings):
    torch.manual_seed(42)
    plain = build_network(architecture, "T", **settings).eval()
    zoomed = build_network(architecture, "T", zoom=3, **settings).eval()
    zoomed.load_state_dict(plain.state_dict())  # no weight is of another shape
    image = torch.randn(1, 3, 21, 40)
    with torch.inference_mode():
        large = plain(functional.interpolate(image, size=(63, 120), mode="bilinear"))
        found = zoomed(image)
    assert found.shape == (1, 2, 21, 40)
    torch.testing.assert_close(found, functional.avg_pool2d(large, 3), rtol=1e-4, atol=1e-4)
