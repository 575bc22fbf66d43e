"""The VRWKV block: against the authors' numbers, and by hand where there is a simple answer."""

import pytest
import torch

from napari_rwkv_seg.networks import ChannelMix, SpatialMix, VRWKVBlock

BLOCKS = {
    "vrwkv_block_pre": {},
    "vrwkv_block_pre_layer0": {"index": 0},
    "vrwkv_block_post_ls": {"post_norm": True, "init_values": 1.0},
    "vrwkv_block_post_ls_keynorm": {"post_norm": True, "init_values": 1e-5, "key_norm": True},
}
GRIDS = [(1, 1), (1, 7), (5, 3), (9, 2)]  # rectangular, and one token


def small_block(**settings) -> VRWKVBlock:
    return VRWKVBlock(**{"channels": 18, "depth": 12, "index": 3, **settings})


@pytest.mark.shared
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_gives_the_authors_outputs_and_gradients(name, assert_part_agrees):
    assert_part_agrees(name, small_block(channels=16, **BLOCKS[name]), (5, 7))


@pytest.mark.shared
@pytest.mark.parametrize(("mode", "index"), [("fancy", 4), ("local", 4), ("global", 4)])
def test_initial_values_are_the_authors(mode, index, numbers):
    block = small_block(channels=16, index=index, init_mode=mode)
    for key, want in numbers(f"mini/vrwkv_init_{mode}").items():
        torch.testing.assert_close(block.get_parameter(key).detach(), want, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("post_norm", [False, True])
def test_a_block_keeps_the_shape_on_any_grid(grid, post_norm):
    tokens = torch.randn(2, grid[0] * grid[1], 18)
    mixed = small_block(post_norm=post_norm, init_values=1.0)(tokens, *grid)
    assert mixed.shape == tokens.shape
    assert mixed.isfinite().all()


def test_a_lone_token_only_sees_its_own_gated_value():
    torch.manual_seed(42)
    mix = SpatialMix(8, 12, 3, init_mode="local")  # 'local' takes nothing from neighbours
    token = torch.randn(1, 1, 8)
    gate = torch.sigmoid(mix.receptance(token))
    torch.testing.assert_close(mix(token, 1, 1), mix.output(gate * mix.value(token)))


def test_equal_keys_without_decay_or_bonus_give_the_mean_value_everywhere():
    torch.manual_seed(42)
    mix = SpatialMix(8, 12, 3, init_mode="global")
    torch.nn.init.zeros_(mix.key.weight)
    torch.nn.init.zeros_(mix.receptance.weight)
    torch.nn.init.ones_(mix.spatial_mix_v)
    tokens = torch.randn(2, 15, 8)
    mean = mix.value(tokens).mean(1, keepdim=True).expand(-1, 15, -1)
    torch.testing.assert_close(mix(tokens, 3, 5), mix.output(0.5 * mean))


def test_channel_mix_is_a_gated_squared_relu():
    torch.manual_seed(42)
    mix = ChannelMix(8, 12, 3, init_mode="local")
    tokens = torch.randn(2, 15, 8)
    hidden = torch.relu(tokens @ mix.key.weight.T) ** 2
    want = torch.sigmoid(tokens @ mix.receptance.weight.T) * (hidden @ mix.value.weight.T)
    torch.testing.assert_close(mix(tokens, 3, 5), want)


def test_only_block_zero_has_the_first_norm():
    assert small_block(index=0).ln0 is not None
    assert small_block(index=1).ln0 is None


def test_layer_scale_is_there_only_with_an_initial_value():
    assert small_block().gamma1 is None
    torch.testing.assert_close(
        small_block(init_values=0.25).gamma2.detach(), torch.full((18,), 0.25)
    )


def test_a_single_block_of_one_channel_has_finite_initial_values():
    block = VRWKVBlock(1, 1, 0)
    assert all(parameter.isfinite().all() for parameter in block.parameters())


@pytest.mark.parametrize(
    "settings", [{}, {"post_norm": True, "init_values": 0.5, "key_norm": True}]
)
def test_gradients_agree_with_finite_differences_in_float64(settings):
    torch.manual_seed(42)
    block = small_block(channels=5, **settings).double()
    tokens = torch.randn(2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: block(x, 2, 3), tokens, atol=1e-6)


@pytest.mark.parametrize("post_norm", [False, True])
def test_autocast_to_bfloat16_stays_near_float32(post_norm):
    torch.manual_seed(42)
    block = small_block(post_norm=post_norm)
    tokens = torch.randn(2, 15, 18)
    with torch.autocast("cpu", torch.bfloat16):
        rough = block(tokens, 3, 5)
    torch.testing.assert_close(rough.float(), block(tokens, 3, 5), atol=0.05, rtol=0.05)


def test_a_block_compiles_without_a_graph_break_and_keeps_its_gradients():
    torch.manual_seed(42)
    block, tokens = small_block(), torch.randn(1, 15, 18, requires_grad=True)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    slopes = [
        torch.autograd.grad(run(tokens, 3, 5).square().sum(), (tokens, block.ffn.key.weight))
        for run in (compiled, block)
    ]
    for got, want in zip(*slopes, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_without_gradients_a_block_gives_what_it_gives_with_them():
    torch.manual_seed(42)
    block, tokens = small_block(key_norm=True), torch.randn(2, 15, 18)
    before = tokens.clone()
    with torch.no_grad():
        quick = block(tokens, 3, 5)
    torch.testing.assert_close(quick, block(tokens, 3, 5).detach())
    assert torch.equal(tokens, before)
