"""The convolutional stem of the adapter."""

import pytest
import torch
from torch import nn

from napari_rwkv_seg.networks.convolutions import ConvNorm
from napari_rwkv_seg.networks.spatial_prior import ConvNormActs, SpatialPrior


@pytest.fixture
def prior():
    torch.manual_seed(42)
    network = SpatialPrior(3, 16).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that are not those of the beginning
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return network


def test_with_and_without_gradients_the_maps_are_the_same(prior):
    image = torch.rand(2, 3, 64, 96)
    want = [maps.detach() for maps in prior(image)]
    with torch.no_grad():
        got = prior(image)
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-5)


def test_training_without_gradients_still_gathers_statistics(prior):
    norm = prior.stem[1]
    before = norm.running_mean.clone()
    with torch.no_grad():
        prior.train()(torch.rand(2, 3, 64, 64))
    assert not torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("kind", ["prior", "unet"])
def test_norms_alone_can_gather_statistics_while_the_network_evaluates(kind):
    whole = SpatialPrior(3, 16) if kind == "prior" else ConvNorm(3, 8)
    whole.eval()
    norms = [one for one in whole.modules() if isinstance(one, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
    with torch.no_grad():
        whole(torch.randn(2, 3, 64, 64))
    assert [int(norm.num_batches_tracked) for norm in norms] == [1] * len(norms)


def test_weights_keep_the_names_of_a_plain_sequence():
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    assert ConvNormActs(*layers).state_dict().keys() == nn.Sequential(*layers).state_dict().keys()


def test_what_is_no_pair_of_convolution_and_norm_runs_as_it_is():
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)
    image = torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        assert torch.equal(ConvNormActs(*layers).eval()(image), nn.Sequential(*layers)(image))


def test_strides_are_4_8_16_and_32(prior):
    with torch.no_grad():
        sizes = [tuple(maps.shape[1:]) for maps in prior(torch.rand(1, 3, 64, 96))]
    assert sizes == [(16, 16, 24), (16, 8, 12), (16, 4, 6), (16, 2, 3)]
