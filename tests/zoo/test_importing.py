"""Importing a file of the authors: whole networks become models, encoders stay encoders."""

import hashlib

import numpy as np
import pytest
import torch

from napari_rwkv_seg import load_model, segment
from napari_rwkv_seg.errors import OutputError, SettingsError
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.zoo.encoders import find_encoder, read_encoder
from napari_rwkv_seg.zoo.importing import Origin, import_checkpoint
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model, read_network


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(42)
    return build_network("rwkv_unet", "T", classes=3).eval()


@pytest.fixture
def unet_file(unet, save):
    return save({"state_dict": unet.state_dict()}, "Synapse tiny.pth")


def test_a_whole_network_becomes_a_model_of_the_same_numbers(home, unet, unet_file):
    imported = import_checkpoint(unet_file)
    assert imported.kind == "model"
    assert imported.folder == home / "models" / "Synapse_tiny"
    loaded = read_network(find_model("Synapse_tiny")).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in unet.state_dict().items())


def test_what_is_not_known_of_it_is_said_to_be_unknown(home, unet_file):
    import_checkpoint(unet_file, name="mine")
    card = find_model("mine").card
    assert (card.architecture, card.variant) == ("rwkv_unet", "T")
    assert card.license.startswith("unknown")
    assert card.training_data.startswith("unknown")
    assert card.parent == "Synapse tiny.pth"
    assert card.test_scores == {}
    assert not card.untrained
    assert "2501.08458" in card.citation


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ((), ["background", "class 1", "class 2"]),
        (("liver", "spleen"), ["background", "liver", "spleen"]),
        (("rest", "liver", "spleen"), ["rest", "liver", "spleen"]),
    ],
)
def test_classes_are_named_with_or_without_the_background(names, classes, home, unet_file):
    import_checkpoint(unet_file, name="mine", classes=names)
    found = find_model("mine").card.classes
    assert [each.name for each in found] == classes
    assert len({each.color for each in found}) == 3


def test_another_number_of_class_names_is_refused(home, unet_file):
    with pytest.raises(SettingsError, match="has 3 classes, background included, but 1 names"):
        import_checkpoint(unet_file, classes=["liver"])
    assert not (home / "models").exists() or not list((home / "models").iterdir())


def test_an_imported_model_segments(home, unet_file):
    import_checkpoint(unet_file, name="mine")
    image = np.random.default_rng(42).random((70, 45), np.float32)
    result = segment(image, load_model("mine", "cpu"))
    assert result.labels.shape == (70, 45)


def test_an_encoder_becomes_a_pretrained_encoder(home, save):
    network = build_network("vrwkv", "T")
    head = {"head.fc.weight": torch.ones(1000, 192)}
    backbone = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    file = save({"state_dict": {**backbone, **head}}, "vrwkv_t_in1k_224.pth")
    imported = import_checkpoint(file, origin=None)
    assert imported.kind == "encoder"
    assert imported.notes == ("Left out 1 tensors of 'head.'.",)
    card = find_encoder("vrwkv_t_in1k_224").card
    assert card.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    loaded = read_encoder(find_encoder("vrwkv_t_in1k_224"))
    assert torch.equal(loaded.pos_embed, network.pos_embed)


def test_where_it_is_from_is_kept(home, save, stand_ins):
    origin = Origin("https://example.org/net.pth", "Apache-2.0", "Someone 2026", "a" * 64)
    import_checkpoint(save(stand_ins("vrwkv", "T")), name="one", origin=origin)
    card = find_encoder("one").card
    assert (card.source, card.license, card.citation, card.source_sha256) == (
        "https://example.org/net.pth",
        "Apache-2.0",
        "Someone 2026",
        "a" * 64,
    )


def test_classes_for_an_encoder_are_refused(home, save, stand_ins):
    with pytest.raises(SettingsError, match="is an encoder, which has no classes"):
        import_checkpoint(save(stand_ins("vrwkv", "T")), classes=["a"])


def test_a_second_file_of_the_same_name_gets_a_number(home, unet_file):
    import_checkpoint(unet_file)
    assert import_checkpoint(unet_file).folder.name == "Synapse_tiny_2"


@pytest.mark.parametrize("name", [DEFAULT_MODEL, DEFAULT_MODEL.upper()])
def test_a_chosen_name_that_is_taken_is_refused(name, home, unet_file):
    with pytest.raises(OutputError, match=f"a model {name!r} already"):
        import_checkpoint(unet_file, name=name)


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".hidden", "con", "a" * 65, "ä", "nul.txt", "x."]
)
def test_a_name_that_no_folder_should_have_is_refused(name, home, unet_file):
    with pytest.raises(SettingsError, match="cannot be the name of a model"):
        import_checkpoint(unet_file, name=name)
    assert not home.exists()


@pytest.mark.parametrize(
    ("architecture", "flavour"), [("vrwkv", "plain"), ("vrwkv_adapter", "adapter")]
)
def test_an_encoders_weights_fit_med_urwkvs_encoder_strictly(architecture, flavour):
    torch.manual_seed(42)
    encoder = build_network(architecture, "T")
    network = build_network("med_urwkv", "T", encoder=flavour)
    network.encoder.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(network.encoder.pos_embed, encoder.pos_embed)
