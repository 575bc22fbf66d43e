"""Our operators in the transforms of `torch.func`, which see through plain PyTorch alone."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.functional import jacobian
from torch.func import grad, jvp, vmap
from torch.nn import functional

from napari_rwkv_seg.errors import DeviceError
from napari_rwkv_seg.ops import (
    bi_wkv,
    bi_wkv_direct,
    depthwise_conv2d,
    read_points,
    read_points_reference,
    token_linear,
)

GRIDS = [(5, 7)]
PAIRS = {
    "bi_wkv": (bi_wkv, bi_wkv_direct),
    "token_linear": (token_linear, functional.linear),
    "depthwise_conv2d": (
        depthwise_conv2d,
        lambda maps, kernel, bias: functional.conv2d(maps, kernel, bias, 1, 1, groups=3),
    ),
    "read_points": (
        lambda *x: read_points(*x, GRIDS),
        lambda *x: read_points_reference(*x, GRIDS),
    ),
}
SHAPES = {
    "bi_wkv": [(3,), (3,), (2, 20, 3), (2, 20, 3)],
    "token_linear": [(2, 7, 5), (3, 5), (3,)],
    "depthwise_conv2d": [(2, 3, 8, 9), (3, 1, 3, 3), (3,)],
    "read_points": [(2, 35, 8), (11, 2), (2, 11, 2, 1, 4, 2), (2, 11, 2, 1, 4)],
}


def inputs_of(name):
    torch.manual_seed(42)
    return [0.3 * torch.randn(shape) for shape in SHAPES[name]]


def is_close(got, want):
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_by_transform_are_those_of_the_definition(name):
    inputs = inputs_of(name)
    everything = tuple(range(len(inputs)))
    got, want = (grad(lambda *x, f=f: f(*x).square().sum(), everything) for f in PAIRS[name])
    is_close(got(*inputs), want(*inputs))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize("name", ["bi_wkv", "token_linear", "depthwise_conv2d"])
def test_derivatives_in_a_direction_are_those_of_the_definition(name):
    inputs = tuple(inputs_of(name))
    got, want = (jvp(f, inputs, inputs) for f in PAIRS[name])
    is_close(got, want)


@pytest.mark.parametrize("name", ["bi_wkv", "token_linear", "depthwise_conv2d"])
def test_dual_numbers_keep_their_derivatives(name):
    inputs = tuple(inputs_of(name))
    ours, definition = PAIRS[name]
    _, want = jvp(definition, inputs, inputs)
    with forward_ad.dual_level():
        got = ours(*(forward_ad.make_dual(x, x) for x in inputs))
        tangent = forward_ad.unpack_dual(got).tangent
    assert tangent is not None
    is_close([tangent], [want])


def test_a_frozen_decay_has_a_jacobian_in_forward_mode():
    w, u, k, v = inputs_of("bi_wkv")
    both = [
        jacobian(lambda w, f=f: f(w, u, k, v).sum(), w, strategy="forward-mode", vectorize=True)
        for f in (bi_wkv, bi_wkv_direct)
    ]
    assert both[1].abs().min() > 1e-3
    is_close(both[:1], both[1:])


def test_gradients_of_each_sample_can_be_had():
    w, u, k, v = inputs_of("bi_wkv")
    slopes = grad(lambda k, v: bi_wkv(w, u, k[None], v[None]).square().sum(), (0, 1))
    whole = grad(lambda k, v: bi_wkv(w, u, k, v).square().sum(), (0, 1))
    is_close(vmap(slopes)(k, v), whole(k, v))


def test_several_decays_can_be_tried_at_once():
    w, u, k, v = inputs_of("bi_wkv")
    decays = torch.stack([w, 2 * w])
    together = vmap(lambda w: bi_wkv(w, u, k, v))(decays)
    is_close(together, [bi_wkv_direct(w, u, k, v) for w in decays])


def test_asking_for_the_kernels_in_a_transform_is_an_error_with_the_reason(monkeypatch):
    monkeypatch.setenv("NAPARI_RWKV_SEG_BACKEND", "cpu")
    w, u, k, v = inputs_of("bi_wkv")
    with pytest.raises(DeviceError, match="dual numbers cannot see into"):
        grad(lambda k: bi_wkv(w, u, k, v).sum())(k)
