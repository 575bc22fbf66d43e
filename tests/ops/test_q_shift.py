"""The look at the four neighbours."""

import numpy as np
import pytest
import torch

from napari_rwkv_seg.ops import q_shift


def test_each_quarter_comes_from_its_neighbour():
    image = torch.arange(1.0, 7.0).reshape(2, 3)  # 1 2 3 / 4 5 6
    x = image.reshape(1, 6, 1).repeat(1, 1, 4)
    shifted = q_shift(x, 2, 3).reshape(2, 3, 4)
    assert shifted[..., 0].tolist() == [[0, 1, 2], [0, 4, 5]]  # left
    assert shifted[..., 1].tolist() == [[2, 3, 0], [5, 6, 0]]  # right
    assert shifted[..., 2].tolist() == [[0, 0, 0], [1, 2, 3]]  # upper
    assert shifted[..., 3].tolist() == [[4, 5, 6], [0, 0, 0]]  # lower


def test_all_neighbours_of_a_single_pixel_are_zero():
    assert not q_shift(torch.ones(1, 1, 8), 1, 1).any()


def test_the_input_is_left_as_it_was():
    x = torch.ones(1, 6, 4)
    q_shift(x, 2, 3)
    assert (x == 1).all()


@pytest.mark.shared
def test_groups_of_18_channels_are_those_of_the_authors(shared):
    known = np.load(shared / "fixtures" / "mini" / "q_shift_c18_5x7.npz")
    y = q_shift(torch.from_numpy(known["x0"]), 5, 7)
    assert np.array_equal(y.numpy(), known["y0"])


@pytest.mark.shared
def test_gradient_is_that_of_the_authors(shared):
    known = np.load(shared / "fixtures" / "mini" / "q_shift_c18_5x7.npz")
    x = torch.from_numpy(known["x0"]).requires_grad_()
    y = q_shift(x, 5, 7)
    (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    torch.testing.assert_close(x.grad, torch.from_numpy(known["gx0"]))


@pytest.mark.parametrize("size", [(2, 4), (3, 3), (6, 0)])
def test_a_size_that_does_not_fit_is_an_error(size):
    with pytest.raises(ValueError, match=r"T = height \* width.*got \(1, 6, 4\)"):
        q_shift(torch.ones(1, 6, 4), *size)
