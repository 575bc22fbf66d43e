"""The Bi-WKV operator, registered with PyTorch: autograd, compile and autocast know it.

`bi_wkv` is for everyone. It checks its arguments, chooses a backend and keeps the
dtype; underneath, `napari_rwkv_seg::bi_wkv_forward` and `…backward` hand arrays to the
kernels of the tensors' device: float32 on a CPU, half precision as well on CUDA, where
memory is what limits. Tensors are (B, T, C), T in scan order.
"""

from typing import Any

import torch
from torch import Tensor

from . import _cuda, _library
from .backends import choose_for, is_transformed
from .reference import bi_wkv_reference, bi_wkv_standard

_FORWARD = "napari_rwkv_seg::bi_wkv_forward"
_BACKWARD = "napari_rwkv_seg::bi_wkv_backward"


def bi_wkv(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Mix every token with all others, near ones weighing more than far ones.

    Token ``t`` of ``T`` becomes the weighted mean of all values: value ``i`` weighs
    ``exp(k[i] - w * (abs(t - i) - 1))``, its own ``exp(k[t] + u)``.

    Parameters
    ----------
    w : Tensor, shape (C,)
        Decay per token of distance, per channel; any sign. Divided by T already.
    u : Tensor, shape (C,)
        What a token adds to its own log-weight, per channel. Divided by T already.
    k, v : Tensor, shape (B, T, C)
        Keys (log-weights) and values, T in scan order. Any float dtype, contiguous or not.

    Returns
    -------
    Tensor, shape (B, T, C)
        In the dtype of `v`; the sums run in float32, or in float64 if `k` or `v` is.
        A NaN in `k` or `v` makes its channel of its image NaN, and nothing else.

    Raises
    ------
    ValueError
        If shapes or devices do not agree.
    TypeError
        If a tensor is not of a floating dtype.
    DeviceError, SettingsError
        If NAPARI_RWKV_SEG_BACKEND asks for what cannot be had.

    Notes
    -----
    Gradients can be taken once. For gradients of gradients use `bi_wkv_reference`.

    Where no kernel can run, `torch.compile` and `torch.export` get `bi_wkv_standard`, which has no
    branch on data: right while ``abs(w) * T`` is at most 400, as in all trained networks. So do
    the transforms of `torch.func`, under which no kernel runs.
    """
    _check_inputs(w, u, k, v)
    y: Tensor
    common = torch.promote_types(k.dtype, v.dtype)
    if k.device.type != "meta" and choose_for(k.device, common)[0] == "reference":
        return _plain(w, u, k, v)
    inside = common if k.device.type == "cuda" else torch.float32
    y, _ = torch.ops.napari_rwkv_seg.bi_wkv_forward(
        w.float(), u.float(), k.to(inside), v.to(inside)
    )
    return y.to(v.dtype)


def _plain(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return what plain PyTorch finds; where it is traced, by the form without branches on data."""
    is_traced = torch.compiler.is_compiling() or is_transformed()
    has_float64 = k.device.type != "mps"
    if is_traced and has_float64 and k.numel():
        return bi_wkv_standard(w, u, k, v)
    return bi_wkv_reference(w, u, k, v)


def _check_inputs(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise unless the shapes, devices and kinds of dtype agree."""
    if k.dim() != 3 or k.shape != v.shape:
        raise ValueError(
            "bi_wkv takes k and v of one shape (B, T, C), "
            f"got k {tuple(k.shape)} and v {tuple(v.shape)}."
        )
    for name, x in (("w", w), ("u", u)):
        if x.shape != k.shape[2:]:
            raise ValueError(
                f"bi_wkv takes {name} of shape (C,) = ({k.shape[2]},) for k of shape "
                f"{tuple(k.shape)}, got {name} {tuple(x.shape)}."
            )
    for name, x in (("w", w), ("u", u), ("k", k), ("v", v)):
        if not x.dtype.is_floating_point:
            raise TypeError(f"bi_wkv takes tensors of a floating dtype, got {name} in {x.dtype}.")
        if x.device != k.device:
            raise ValueError(
                f"bi_wkv takes tensors on one device, got {name} on {x.device} and k on {k.device}."
            )


def _addresses(*tensors: Tensor) -> tuple[int, ...]:
    """Return where the arrays lie, after a last look that they are what a kernel expects."""
    for x in tensors:
        if x.dtype != torch.float32 or x.device.type != "cpu" or not x.is_contiguous():
            raise TypeError(
                "The CPU kernels take contiguous float32 tensors on the CPU, "
                f"got {x.dtype} on {x.device} with strides {x.stride()}; call bi_wkv instead."
            )
    return tuple(x.data_ptr() for x in tensors)


def _new_states(k: Tensor) -> Tensor:
    """Return an empty tensor (B, R, C) for what the forward pass keeps; R is the backend's."""
    if k.device.type == "cuda":
        return _cuda.new_states(k)
    return k.new_empty(k.shape[0], _library.state_rows(k.shape[1]), k.shape[2])


def _forward_cpu(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return y (B, T, C) and the states (B, R, C) that the backward pass wants."""
    _check_inputs(w, u, k, v)
    w, u, k, v = (x.contiguous() for x in (w, u, k, v))
    y, states = torch.empty_like(k), _new_states(k)
    if k.numel():
        shape = (k.shape[0], k.shape[1], k.shape[2])
        _library.forward(shape, _addresses(w, u, k, v, y, states), torch.get_num_threads())
    return y, states


def _backward_cpu(
    w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, states: Tensor, gy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients by w, u (C,) and k, v (B, T, C), given gy (B, T, C) by y."""
    _check_kept(w, u, k, v, y, states, gy)
    arrays = tuple(x.contiguous() for x in (w, u, k, v, y, states, gy))
    dw, du, dk, dv = (torch.empty_like(x) for x in arrays[:4])
    if not k.numel():
        return dw.zero_(), du.zero_(), dk, dv
    shape = (k.shape[0], k.shape[1], k.shape[2])
    addresses = _addresses(*arrays, dw, du, dk, dv)
    _library.backward(shape, addresses, torch.get_num_threads())
    return dw, du, dk, dv


def _check_kept(
    w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, states: Tensor, gy: Tensor
) -> None:
    """Raise unless y, states and gy are of the shapes that the forward pass of k made."""
    _check_inputs(w, u, k, v)
    if y.shape != k.shape or gy.shape != k.shape or states.shape != _new_states(k).shape:
        raise ValueError(
            f"bi_wkv's backward pass takes y and gy of the shape of k {tuple(k.shape)} and the "
            f"states of its forward pass, got {[tuple(x.shape) for x in (y, gy, states)]}."
        )


def _forward_cuda(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return y (B, T, C) in the dtype of k, and the states (B, R, C)."""
    _check_inputs(w, u, k, v)
    _check_elements((w, u), (k, v))
    return _cuda.forward(*(x.contiguous() for x in (w, u, k, v)))


def _backward_cuda(
    w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, states: Tensor, gy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients by w, u (C,) and k, v (B, T, C), given gy (B, T, C) by y."""
    _check_kept(w, u, k, v, y, states, gy)
    gy = gy.to(k.dtype)
    _check_elements((w, u, states), (k, v, y, gy))
    return _cuda.backward(*(x.contiguous() for x in (w, u, k, v, y, states, gy)))


def _check_elements(singles: tuple[Tensor, ...], elements: tuple[Tensor, ...]) -> None:
    """Raise unless the first are float32 and the others of one type that the kernels read."""
    dtypes = [x.dtype for x in elements]
    if any(x.dtype != torch.float32 for x in singles) or dtypes[0] not in _cuda.DTYPES:
        kinds = [x.dtype for x in (*singles, *elements)]
        raise TypeError(f"The CUDA kernels cannot take tensors of {kinds}; call bi_wkv instead.")
    if len(set(dtypes)) != 1:
        raise TypeError(f"The CUDA kernels take k, v, y and gy of one dtype, got {dtypes}.")


def _forward_fake(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return tensors of the right shapes and no content, for tracing."""
    return torch.empty_like(k, memory_format=torch.contiguous_format), _new_states(k)


def _backward_fake(
    w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, states: Tensor, gy: Tensor
) -> tuple[Tensor, ...]:
    """Return tensors of the right shapes and no content, for tracing."""
    layout = torch.contiguous_format
    return tuple(torch.empty_like(x, memory_format=layout) for x in (w, u, k, v))


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep for the backward pass what it needs."""
    ctx.set_materialize_grads(False)  # no zeros of the size of the states, which nobody reads
    ctx.save_for_backward(*inputs, *output)


def _differentiate(ctx: Any, gy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients by w, u, k and v; the states carry none."""
    if gy is None:
        return None, None, None, None
    gradients: tuple[Tensor, ...] = torch.ops.napari_rwkv_seg.bi_wkv_backward(
        *ctx.saved_tensors, gy
    )
    return gradients


def _refuse(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
    """Refuse gradients of gradients."""
    raise RuntimeError(
        "bi_wkv's compiled kernels can be differentiated once only; "
        "use napari_rwkv_seg.ops.bi_wkv_reference for gradients of gradients."
    )


def _register() -> None:
    """Tell PyTorch about both operators, once, when this module is imported."""
    inputs = "Tensor w, Tensor u, Tensor k, Tensor v"
    library = torch.library
    library.define(_FORWARD, f"({inputs}) -> (Tensor, Tensor)")
    library.define(
        _BACKWARD,
        f"({inputs}, Tensor y, Tensor states, Tensor gy) -> (Tensor, Tensor, Tensor, Tensor)",
    )
    library.impl(_FORWARD, "CPU", _forward_cpu)
    library.impl(_BACKWARD, "CPU", _backward_cpu)
    library.impl(_FORWARD, "CUDA", _forward_cuda)
    library.impl(_BACKWARD, "CUDA", _backward_cuda)
    library.register_fake(_FORWARD, _forward_fake)
    library.register_fake(_BACKWARD, _backward_fake)
    library.register_autograd(_FORWARD, _differentiate, setup_context=_keep)
    library.register_autograd(_BACKWARD, _refuse)
    library.register_autocast(_FORWARD, "cpu", torch.float32)


_register()
