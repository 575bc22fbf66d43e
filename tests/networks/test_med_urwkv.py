"""The segmentation network: any image size, gradients everywhere, and that it can learn."""

import copy

import pytest
import torch
from torch.nn import functional

from napari_rwkv_seg.networks import MedURWKV, linear

SIZES = [(224, 224), (256, 320), (97, 131), (1, 1), (33, 7)]
KINDS = [("T", "adapter"), ("T", "plain"), ("S", "adapter"), ("S", "plain")]
MILLIONS = {  # specification, section 2.1
    ("T", "adapter"): 11.09,
    ("T", "plain"): 8.95,
    ("S", "adapter"): 39.98,
    ("S", "plain"): 35.36,
    ("B", "adapter"): 122.53,  # with the narrow decoder
    ("B", "plain"): 112.83,
    ("L", "adapter"): 380.27,
    ("L", "plain"): 364.12,
}


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def network(request):
    torch.manual_seed(42)
    return MedURWKV(*request.param, classes=3).eval()


@pytest.fixture(params=["adapter", "plain"])
def tiny(request):
    torch.manual_seed(42)
    return MedURWKV("T", request.param)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_logits_are_finite_and_of_the_images_size(network, size):
    with torch.inference_mode():
        logits = network(torch.randn(1, 3, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("kind", MILLIONS, ids="-".join)
def test_the_number_of_parameters_is_near_the_design(kind):
    decoder = "taper" if kind in KINDS else "narrow"
    with torch.device("meta"):
        network = MedURWKV(*kind, decoder=decoder)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == pytest.approx(1e6 * MILLIONS[kind], rel=1e-3)


DECODER_WIDTHS = {"taper": [192, 192, 96, 48, 24], "slim": [192, 96, 96, 48, 24]}
DECODER_WIDTHS["narrow"] = [96, 96, 96, 48, 24]


@pytest.mark.parametrize("encoder", ["adapter", "plain"])
@pytest.mark.parametrize("decoder", list(DECODER_WIDTHS))
def test_the_tiny_decoder_narrows_with_resolution(encoder, decoder):
    with torch.device("meta"):
        network = MedURWKV("T", encoder, decoder=decoder)
    widths = [network.bottleneck.blocks[0].ln1.weight.numel()]
    widths += [stage.stage.blocks[0].ln1.weight.numel() for stage in network.stages]
    assert [*widths, network.head.in_features] == DECODER_WIDTHS[decoder]


def test_the_slim_decoder_keeps_the_adapter_under_20_mb_in_half_precision():
    with torch.device("meta"):
        network = MedURWKV("T", "adapter", decoder="slim")
    assert sum(value.numel() for value in network.state_dict().values()) * 2 < 19.9e6


def test_an_unknown_decoder_is_an_error_that_names_the_choices():
    with pytest.raises(ValueError, match="'slim' or 'narrow', got 'wide'"):
        MedURWKV("T", "adapter", decoder="wide")


def test_both_encoders_share_the_decoder():
    with torch.device("meta"):
        networks = [MedURWKV("T", encoder) for encoder in ("adapter", "plain")]
    own = ("encoder.", "pyramid.")
    shapes = [
        {k: v.shape for k, v in network.state_dict().items() if not k.startswith(own)}
        for network in networks
    ]
    assert shapes[0] == shapes[1]


def test_every_parameter_gets_a_finite_gradient(tiny):
    for name, parameter in tiny.named_parameters():
        if not parameter.detach().any() and name.endswith(("gamma", "weight")):
            torch.nn.init.normal_(parameter, std=0.1)  # closed at first, as the next test knows
    tiny(torch.randn(2, 3, 40, 70)).square().mean().backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    without = [name for name, p in tiny.named_parameters() if not p.grad.any()]
    assert without == []


def test_at_first_only_what_stands_behind_the_closed_injectors_has_no_gradient():
    torch.manual_seed(42)
    network = MedURWKV("T", "adapter")
    network(torch.randn(2, 3, 40, 70)).square().mean().backward()
    without = {name for name, p in network.named_parameters() if not p.grad.any()}
    extractor_queries = {name for name in without if "extractor" in name}
    assert all(".injector." in name for name in without - extractor_queries)
    assert all("query_norm" in name for name in extractor_queries)


def test_a_few_steps_learn_one_image_by_heart(tiny):
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(56.0), indexing="ij")
    truth = ((y - 12) ** 2 + (x - 30) ** 2 < 80).long()[None]
    image = (truth[:, None] + 0.3 * torch.randn(1, 3, 40, 56)).float()
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=1e-3)
    for _ in range(12):
        loss = functional.cross_entropy(tiny(image), truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tiny.parameters(), 1.0)
        optimizer.step()
    assert loss < 0.1
    assert (tiny(image).argmax(1) == truth).float().mean() > 0.98


