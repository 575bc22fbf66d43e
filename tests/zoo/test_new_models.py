"""New models: the encoder is taken over, channels are fitted, the rest is seeded and untrained."""

import numpy as np
import pytest
import torch

from napari_rwkv_seg import load_model, segment
from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.zoo.card import ClassCard
from napari_rwkv_seg.zoo.encoders import EncoderCard, write_encoder
from napari_rwkv_seg.zoo.new_models import fit_channels, new_model
from napari_rwkv_seg.zoo.store import (
    DEFAULT_MODEL,
    UNTRAINED,
    find_model,
    read_network,
    read_network_with_notes,
)

FITTING = {"vrwkv": "med_urwkv", "vrwkv_adapter": "med_urwkv", "rwkv_unet_encoder": "rwkv_unet"}


@pytest.fixture
def encoder(home):
    """Return what writes a pretrained encoder of random numbers and returns its network."""

    def make(architecture, variant="T", **config):
        torch.manual_seed(7)
        network = build_network(architecture, variant, **config).eval()
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.01 * torch.rand_like(tensor))
        card = EncoderCard(
            name="enc",
            title=architecture,
            architecture=architecture,
            variant=variant,
            config=config,
            license="Apache-2.0",
            citation="Someone 2024",
            source="enc.pth",
        )
        write_encoder(network, card)
        return network

    return make


@pytest.mark.parametrize("architecture", FITTING)
def test_an_encoder_is_taken_over_as_it_is(architecture, encoder):
    source = encoder(architecture)
    entry = new_model(
        "cells", classes=["a", "b"], architecture=FITTING[architecture], encoder="enc"
    )
    network = read_network(find_model("cells"))
    assert entry.card == find_model("cells").card
    for key, value in source.state_dict().items():
        got = network.encoder.state_dict()[key]
        torch.testing.assert_close(got, value, atol=1e-4, rtol=1e-3)  # stored in half precision


def test_the_card_says_where_it_is_from_and_that_it_is_untrained(encoder):
    encoder("vrwkv_adapter", grid=32)
    card = new_model("cells", classes=["a", "b"], encoder="enc").card
    assert card.untrained
    assert [each.name for each in card.classes] == ["background", "a", "b"]
    assert card.config == {"encoder": "adapter", "grid": 32}
    assert (card.license, card.citation, card.parent) == (
        "Apache-2.0",
        "Someone 2024",
        "encoder enc",
    )
    assert card.normalization.mean == [0.485, 0.456, 0.406]


def test_whoever_loads_an_untrained_model_is_told(home):
    new_model("cells", classes=["a"], architecture="rwkv_unet")
    assert read_network_with_notes(find_model("cells"))[1] == (UNTRAINED,)
    assert UNTRAINED in load_model("cells", "cpu").notes


@pytest.mark.parametrize("architecture", ["vrwkv", "vrwkv_adapter", "rwkv_unet_encoder"])
def test_a_grey_model_sees_what_the_encoder_sees_in_three_equal_channels(architecture, encoder):
    source = encoder(architecture)
    new_model(
        "cells", classes=["a"], architecture=FITTING[architecture], encoder="enc", in_channels=1
    )
    network = read_network(find_model("cells"))
    grey = torch.rand(1, 1, 64, 96)
    with torch.inference_mode():
        got, want = network.encoder(grey), source(grey.expand(-1, 3, -1, -1))
    for one, other in zip(got, want, strict=True):
        assert float((one - other).norm() / other.norm()) < 2e-2  # half precision, twelve blocks


def test_summed_weights_are_exactly_those_of_three_equal_channels():
    torch.manual_seed(42)
    weight, grey = torch.randn(5, 3, 2, 2), torch.randn(1, 1, 4, 4)
    repeated = torch.conv2d(grey.expand(-1, 3, -1, -1), weight)
    torch.testing.assert_close(torch.conv2d(grey, fit_channels(weight, 1)), repeated)


