"""Deformable attention by hand: where it reads, what it weighs, how it starts."""

import pytest
import torch
from torch import Tensor

from napari_rwkv_seg.networks.deformable import MSDeformAttn, token_places

GRIDS = [(4, 6), (3, 5)]


def reader(levels: int = 1, heads: int = 2, points: int = 1) -> MSDeformAttn:
    """Return an attention that hands on what it reads, at its own place, all points alike."""
    attention = MSDeformAttn(8, levels=levels, heads=heads, points=points)
    with torch.no_grad():
        attention.sampling_offsets.bias.zero_()
        for layer in (attention.value_proj, attention.output_proj):
            layer.weight.copy_(torch.eye(8))
    return attention


def look_right(attention: MSDeformAttn, tokens: float) -> None:
    with torch.no_grad():
        attention.sampling_offsets.bias.view(-1, 2).copy_(torch.tensor([tokens, 0.0]))


def test_places_are_the_centres_of_tokens_row_by_row():
    places = token_places([(2, 4), (1, 1)], torch.zeros(1))
    assert places.shape == (9, 2)
    torch.testing.assert_close(places[:4, 0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(places[[0, 4, 8], 1], torch.tensor([-0.5, 0.5, 0.0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_places_are_never_of_half_precision(dtype):
    places = token_places([(2, 4)], torch.zeros(1, dtype=dtype))
    assert places.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)


def test_without_offsets_a_query_reads_the_token_at_its_place():
    values = torch.randn(2, 24, 8)
    places = token_places([(4, 6)], values)
    torch.testing.assert_close(reader()(torch.randn(2, 24, 8), places, values, [(4, 6)]), values)


def test_an_offset_of_one_reads_the_neighbour_and_zero_outside():
    values = torch.randn(2, 24, 8)
    attention = reader()
    look_right(attention, 1.0)
    read = attention(values, token_places([(4, 6)], values), values, [(4, 6)]).view(2, 4, 6, 8)
    torch.testing.assert_close(read[:, :, :-1], values.view(2, 4, 6, 8)[:, :, 1:])
    torch.testing.assert_close(read[:, :, -1], torch.zeros(2, 4, 8))


def test_half_an_offset_reads_the_mean_of_two_tokens():
    values = torch.randn(1, 24, 8)
    attention = reader()
    look_right(attention, 0.5)
    read = attention(values, token_places([(4, 6)], values), values, [(4, 6)]).view(4, 6, 8)
    grid = values.view(4, 6, 8)
    torch.testing.assert_close(read[:, :-1], (grid[:, 1:] + grid[:, :-1]) / 2)


def test_levels_are_read_apart_and_averaged():
    values = torch.cat((torch.full((1, 24, 8), 3.0), torch.full((1, 15, 8), 5.0)), 1)
    middle = torch.zeros(1, 2)
    read = reader(levels=2, points=4)(torch.randn(1, 1, 8), middle, values, GRIDS)
    torch.testing.assert_close(read, torch.full((1, 1, 8), 4.0))


def test_heads_read_their_own_channels_at_their_own_places():
    values = torch.randn(1, 24, 8)
    attention = reader(heads=2)
    with torch.no_grad():
        attention.sampling_offsets.bias.view(2, 2)[1] = torch.tensor([1.0, 0.0])
    read = attention(values, token_places([(4, 6)], values), values, [(4, 6)]).view(4, 6, 8)
    grid = values.view(4, 6, 8)
    torch.testing.assert_close(read[..., :4], grid[..., :4])
    torch.testing.assert_close(read[:, :-1, 4:], grid[:, 1:, 4:])


def test_weights_choose_among_the_levels():
    values = torch.cat((torch.full((1, 24, 8), 3.0), torch.full((1, 15, 8), 5.0)), 1)
    attention = reader(levels=2)
    with torch.no_grad():
        attention.attention_weights.bias.view(2, 2)[:, 1] = 50.0
    read = attention(torch.randn(1, 1, 8), torch.zeros(1, 2), values, GRIDS)
    torch.testing.assert_close(read, torch.full((1, 1, 8), 5.0))


def test_heads_start_out_looking_in_different_directions():
    offsets = MSDeformAttn(12, levels=3, heads=6).sampling_offsets
    bias: Tensor = offsets.bias.detach().view(6, 3, 4, 2)
    torch.testing.assert_close(bias[:, 0], bias[:, 2])
    torch.testing.assert_close(bias.abs().amax(-1)[0, 0], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    directions = bias[:, 0, 0] / bias[:, 0, 0].norm(dim=-1, keepdim=True)
    assert ((directions @ directions.T) - 2 * torch.eye(6) < 0.9).all()
    assert not offsets.weight.detach().any()


def test_a_smaller_value_length_is_allowed():
    values = torch.randn(1, 39, 8)
    read = MSDeformAttn(8, levels=2, heads=2, ratio=0.5)(
        values, token_places(GRIDS, values), values, GRIDS
    )
    assert read.shape == (1, 39, 8)


def test_gradients_agree_with_finite_differences_in_float64():
    torch.manual_seed(42)
    attention = MSDeformAttn(4, levels=2, heads=2, points=2).double()
    torch.nn.init.normal_(attention.sampling_offsets.weight, std=0.1)
    torch.nn.init.normal_(attention.attention_weights.weight)
    torch.nn.init.normal_(attention.sampling_offsets.bias, std=0.7)
    grids = [(2, 3), (1, 2)]
    values = torch.randn(1, 8, 4, dtype=torch.float64, requires_grad=True)
    queries = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    places = torch.rand(3, 2, dtype=torch.float64) - 0.5
    assert torch.autograd.gradcheck(lambda q, v: attention(q, places, v, grids), (queries, values))
