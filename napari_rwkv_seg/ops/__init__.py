"""Bi-WKV and its company, on any device: tensors in, tensors out.

`bi_wkv` is the operator that makes RWKV networks linear in image size; `q_shift`
is the look at a pixel's neighbours that goes before it. Knows no `nn.Module`, no
file and no image. Tensors are (B, T, C) with tokens in row-major order; only those of
`depthwise_conv2d` are maps (B, C, H, W).
"""

from .backends import BackendStatus, backend_status
from .bi_wkv import bi_wkv
from .depthwise import depthwise_conv2d
from .q_shift import q_shift
from .read_points import read_points, read_points_reference
from .reference import bi_wkv_direct, bi_wkv_reference
from .token_linear import token_linear

__all__ = [
    "BackendStatus",
    "backend_status",
    "bi_wkv",
    "bi_wkv_direct",
    "bi_wkv_reference",
    "depthwise_conv2d",
    "q_shift",
    "read_points",
    "read_points_reference",
    "token_linear",
]
