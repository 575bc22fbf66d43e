import numpy as np
import pytest
import torch

from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.training.depth import choose_depth, parameter_groups, set_training


@pytest.fixture(params=["adapter", "plain"])
def network(request):
    torch.manual_seed(0)
    return build_network("med_urwkv", "T", encoder=request.param, decoder="slim")


def scales(network, depth):
    groups = parameter_groups(network, depth, 1e-3, 0.05, layer_decay=0.5)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}


def test_the_head_alone_is_trained_at_depth_head(network):
    assert set(scales(network, "head")) == {"head.weight", "head.bias"}


def test_the_encoder_is_left_alone_at_depth_decoder(network):
    found = scales(network, "decoder")
    wanted = {n for n, _ in network.named_parameters() if not n.startswith("encoder.")}
    assert set(found) == wanted
    assert set(found.values()) == {1.0}


def test_everything_is_trained_and_layers_near_the_image_learn_most_slowly(network):
    found = scales(network, "everything")
    assert set(found) == {name for name, _ in network.named_parameters()}
    assert found["head.weight"] == found["stages.0.fuse.weight"] == 1
    blocks = [found[f"encoder.layers.{index}.att.key.weight"] for index in range(12)]
    assert blocks == sorted(blocks)
    assert (blocks[0], blocks[-1]) == (0.5**4, 0.5)
    assert found["encoder.patch_embed.projection.weight"] == 0.5**5


def test_what_is_in_no_group_is_frozen(network):
    found = scales(network, "decoder")
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (name in found)
    scales(network, "everything")
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_vectors_do_not_decay_and_rates_follow_the_scale(network):
    for group in parameter_groups(network, "everything", 1e-3, 0.05):
        is_matrix = [parameter.squeeze().ndim > 1 for parameter in group["params"]]
        assert all(is_matrix) or not any(is_matrix)
        assert group["weight_decay"] == (0.05 if is_matrix[0] else 0)
        assert group["lr"] == pytest.approx(1e-3 * group["lr_scale"])


def test_a_frozen_encoder_keeps_its_statistics_and_gets_no_gradient():
    torch.manual_seed(0)
    network = build_network("med_urwkv", "T", decoder="slim")
    parameter_groups(network, "decoder", 1e-3, 0.05)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    set_training(network)
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    network(torch.from_numpy(image)).sum().backward()
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in network.encoder.parameters())
    assert network.head.weight.grad is not None
    assert network.stages.training


def test_little_to_learn_from_trains_little():
    order = [choose_depth(pixels, "cpu", is_random=False) for pixels in (100, 1_000, 100_000)]
    assert order == ["head", "decoder", "everything"]
    assert choose_depth(3_000, "cpu", is_random=False) == "decoder"
    assert choose_depth(3_000, "cuda:1", is_random=False) == "everything"


def test_a_network_that_knows_nothing_is_trained_as_a_whole():
    assert choose_depth(100, "cpu", is_random=True) == "everything"