def test_the_margin_that_is_cut_off_repeats_the_last_pixels(tiny):
    tiny.eval()
    image = torch.randn(1, 3, 33, 7)
    padded = functional.pad(image, (0, 25, 0, 31), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(tiny(image), tiny(padded)[..., :33, :7])


def test_logits_follow_the_images_layout(tiny):
    torch.manual_seed(42)
    for parameter in tiny.head.parameters():
        torch.nn.init.normal_(parameter)
    image = torch.zeros(1, 3, 64, 96)
    image[..., 20:24, 70:74] = 3.0
    with torch.no_grad():
        change = (tiny.eval()(image) - tiny(torch.zeros_like(image))).abs().amax(1)[0]
    row, column = divmod(int(change.argmax()), 96)
    assert abs(row - 22) <= 16
    assert abs(column - 72) <= 16


def test_images_of_a_batch_do_not_see_each_other(tiny):
    images = torch.randn(3, 3, 40, 33)
    with torch.no_grad():
        together = tiny.eval()(images)
        alone = tiny(images[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


def test_the_number_of_image_channels_is_free(tiny):
    kind = "adapter" if hasattr(tiny.encoder, "spm") else "plain"
    logits = MedURWKV("T", kind, in_channels=5, classes=4)(torch.randn(2, 5, 50, 20))
    assert logits.shape == (2, 4, 50, 20)


def test_float64_works_and_agrees_with_float32(tiny):
    image = torch.randn(1, 3, 40, 33)
    with torch.no_grad():
        single = tiny.eval()(image)
        double = copy.deepcopy(tiny).double()(image.double())
    torch.testing.assert_close(single.double(), double, atol=1e-5, rtol=1e-4)


def test_autocast_to_bfloat16_stays_near_float32(tiny):
    image = torch.randn(1, 3, 40, 33)
    with torch.no_grad():
        exact = tiny.eval()(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny(image)
    assert float((rough.float() - exact).norm() / exact.norm()) < 0.1


def test_training_and_evaluating_in_turn_leaves_the_parameters_the_same_objects(tiny):
    before = {name: id(parameter) for name, parameter in tiny.named_parameters()}
    with torch.no_grad():
        first = tiny.eval()(torch.ones(1, 3, 32, 32))
        second = tiny.train().eval()(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    assert before == {name: id(parameter) for name, parameter in tiny.named_parameters()}


@pytest.mark.parametrize(("variant", "encoder"), [("XL", "adapter"), ("T", "resnet")])
def test_an_unknown_variant_or_encoder_is_refused_with_the_choices(variant, encoder):
    with pytest.raises(ValueError, match=r"or 'L', got 'XL'|or 'plain', got 'resnet'"):
        MedURWKV(variant, encoder)


def test_pieces_without_gradients_give_the_logits_with_gradients(tiny, monkeypatch):
    monkeypatch.setattr(linear, "_PIECE", 1000)
    tiny.eval()
    image = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        pieces = tiny(image)
    torch.testing.assert_close(pieces, tiny(image).detach(), atol=1e-5, rtol=1e-5)
