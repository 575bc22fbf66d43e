"""RWKV-UNet's blocks: against the authors' numbers, and on sizes that theirs refuse."""

import pytest
import torch

from napari_rwkv_seg.networks.convolutions import ChannelGate, ConvNorm
from napari_rwkv_seg.networks.mixing import ChannelMix
from napari_rwkv_seg.networks.rwkv_unet import RWKV_UNET_CONFIGS, STEM_CHANNELS, RWKVUNetEncoder
from napari_rwkv_seg.networks.rwkv_unet_blocks import CrossChannelMix, GLSPBlock, UpBlock

# The authors' modules hold these and never use them: attention and its norm where a
# block has no attention, a norm of a channel mix that is not there, the decoder's norm.
DEAD_WITH_ATTENTION = ("ln2.",)
DEAD_WITHOUT_ATTENTION = ("att.", "ln1.", "ln2.")
DEAD_IN_DECODER = ("ln1.",)

SIZES = [(1, 1), (1, 7), (5, 3), (9, 14)]  # rectangular, odd, and one pixel


def attending(**settings) -> GLSPBlock:
    return GLSPBlock(8, 8, hidden=28, norm="layer", attention=True, **settings)


# The numbers are those of eval mode: batch norm by its running mean and variance.
PARTS = {
    "glsp_attn": (attending, DEAD_WITH_ATTENTION),
    "glsp_down": (lambda: GLSPBlock(6, 8, hidden=24, stride=2), DEAD_WITHOUT_ATTENTION),
    "glsp_stem": (
        lambda: GLSPBlock(3, 12, hidden=3, norm="none", gate=True),
        DEAD_WITHOUT_ATTENTION,
    ),
    "upblock": (lambda: UpBlock(12, 6), DEAD_IN_DECODER),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", PARTS)
def test_a_block_gives_the_authors_outputs_and_gradients(name, assert_part_agrees):
    make, dead = PARTS[name]
    assert_part_agrees(name, make().eval(), dead=dead)


@pytest.mark.shared
@pytest.mark.parametrize("training", [False, True])
def test_the_cross_channel_mix_gives_the_authors_outputs_and_gradients(
    training, assert_part_agrees
):
    assert_part_agrees("ccm", CrossChannelMix((16, 12, 8), 8).train(training))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_attention_block_keeps_any_size(size):
    maps = torch.randn(2, 8, *size)
    mixed = attending()(maps)
    assert mixed.shape == maps.shape
    assert mixed.isfinite().all()


@pytest.mark.parametrize(("size", "halved"), [((1, 7), (1, 4)), ((8, 5), (4, 3))])
def test_a_stride_of_two_halves_the_size_rounded_up(size, halved):
    block = GLSPBlock(6, 8, hidden=24, stride=2)
    assert block(torch.randn(2, 6, *size)).shape == (2, 8, *halved)


def test_an_attention_block_sees_the_far_corner():
    torch.manual_seed(42)
    block = attending().eval()
    maps = torch.randn(1, 8, 13, 17, requires_grad=True)
    block(maps)[0, :, 0, 0].sum().backward()
    assert maps.grad[0, :, -1, -1].abs().sum() > 0


def test_a_block_without_attention_sees_five_pixels_by_five():
    torch.manual_seed(42)
    block = GLSPBlock(8, 8, hidden=16).eval()
    maps = torch.randn(1, 8, 13, 17, requires_grad=True)
    block(maps)[0, :, 6, 8].sum().backward()
    seen = maps.grad.abs().sum((0, 1)) > 0
    assert seen[4:9, 6:11].all()
    assert seen.sum() == 25


@pytest.mark.parametrize(
    ("outputs", "stride", "residual"), [(8, 1, True), (8, 2, False), (9, 1, False)]
)
def test_a_residual_is_there_only_where_the_shape_is_kept(outputs, stride, residual):
    block = GLSPBlock(8, outputs, hidden=16, stride=stride).eval()
    torch.nn.init.zeros_(block.proj.conv.weight)
    maps = torch.randn(1, 8, 6, 4)
    assert torch.equal(block(maps), maps) if residual else not block(maps).any()


def test_the_stem_has_no_residual_however_many_channels_the_image_has():
    assert not RWKVUNetEncoder(RWKV_UNET_CONFIGS["T"], STEM_CHANNELS).stage0[0].residual


def test_a_block_without_attention_or_gate_holds_no_weights_of_them():
    keys = GLSPBlock(8, 8, hidden=16).state_dict()
    assert {key.split(".")[0] for key in keys} == {"norm", "conv", "conv_local", "proj"}


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_decoder_block_doubles_any_size(size):
    block = UpBlock(12, 6).eval()
    assert block(torch.randn(2, 12, *size)).shape == (2, 6, 2 * size[0], 2 * size[1])


def test_a_zero_gate_logit_halves_the_channels():
    gate = ChannelGate(3)
    torch.nn.init.zeros_(gate.conv_expand.weight)
    torch.nn.init.zeros_(gate.conv_expand.bias)
    maps = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(gate(maps), maps / 2)


def test_training_and_evaluation_agree_once_the_statistics_are_those_of_the_batch():
    torch.manual_seed(42)
    layer = ConvNorm(4, 6, activation=torch.nn.ReLU())
    maps = torch.randn(2, 4, 5, 3)
    plain = layer.conv(maps)
    trained = layer(maps)
    layer.norm.running_mean.copy_(plain.mean((0, 2, 3)).detach())
    layer.norm.running_var.copy_(plain.var((0, 2, 3), correction=0).detach())
    torch.testing.assert_close(layer.eval()(maps), trained)


@pytest.mark.parametrize("sizes", [[(2, 3), (4, 6), (8, 12)], [(1, 2), (2, 3), (3, 5)]], ids=str)
def test_the_cross_channel_mix_keeps_every_size(sizes):
    channels = (16, 12, 8)
    maps = [torch.randn(2, count, *size) for count, size in zip(channels, sizes, strict=True)]
    mixed = CrossChannelMix(channels, 6)(*maps)
    assert [each.shape for each in mixed] == [each.shape for each in maps]


def test_the_cross_channel_mix_carries_every_map_to_every_other():
    torch.manual_seed(42)
    mix = CrossChannelMix((5, 4, 3), 6)
    maps = [torch.randn(1, 5 - i, 2**i, 3 * 2**i, requires_grad=True) for i in range(3)]
    for mixed in mix(*maps):
        slopes = torch.autograd.grad(mixed.square().sum(), maps, retain_graph=True)
        assert all(slope.abs().sum() > 0 for slope in slopes)


def test_the_cross_channel_mix_refuses_a_missing_map():
    with pytest.raises(ValueError, match="zip"):
        CrossChannelMix((5, 4, 3), 6)(torch.randn(1, 5, 2, 2), torch.randn(1, 4, 4, 4))


def test_the_hidden_width_of_a_channel_mix_is_its_rate_times_the_channels():
    mix = ChannelMix(6, 1, 0, hidden_rate=2)
    assert mix.key.out_features == mix.value.in_features == 12
