"""RWKV-UNet whole: the authors' numbers and sizes, any image, gradients, and that it can learn."""

import pytest
import torch
from torch.nn import functional

from napari_rwkv_seg.networks import RWKV_UNET_CONFIGS, RWKVUNet, RWKVUNetEncoder

USED = {"T": 3_145_786, "S": 9_701_970, "B": 17_125_538}  # specification, section 3.5, 2 classes
VARIANTS = list(RWKV_UNET_CONFIGS)


@pytest.fixture
def tiny():
    torch.manual_seed(42)
    return RWKVUNet("T")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_number_of_parameters_is_the_authors_less_the_unused(variant):
    with torch.device("meta"):
        network = RWKVUNet(variant)
    assert sum(parameter.numel() for parameter in network.parameters()) == USED[variant]


@pytest.mark.shared
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("file", "classes"), [("rwkv_unet_{}", 2), ("rwkv_unet_{}_rev86424e9", 1)])
def test_names_and_shapes_are_the_authors(variant, file, classes, key_shapes):
    with torch.device("meta"):
        network = RWKVUNet(variant, classes=classes)
    theirs = key_shapes(file.format(variant))
    ours = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert ours == {key: theirs[key] for key in ours}


@pytest.mark.shared
@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_shapes_of_the_encoder_are_the_authors(variant, key_shapes):
    with torch.device("meta"):
        network = RWKVUNetEncoder(RWKV_UNET_CONFIGS[variant])
    theirs = key_shapes(f"rwkv_unet_encoder_{variant}")
    ours = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert ours == {key: theirs[key] for key in ours}


@pytest.mark.shared
def test_the_authors_weights_give_the_authors_logits_and_inner_maps(
    tiny, numbers, seeded, assert_close
):
    weights = seeded("rwkv_unet_T")
    tiny.load_state_dict({key: weights[key] for key in tiny.state_dict()}, strict=True)
    known = numbers("rwkv_unet_T.io")
    inner = {}
    tiny.encoder.register_forward_hook(lambda *call: inner.update(encoder=call[2]))
    tiny.ccm.register_forward_hook(lambda *call: inner.update(ccm=call[2]))
    with torch.inference_mode():
        assert_close(tiny.eval()(known["x"]), known["y"], 1e-4, "logits")
    assert_close(inner["encoder"][2], known["enc3"], 1e-3, "encoder, stride 8")  # half precision
    assert_close(inner["encoder"][3], known["enc4"], 1e-3, "encoder, stride 16")
    assert_close(inner["ccm"][0], known["ccm0"], 1e-3, "skip, stride 8")


@pytest.mark.parametrize("size", [(1, 1), (33, 7), (16, 48)], ids=str)
def test_logits_are_finite_and_of_the_images_size(size, tiny):
    with torch.inference_mode():
        logits = RWKVUNet("T", classes=3).eval()(torch.randn(2, 3, *size))
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


def test_the_encoder_gives_four_maps_each_half_as_large():
    network = RWKVUNetEncoder(RWKV_UNET_CONFIGS["T"])
    shapes = [tuple(each.shape[1:]) for each in network(torch.randn(2, 3, 50, 33))]
    assert shapes == [(32, 25, 17), (48, 13, 9), (96, 7, 5), (160, 4, 3)]


def test_every_parameter_gets_a_finite_gradient(tiny):
    tiny(torch.randn(2, 3, 40, 70)).square().mean().backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert [name for name, p in tiny.named_parameters() if not p.grad.any()] == []


def test_a_few_steps_learn_one_image_by_heart(tiny):
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(56.0), indexing="ij")
    truth = ((y - 12) ** 2 + (x - 30) ** 2 < 80).long()[None]
    image = (truth[:, None] + 0.3 * torch.randn(1, 3, 40, 56)).float()
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=3e-3)
    for _ in range(15):
        loss = functional.cross_entropy(tiny(image), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.15
    assert (tiny(image).argmax(1) == truth).float().mean() > 0.97


def test_the_margin_that_is_cut_off_repeats_the_last_pixels(tiny):
    tiny.eval()
    image = torch.randn(1, 3, 33, 7)
    padded = functional.pad(image, (0, 9, 0, 15), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(tiny(image), tiny(padded)[..., :33, :7])


def test_images_of_a_batch_do_not_see_each_other(tiny):
    images = torch.randn(3, 3, 40, 33)
    with torch.no_grad():
        together = tiny.eval()(images)
        alone = tiny(images[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 5])
def test_the_number_of_image_channels_changes_only_the_first_weight(channels, tiny):
    other = RWKVUNet("T", in_channels=channels, classes=2)
    assert other(torch.randn(2, channels, 20, 50)).shape == (2, 2, 20, 50)
    shapes = {key: value.shape for key, value in tiny.state_dict().items()}
    changed = [key for key, value in other.state_dict().items() if value.shape != shapes[key]]
    assert changed == ["encoder.stage0.0.conv.conv.weight"]


def test_autocast_to_bfloat16_stays_near_float32(tiny):
    image = torch.randn(1, 3, 40, 33)
    with torch.no_grad():
        exact = tiny.eval()(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny(image)
    assert float((rough.float() - exact).norm() / exact.norm()) < 0.1


def test_an_unknown_variant_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="comes as 'T', 'S', 'B', got 'L'"):
        RWKVUNet("L")
