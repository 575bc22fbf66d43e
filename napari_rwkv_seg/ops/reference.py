"""Bi-WKV in plain PyTorch: the definition, and a linear form with autograd for free.

`bi_wkv_direct` states the formula and is what tests judge by. `bi_wkv_reference`
is what runs where no compiled kernel can: the sequence is cut into chunks, each
chunk is summed by cumulative sums relative to its own largest key, and the chunk
states ``(a, b, m)``, that is sums scaled by ``exp(-m)``, are joined in a
logarithmic scan. Because every weight is relative to a reference that is at
least as large, no exponential can overflow. Any device; T tokens in scan order.
`bi_wkv_standard` is for graphs, which can have no branch on data.
"""

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 32
_LARGEST_RANGE = 24.0  # of |w| * _CHUNK: exp(24) still leaves float32 its precision
_LARGEST_BONUS = 20.0  # of |u|, for the same reason
_NOTHING = -1e30  # log-weight of a token that is not there; finite, so that differences are not NaN


def bi_wkv_direct(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Evaluate the definition of `bi_wkv` with one T × T matrix per channel.

    Memory and time grow with T²: for tests and small T only.

    Parameters
    ----------
    w, u : Tensor, shape (C,)
        Decay per token of distance and bonus of the own token, divided by T already.
    k, v : Tensor, shape (B, T, C)
        Keys (log-weights) and values.

    Returns
    -------
    Tensor, shape (B, T, C)
        In the common dtype of the inputs.

    Raises
    ------
    RuntimeError
        By PyTorch, if the shapes do not fit.
    """
    position = torch.arange(k.shape[1], device=k.device)
    apart = (position[:, None] - position[None, :]).abs()[..., None]
    log_weight = torch.where(apart == 0, u, (1 - apart) * w) + k[:, None]
    return (torch.softmax(log_weight, dim=2) * v[:, None]).sum(dim=2)


def bi_wkv_reference(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Evaluate `bi_wkv` by chunked cumulative sums, in time linear in T.

    Channels whose decay or bonus is too large for float32 sums (more than 24 over
    a chunk of 32 tokens, or a bonus over 20; no trained network has such) are
    scanned token by token in float64, where the device has it.

    Parameters
    ----------
    w, u : Tensor, shape (C,)
        Decay per token of distance and bonus of the own token, divided by T already.
    k, v : Tensor, shape (B, T, C)
        Keys (log-weights) and values, any float dtype; half precision is summed in float32.

    Returns
    -------
    Tensor, shape (B, T, C)
        In the dtype of `v`. A NaN in `k` or `v` makes its channel of its image NaN.

    Raises
    ------
    RuntimeError
        By PyTorch, if the shapes do not fit.
    """
    dtype = v.dtype
    inner = torch.promote_types(torch.promote_types(k.dtype, v.dtype), torch.float32)
    w, u, k, v = (x.to(inner) for x in (w, u, k, v))
    k = k.clamp(min=_NOTHING)  # -inf masks a token, and -inf minus -inf is NaN
    if k.numel() == 0:
        return (k * v).to(dtype)
    mild = (w.abs() * _CHUNK <= _LARGEST_RANGE) & (u.abs() <= _LARGEST_BONUS)
    if bool(mild.all()):
        return _scan(w, u, k, v, _CHUNK).to(dtype)
    gentle, steep = mild.nonzero()[:, 0], (~mild).nonzero()[:, 0]
    y_gentle = _scan(w[gentle], u[gentle], k[..., gentle], v[..., gentle], _CHUNK)
    precise = _carry_dtype(k)
    w, u, k, v = (x[..., steep].to(precise) for x in (w, u, k, v))
    y_steep = _scan(w, u, k, v, 1).to(inner)
    order = torch.cat([gentle, steep]).argsort()
    return torch.cat([y_gentle, y_steep], dim=-1)[..., order].to(dtype)


def bi_wkv_standard(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Evaluate `bi_wkv` by cumulative sums over all tokens.

    A dozen operations in float64 and no branch, for graphs. Weights are relative to each
    channel's largest key, and the decay to the middle of the sequence. That is right for all
    keys while ``abs(w) * T`` is at most 400 and ``u`` at most 200: what underflows is less than
    1e-16 of the largest weight that reaches its token. From ``abs(w) * T`` of some 600 on the
    result gets inexact and then NaN. Trained networks, whose decay is divided by T, have less
    than ten.

    Parameters
    ----------
    w, u : Tensor, shape (C,)
        Decay per token of distance and bonus of the own token, divided by T already.
    k, v : Tensor, shape (B, T, C)
        Keys (log-weights) and values.

    Returns
    -------
    Tensor, shape (B, T, C)
        In the dtype of `v`.
    """
    decay, bonus, key, value = (x.double() for x in (w, u, k, v))
    tokens = k.shape[1]
    places = torch.arange(tokens, device=k.device, dtype=torch.float64)[:, None]
    ramp = (places - (tokens - 1) / 2) * decay
    weight = torch.exp(key - key.amax(1, keepdim=True))
    rising, falling = weight * torch.exp(ramp), weight * torch.exp(-ramp)
    own, before, after = torch.exp(bonus), torch.exp(decay - ramp), torch.exp(decay + ramp)

    def total(of: Tensor | float) -> Tensor:
        """Return the weighted sum of `of` (B, T, C) over all tokens, seen from each."""
        past = _sum_of_earlier(rising * of)
        future = _sum_of_earlier((falling * of).flip(1)).flip(1)
        return before * past + after * future + own * weight * of

    return (total(value) / total(1.0)).to(v.dtype)


def _sum_of_earlier(x: Tensor) -> Tensor:
    """Return the sums over all tokens before each; shifted, not subtracted, to stay exact."""
    return functional.pad(x[:, :-1], (0, 0, 1, 0)).cumsum(1)


def _carry_dtype(tensor: Tensor) -> torch.dtype:
    """Return float64, or what comes closest on the tensor's device."""
    return tensor.dtype if tensor.device.type == "mps" else torch.float64


def _scan(w: Tensor, u: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    """Return y of shape (B, T, C); `chunk` tokens are summed directly, chunks are joined."""
    batch, tokens, channels = k.shape
    chunks = -(-tokens // chunk)
    missing = chunks * chunk - tokens
    k = functional.pad(k, (0, 0, 0, missing), value=_NOTHING)
    v = functional.pad(v, (0, 0, 0, missing))
    cut = (batch, chunks, chunk, channels)
    y = _mix_chunks(w, u, k.reshape(cut), v.reshape(cut))
    return y.reshape(batch, chunks * chunk, channels)[:, :tokens]


def _mix_chunks(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return y for k and v of shape (B, N, L, C): N chunks of L tokens.

    All parts of the sum are taken relative to `base`, the largest reference that
    reaches the chunk, so that float32 is only asked for small differences.
    """
    length = k.shape[2]
    middle = (length - 1) / 2
    step = torch.arange(length, device=k.device, dtype=k.dtype)[:, None]
    ramp = (step - middle) * w
    top = k.detach().amax(dim=2, keepdim=True)
    below = k - top

    before, past = _sum_before(torch.exp(below + ramp), v)
    after, future = _sum_before(torch.exp(below - ramp).flip(2), v.flip(2))
    after = after.flip(3)
    reach = torch.exp(-middle * w)
    past, past_level = _carry(past * reach, top, w, length)
    future, future_level = _carry((future * reach).flip(2), top.flip(1), w, length)
    future, future_level = future.flip(2), future_level.flip(1)

    base = torch.maximum(torch.maximum(past_level, future_level), top)
    own = torch.stack([v, torch.ones_like(v)])
    inside = before * torch.exp(w - ramp) + after * torch.exp(w + ramp)
    top_level = (top - base).to(k.dtype)
    parts = [
        (own, below + u + top_level),
        (inside, top_level.expand_as(k)),
        (past, (past_level - base).to(k.dtype) - step * w),
        (future, (future_level - base).to(k.dtype) - (length - 1 - step) * w),
    ]
    if length == 1:
        del parts[1]
    level = torch.stack([x.detach() for _, x in parts]).amax(dim=0)
    total = torch.stack([sums * torch.exp(x - level) for sums, x in parts]).sum(dim=0)
    return total[0] / total[1]


def _sum_before(weight: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums (2, B, N, L, C) over earlier tokens of a chunk, and over the whole chunk.

    Row 0 holds the sums of weight times value, row 1 those of the weights.
    """
    sums = torch.stack([weight * v, weight]).cumsum(dim=3)
    return functional.pad(sums[:, :, :, :-1], (0, 0, 1, 0)), sums[:, :, :, -1:]


def _carry(sums: Tensor, level: Tensor, w: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return what reaches each chunk's first token from all chunks before it.

    An inclusive scan by doubling, then a shift by one chunk. It runs in float64:
    levels fall by ``w`` per token, and over thousands of tokens float32 would drift.

    Parameters
    ----------
    sums : Tensor, shape (2, B, N, 1, C)
        Sums of each chunk, seen from the first token after it, divided by ``exp(level)``.
    level : Tensor, shape (B, N, 1, C)
        Reference exponents; constants, no gradient flows through them.
    w : Tensor, shape (C,)
        Decay per token.
    length : int
        Tokens per chunk.

    Returns
    -------
    Tensor, shape (2, B, N, 1, C)
        In the dtype of `sums`.
    Tensor, shape (B, N, 1, C)
        Their reference exponents, in float64 where the device has it.
    """
    dtype, precise = sums.dtype, _carry_dtype(sums)
    sums, level, w = sums.to(precise), level.to(precise), w.to(precise)
    chunks = level.shape[1]
    apart = 1
    while apart < chunks:
        far_level = _shift(level, 1, apart, _NOTHING) - (apart * length) * w
        joint = torch.maximum(far_level, level).detach()
        far = _shift(sums, 2, apart, 0.0) * torch.exp(far_level - joint)
        sums, level = far + sums * torch.exp(level - joint), joint
        apart *= 2
    return _shift(sums, 2, 1, 0.0).to(dtype), _shift(level, 1, 1, _NOTHING)


def _shift(x: Tensor, dim: int, by: int, fill: float) -> Tensor:
    """Move `x` by `by` places along `dim`, filling the start."""
    start = torch.full_like(x.narrow(dim, 0, min(by, x.shape[dim])), fill)
    return torch.cat([start, x.narrow(dim, 0, max(x.shape[dim] - by, 0))], dim=dim)