@pytest.mark.parametrize("channels", [2, 3, 4, 7])
def test_cycled_weights_keep_the_size_of_the_sum_and_the_order_of_channels(channels):
    weight = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    fitted = fit_channels(weight, channels)
    assert fitted.shape == (1, channels, 1, 1)
    turn = [(1.0, 2.0, 3.0)[index % 3] * 3 / channels for index in range(channels)]
    torch.testing.assert_close(fitted.flatten(), torch.tensor(turn))
    assert channels % 3 or float(fitted.sum()) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("channels", "architecture"), [(1, "rwkv_unet"), (5, "rwkv_unet"), (5, "med_urwkv")]
)
def test_a_model_of_other_channels_segments_such_an_image(channels, architecture, home):
    new_model("cells", classes=["a"], architecture=architecture, in_channels=channels)
    image = np.random.default_rng(42).random((channels, 40, 33), np.float32)
    result = segment(image, load_model("cells", "cpu"), axes="CYX")
    assert result.labels.shape == (40, 33)


def test_a_plain_encoder_may_get_a_new_adapter(encoder):
    source = encoder("vrwkv")
    new_model("cells", classes=["a"], encoder="enc", config={"encoder": "adapter"})
    network = read_network(find_model("cells")).encoder
    got, want = network.layers[3].att.key.weight, source.layers[3].att.key.weight
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-3)
    assert (network.layers[3].gamma1 == 1).all()


def test_the_same_seed_gives_the_same_model_and_another_one_another(home):
    states = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        torch.manual_seed(len(states))
        new_model(name, classes=["a"], architecture="rwkv_unet", seed=seed)
        states.append(read_network(find_model(name)).final_conv.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_making_a_model_leaves_the_random_numbers_as_they_were(home):
    torch.manual_seed(42)
    want = torch.rand(3)
    torch.manual_seed(42)
    new_model("cells", classes=["a"], architecture="rwkv_unet")
    assert torch.equal(torch.rand(3), want)


def test_colours_of_ones_own_are_kept(home):
    cards = [ClassCard(name="rest", color="#111111"), ClassCard(name="cell", color="#22ff22")]
    card = new_model("cells", classes=cards, architecture="rwkv_unet").card
    assert card.classes == cards


def test_a_big_encoder_gets_a_narrow_decoder(monkeypatch, encoder):
    from napari_rwkv_seg.zoo import new_models

    _, settings = new_models._settle("med_urwkv", "B", None, {})
    assert settings == {"decoder": "narrow"}


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"architecture": "rwkv_unet"}, "serves 'med_urwkv', not 'rwkv_unet'"),
        ({"variant": "S"}, "is of size T, not S"),
        ({"config": {"encoder": "plain"}}, "has an adapter"),
        ({"in_channels": 0}, "1 to 64 channels"),
        ({"classes": []}, "1 to 255 classes"),
        ({"classes": ["background"]}, "1 to 255 classes"),
        ({"classes": ["a", " "]}, "1 to 255 classes"),
        ({"classes": [str(index) for index in range(256)]}, "1 to 255 classes"),
        ({"name": "../x"}, "cannot be the name"),
    ],
    ids=str,
)
def test_a_wish_that_cannot_be_met_is_refused_in_words(wish, reason, encoder, home):
    encoder("vrwkv_adapter")
    with pytest.raises(SettingsError, match=reason):
        new_model(**{"name": "cells", "classes": ["a"], "encoder": "enc"} | wish)
    assert not (home / "models").exists()


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"encoder": "nope"}, "no pretrained encoder 'nope'"),
        ({"architecture": "unet"}, "no architecture 'unet'"),
        ({"variant": "XL"}, "comes as"),
        ({"config": {"depth": 3}}, "has no setting 'depth'"),
    ],
    ids=str,
)
def test_what_there_is_not_is_said(wish, reason, home):
    with pytest.raises(ModelError, match=reason):
        new_model(**{"name": "cells", "classes": ["a"]} | wish)
    assert not (home / "models").exists() or not list((home / "models").iterdir())


@pytest.mark.parametrize("name", [DEFAULT_MODEL, DEFAULT_MODEL.upper()])
def test_a_name_that_is_taken_is_refused(name, home):
    with pytest.raises(OutputError, match=f"a model {name!r} already"):
        new_model(name, classes=["a"])
