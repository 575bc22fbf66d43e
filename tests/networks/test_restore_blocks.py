"""Restore-RWKV's block: against the authors' numbers, and merged filters against branches."""

import pytest
import torch

from napari_rwkv_seg.networks.restore_blocks import OmniShift, RecurrentSpatialMix, RestoreBlock
from napari_rwkv_seg.ops import bi_wkv_direct

# The authors' files carry a merged kernel which training leaves behind; ours is computed.
DEAD_IN_SHIFT = ("conv5x5_reparam",)
DEAD_IN_BLOCK = ("att.omni_shift.conv5x5_reparam", "ffn.omni_shift.conv5x5_reparam")

SIZES = [(1, 1), (1, 7), (5, 3), (9, 14)]  # rectangular, odd, and one pixel
MODES = pytest.mark.parametrize("training", [False, True])


# The numbers are those of the branches run one by one; the merged filter gives them as well.
@pytest.mark.shared
@MODES
def test_omni_shift_gives_the_authors_outputs_and_gradients(training, assert_part_agrees):
    assert_part_agrees("omnishift", OmniShift(6).train(training), dead=DEAD_IN_SHIFT)


@pytest.mark.shared
@MODES
def test_a_block_gives_the_authors_outputs_and_gradients(training, assert_part_agrees):
    assert_part_agrees("restore_block", RestoreBlock(8).train(training), dead=DEAD_IN_BLOCK)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_merged_filter_equals_the_branches(size):
    torch.manual_seed(42)
    shift = OmniShift(6)
    maps = torch.randn(2, 6, *size)
    branches = shift.train()(maps)
    torch.testing.assert_close(shift.eval()(maps), branches, atol=1e-5, rtol=1e-5)


def test_the_merged_filter_follows_a_change_of_the_branches():
    torch.manual_seed(42)
    shift = OmniShift(6).eval()
    maps = torch.randn(2, 6, 5, 4)
    before = shift(maps)
    torch.nn.init.ones_(shift.conv3x3.weight)
    after = shift(maps)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, shift.train()(maps), atol=1e-5, rtol=1e-5)


def test_evaluation_adds_no_weights_to_the_state():
    block = RestoreBlock(6)
    keys = set(block.state_dict())
    block.eval()(torch.randn(1, 6, 5, 3))
    assert set(block.state_dict()) == keys


def test_without_its_filters_omni_shift_only_scales():
    shift = OmniShift(6)
    with torch.no_grad():
        shift.alpha.copy_(torch.tensor([0.5, 0.0, 0.0, 0.0]))
    maps = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(shift.eval()(maps), maps / 2)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_block_keeps_any_size(size):
    torch.manual_seed(42)
    maps = torch.randn(2, 6, *size)
    mixed = RestoreBlock(6)(maps)
    assert mixed.shape == maps.shape
    assert mixed.isfinite().all()


def turnable_mix() -> RecurrentSpatialMix:
    """Make a mix whose filters do not tell rows from columns: only the scans can."""
    torch.manual_seed(42)
    mix = RecurrentSpatialMix(6).eval()
    with torch.no_grad():
        mix.omni_shift.alpha.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        # Weights this large keep the values of the scans apart.
        for layer in (mix.key, mix.value, mix.output):
            layer.weight.normal_()
    return mix


def test_the_second_pass_goes_down_the_columns():
    mix = turnable_mix()
    pixels = torch.randn(1, 5, 3, 6)
    tokens = pixels.reshape(1, 15, 6)
    key, value = mix.key(tokens), mix.value(tokens)
    decay, first = mix.spatial_decay / 15, mix.spatial_first / 15
    by_rows = bi_wkv_direct(decay[0], first[0], key, value)
    order = [row * 3 + column for column in range(3) for row in range(5)]
    by_columns = torch.empty_like(by_rows)
    by_columns[:, order] = bi_wkv_direct(decay[1], first[1], key[:, order], by_rows[:, order])
    want = mix.output(torch.sigmoid(mix.receptance(tokens)) * by_columns)
    torch.testing.assert_close(mix(pixels).reshape(1, 15, 6), want, atol=1e-5, rtol=1e-5)


def test_with_one_line_of_pixels_both_scans_are_one():
    mix = turnable_mix()
    pixels = torch.randn(1, 1, 7, 6)
    torch.testing.assert_close(mix(pixels), mix(pixels.transpose(1, 2)).transpose(1, 2))


def test_gradients_agree_with_finite_differences_in_float64():
    torch.manual_seed(42)
    block = RestoreBlock(3).double()
    maps = torch.randn(1, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, maps, atol=1e-6)
