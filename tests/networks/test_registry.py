"""Networks by name: what a model folder asks for is what it gets, or it is told the choices."""

import pytest
import torch

from napari_rwkv_seg.networks import (
    ARCHITECTURES,
    SEGMENTERS,
    VRWKV,
    MedURWKV,
    RWKVUNet,
    RWKVUNetEncoder,
    VRWKVAdapter,
    build_network,
)


@pytest.fixture(autouse=True)
def shapes_only():
    with torch.device("meta"):
        yield


def test_the_known_architectures_are_these():
    encoders = ("rwkv_unet_encoder", "vrwkv", "vrwkv_adapter")
    assert ARCHITECTURES == (*SEGMENTERS, *encoders)
    assert SEGMENTERS == ("med_urwkv", "rwkv_unet")


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("med_urwkv", MedURWKV),
        ("rwkv_unet", RWKVUNet),
        ("rwkv_unet_encoder", RWKVUNetEncoder),
        ("vrwkv", VRWKV),
        ("vrwkv_adapter", VRWKVAdapter),
    ],
)
def test_a_name_gives_its_network(architecture, kind):
    assert type(build_network(architecture, "T")) is kind


def test_med_urwkv_takes_its_encoder_channels_and_classes():
    network = build_network("med_urwkv", "T", in_channels=1, classes=7, encoder="plain")
    assert isinstance(network.encoder, VRWKV)
    assert network.encoder.patch_embed.projection.in_channels == 1
    assert network.head.out_features == 7


def test_rwkv_unet_takes_its_channels_and_classes():
    network = build_network("rwkv_unet", "S", in_channels=4, classes=7)
    assert network.encoder.stage0[0].conv.conv.in_channels == 4
    assert network.final_conv.out_channels == 7


def test_an_unknown_architecture_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="no architecture 'unet'; known: 'med_urwkv', 'rwkv_unet'"):
        build_network("unet", "T")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_unknown_variant_is_refused_with_the_choices(architecture):
    with pytest.raises(ValueError, match=r"comes as 'T'.*got 'XXL'"):
        build_network(architecture, "XXL")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_unknown_setting_is_refused_by_name(architecture):
    with pytest.raises(ValueError, match="has no setting 'depth'"):
        build_network(architecture, "T", depth=3)


@pytest.mark.parametrize("architecture", ["vrwkv", "vrwkv_adapter", "med_urwkv"])
def test_the_position_embedding_can_be_of_another_side(architecture):
    keys = build_network(architecture, "T", grid=32).state_dict()
    [positions] = [value for key, value in keys.items() if key.endswith("pos_embed")]
    assert positions.shape == (1, 32 * 32, 192)


@pytest.mark.parametrize("grid", [-1, 257, "14", 14.0, True], ids=repr)
def test_a_side_that_is_no_number_of_tokens_is_refused(grid):
    with pytest.raises(ValueError, match=f"number from 1 to 256, got {grid!r}"):
        build_network("vrwkv", "T", grid=grid)


@pytest.mark.parametrize("architecture", ["med_urwkv", "rwkv_unet"])
@pytest.mark.parametrize("zoom", [0, 5, "2", 2.0, True], ids=repr)
def test_a_zoom_that_is_no_small_number_is_refused(zoom, architecture):
    with pytest.raises(ValueError, match=f"'zoom' is a number from 1 to 4, got {zoom!r}"):
        build_network(architecture, "T", zoom=zoom)
