"""Inputs that have broken implementations of Bi-WKV, by name, for the tests beside this."""

from collections.abc import Callable

import torch
from torch import Tensor

from napari_rwkv_seg.ops import _library

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]

# B, T, C: no chunk of 16 tokens and no vector of 4, 8 or 16 channels divides most of them.
SHAPES = [
    (1, 1, 1),
    (2, 2, 3),
    (1, 7, 17),
    (2, 16, 64),
    (1, 17, 100),
    (2, 63, 33),
    (1, 196, 17),
    (1, 1000, 3),
]


def _uniform(*size: int) -> Tensor:
    return torch.rand(*size) * 2 - 1


def _spikes(batch: int, tokens: int, channels: int) -> Tensor:
    return torch.where(torch.rand(batch, tokens, channels) < 3 / tokens, 80.0, -80.0)


def _ramp(batch: int, tokens: int, channels: int) -> Tensor:
    return torch.linspace(-80, 80, tokens)[:, None].repeat(batch, 1, channels)


def _masked_start(key: float) -> Callable[[int, int, int], Tensor]:
    """Return what masks the first third of an image, as one does with a very negative key."""

    def keys(batch: int, tokens: int, channels: int) -> Tensor:
        return torch.randn(batch, tokens, channels).index_fill(1, torch.arange(tokens // 3), key)

    return keys


def _normal_keys(scale: float) -> Callable[[int, int, int], Tensor]:
    return lambda *size: torch.randn(*size) * scale


# Name -> (decay from T and C, bonus from C, keys from B, T, C).
CASES: dict[str, tuple[Callable[[int, int], Tensor], Callable[[int], Tensor], Callable]] = {
    "trained": (lambda t, c: torch.randn(c) * 4 / t, torch.randn, torch.randn),
    "no decay": (lambda t, c: torch.zeros(c), torch.randn, torch.randn),
    "decay 20 over the image": (lambda t, c: torch.rand(c) * 20 / t, torch.randn, _normal_keys(2)),
    "growth 20 over the image": (
        lambda t, c: -torch.rand(c) * 20 / t,
        torch.randn,
        _normal_keys(2),
    ),
    "keys to 80": (lambda t, c: _uniform(c) * 8 / t, torch.randn, lambda *s: _uniform(*s) * 80),
    "spikes": (lambda t, c: _uniform(c) * 8 / t, torch.randn, _spikes),
    "ramp": (lambda t, c: _uniform(c) * 8 / t, torch.randn, _ramp),
    "limit of float32": (
        lambda t, c: _uniform(c) * 1.5,
        lambda c: _uniform(c) * 20,
        _normal_keys(3),
    ),
    "limit with spikes": (lambda t, c: _uniform(c) * 1.5, lambda c: _uniform(c) * 20, _spikes),
    "strong growth": (
        lambda t, c: -torch.rand(c) * 1.5,
        lambda c: _uniform(c) * 20,
        lambda *s: _uniform(*s) * 80,
    ),
    "start masked by -1e9": (lambda t, c: _uniform(c) * 8 / t, torch.randn, _masked_start(-1e9)),
    "start masked by -inf": (
        lambda t, c: _uniform(c) * 8 / t,
        torch.randn,
        _masked_start(float("-inf")),
    ),
    "start masked beyond float32": (
        lambda t, c: _uniform(c) * 3,
        torch.randn,
        _masked_start(float("-inf")),
    ),
    "beyond float32": (
        lambda t, c: _uniform(c) * 100,
        lambda c: _uniform(c) * 60,
        lambda *s: _uniform(*s) * 80,
    ),
    "decay 1000": (
        lambda t, c: torch.full((c,), 1000.0),
        lambda c: _uniform(c) * 60,
        _normal_keys(10),
    ),
    "some channels beyond float32": (
        lambda t, c: torch.where(torch.arange(c) % 3 == 0, -50.0, 2 / t),
        lambda c: _uniform(c) * 30,
        _normal_keys(10),
    ),
}


def make(case: str, shape: tuple[int, int, int]) -> tuple[Inputs, Tensor]:
    """Return w, u (C,), k, v (B, T, C) in float32, and a gradient by y."""
    torch.manual_seed(42)
    _, tokens, channels = shape
    decay, bonus, keys = CASES[case]
    inputs = (decay(tokens, channels), bonus(channels), keys(*shape), torch.randn(shape))
    return inputs, torch.randn(shape)


def with_gradients(
    function: Callable[..., Tensor], inputs: Inputs, grad: Tensor, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return y and the gradients by w, u, k and v, in float64."""
    leaves = [x.to(dtype, copy=True).requires_grad_() for x in inputs]
    y = function(*leaves)
    y.backward(grad.to(y))
    gradients = {f"d{name}": x.grad.double() for name, x in zip("wukv", leaves, strict=True)}
    return {"y": y.detach().double(), **gradients}


def errors(got: dict[str, Tensor], want: dict[str, Tensor], grad: Tensor) -> dict[str, float]:
    """Return relative errors.

    A gradient that is a difference of large terms may be next to nothing itself; it is
    then measured against a tenth of the size of the gradient by y that went in.
    """
    floor = 0.1 * float(grad.norm())
    return {
        name: float((got[name] - want[name]).norm())
        / (float(want[name].norm()) if name == "y" else max(float(want[name].norm()), floor))
        for name in want
    }


def instruction_sets() -> list[str]:
    """Return those that this build and this machine have, the widest first."""
    found = []
    for name in ("avx512", "avx2", "baseline"):
        try:
            _library.use_instruction_set(name)
        except RuntimeError:
            continue
        found.append(name)
    if found:
        _library.use_instruction_set(found[0])
    return found
