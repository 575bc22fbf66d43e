"""Networks: what the papers draw, as `nn.Module`s that take images and know no files.

`build_network` makes any of them by name, which is how a model folder asks for one.
"""

from .deformable import MSDeformAttn
from .med_urwkv import MED_URWKV_VARIANTS, MedURWKV
from .mixing import ChannelMix, SpatialMix, VRWKVBlock
from .registry import ARCHITECTURES, LARGEST_GRID, SEGMENTERS, build_network
from .rwkv_unet import RWKV_UNET_CONFIGS, RWKVUNet, RWKVUNetEncoder
from .view import View
from .vrwkv import VRWKV, VRWKV_CONFIGS, VRWKVConfig
from .vrwkv_adapter import VRWKVAdapter

__all__ = [
    "ARCHITECTURES",
    "LARGEST_GRID",
    "MED_URWKV_VARIANTS",
    "RWKV_UNET_CONFIGS",
    "SEGMENTERS",
    "VRWKV",
    "VRWKV_CONFIGS",
    "ChannelMix",
    "MSDeformAttn",
    "MedURWKV",
    "RWKVUNet",
    "RWKVUNetEncoder",
    "SpatialMix",
    "VRWKVAdapter",
    "VRWKVBlock",
    "VRWKVConfig",
    "View",
    "build_network",
]
