"""Pretrained encoders: kept in full precision, found by name, refused when they have changed."""

import pytest
import torch

from napari_rwkv_seg.errors import ModelError, OutputError
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.zoo import encoders
from napari_rwkv_seg.zoo.checkpoints import load_checkpoint
from napari_rwkv_seg.zoo.encoders import (
    EncoderCard,
    find_encoder,
    list_encoders,
    read_encoder,
    write_encoder,
)
from napari_rwkv_seg.zoo.store import list_models
from napari_rwkv_seg.zoo.weights import WEIGHTS_FILE

ENCODER_CARD = {
    "name": "tiny",
    "title": "VRWKV T",
    "architecture": "vrwkv",
    "variant": "T",
    "license": "Apache-2.0",
    "source": "net.pth",
}


@pytest.fixture
def network():
    torch.manual_seed(42)
    return build_network("vrwkv", "T").eval()


@pytest.fixture
def entry(home, network):
    return write_encoder(network, EncoderCard(**ENCODER_CARD))


def test_an_encoder_comes_back_bit_for_bit(entry, network):
    loaded = read_encoder(find_encoder("tiny")).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())


def test_it_is_listed_among_the_encoders_and_not_among_the_models(entry, home):
    assert [each.name for each in list_encoders()] == ["tiny"]
    assert entry.folder == home / "encoders" / "tiny"
    assert "tiny" not in [each.name for each in list_models()]


def test_its_folder_can_be_loaded_like_a_checkpoint(entry, network):
    loaded = load_checkpoint(entry.folder)
    assert torch.equal(loaded.pos_embed, network.pos_embed)
    assert not loaded.training


def test_a_position_embedding_of_another_square_is_rebuilt(home):
    network = build_network("vrwkv", "T", grid=24)
    write_encoder(network, EncoderCard(**ENCODER_CARD, config={"grid": 24}))
    assert read_encoder(find_encoder("tiny")).pos_embed.shape == (1, 576, 192)


def test_changed_weights_are_refused(entry):
    with (entry.folder / WEIGHTS_FILE).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(ModelError, match=r"Encoder 'tiny'.*SHA-256 differs"):
        read_encoder(find_encoder("tiny"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("vrwkv", "med_urwkv"), "architecture: Input should be"),
        (('title = "', 'titel = "'), "title: Field required"),
        (("[config]", "[config"), "cannot be used"),
    ],
)
def test_a_card_that_says_what_is_not_allowed_is_the_entrys_problem(change, reason, entry):
    file = entry.folder / encoders.ENCODER_FILE
    file.write_text(file.read_text().replace(*change))
    assert reason in list_encoders()[0].problem
    with pytest.raises(ModelError, match="cannot be used"):
        find_encoder("tiny")


def test_a_second_encoder_of_that_name_is_refused_unless_it_may_replace(entry, network):
    with pytest.raises(OutputError, match="exists already; choose another name for the encoder"):
        write_encoder(network, EncoderCard(**ENCODER_CARD))
    write_encoder(network, EncoderCard(**ENCODER_CARD, citation="new"), overwrite=True)
    assert find_encoder("tiny").card.citation == "new"


def test_a_network_other_than_the_cards_is_not_written(home):
    with pytest.raises(ModelError, match=r"not those of this architecture|another size"):
        write_encoder(build_network("vrwkv", "S"), EncoderCard(**ENCODER_CARD))
    assert not home.exists()


def test_an_unknown_name_is_refused_with_those_that_are_here(entry):
    with pytest.raises(ModelError, match=r"no pretrained encoder 'nope'\. Here are: tiny; import"):
        find_encoder("nope")


def test_without_any_the_way_to_one_is_told(home):
    with pytest.raises(ModelError, match=r"None is here yet; import a checkpoint, or download"):
        find_encoder("vrwkv_t")
