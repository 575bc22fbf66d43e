import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.errors import ModelError
from napari_rwkv_seg.networks import ARCHITECTURES, View, build_network
from napari_rwkv_seg.training import preparation
from napari_rwkv_seg.training.heads import network_for_classes, network_parts
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard

ENCODERS = {"rwkv_unet_encoder", "vrwkv", "vrwkv_adapter"}  # have no classes
SEGMENTING = sorted(set(ARCHITECTURES) - ENCODERS)


def classes(*names: str) -> list[ClassCard]:
    return [ClassCard(name=name, color="#000000") for name in names]


def network(architecture: str, count: int) -> nn.Module:
    torch.manual_seed(0)
    return build_network(architecture, "T", classes=count).eval()


@pytest.mark.parametrize("architecture", SEGMENTING)
def test_kept_classes_keep_their_logits_whatever_their_new_number(architecture):
    old = network(architecture, 3)
    new = network_for_classes(
        old, classes("background", "a", "b"), classes("ground", "new", "b", "a")
    )
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 64, 96), np.float32))
    with torch.inference_mode():
        before, after = old(image), new(image)
    # The weights are the same; a matrix product of another size may round otherwise.
    torch.testing.assert_close(after[:, [0, 3, 2]], before, rtol=1e-5, atol=1e-5)
    assert after.shape == (1, 4, 64, 96)
    assert (after[:, 1] < before.amax(1)).all()


@pytest.mark.parametrize("architecture", SEGMENTING)
def test_the_new_head_is_the_one_that_the_registry_builds(architecture):
    grown = network_for_classes(
        network(architecture, 2), classes("background", "a"), classes("background", "a", "b")
    )
    network(architecture, 3).load_state_dict(grown.state_dict(), strict=True)


def test_the_old_network_is_not_changed():
    old = network("med_urwkv", 2)
    before = old.head.weight.clone()
    new = network_for_classes(old, classes("background", "a"), classes("background", "a"))
    nn.init.zeros_(new.head.weight)
    assert torch.equal(old.head.weight, before)


def test_a_class_can_be_dropped():
    old = network("med_urwkv", 3)
    new = network_for_classes(old, classes("background", "a", "b"), classes("background", "b"))
    assert torch.equal(new.head.weight, old.head.weight[[0, 2]])
    assert new.head.out_features == 2


def test_a_network_without_classes_is_refused():
    with pytest.raises(ModelError, match="VRWKV cannot be fine-tuned"):
        network_parts(build_network("vrwkv", "T"))


def test_a_head_with_another_number_of_outputs_is_refused():
    with pytest.raises(ModelError, match="4 outputs"):
        network_for_classes(network("med_urwkv", 3), classes("0", "a", "b", "c"), classes("0", "a"))


def test_a_child_sees_images_turned_by_half_a_turn_as_its_parent_does():
    parent = build_network("rwkv_unet", "T", half_turn=True)
    config = {"half_turn": True, "zoom": 1}
    base = ModelCard(
        name="base",
        title="Base",
        purpose="Tests",
        architecture="rwkv_unet",
        variant="T",
        config=config,
        classes=classes("background", "a"),
        license="CC0-1.0",
        training_data="none",
    )

    child = network_for_classes(parent, base.classes, classes("background", "a", "b"))
    card = preparation._framed(base, child, 64)

    assert child.view == View(least_side=64, half_turn=True)
    assert card.config == config | {"least_side": 64}
