"""What the RWKV-UNet authors' files hold beyond what their network uses.

Their blocks make parts that are never called: attention where a block does not
attend, a second norm, a norm in the decoder, the classifier of the encoder. The
current release stores all of them, the first release (86424e9) some. A file may
hold them or not, but what it holds must have the right shape.
"""

import torch
from torch import nn

from napari_rwkv_seg.networks.mixing import SpatialMix
from napari_rwkv_seg.networks.rwkv_unet_blocks import GLSPBlock, UpBlock

Shape = tuple[int, ...]
_CLASSES = 1000  # of ImageNet, which the encoders were trained on


def unused_weights(network: nn.Module) -> dict[str, Shape]:
    """Return names and shapes of what the authors' RWKV-UNet has and `network` has not.

    Parameters
    ----------
    network : RWKVUNet or RWKVUNetEncoder
        On any device, the meta device too.

    Returns
    -------
    dict of str to tuple
        In the names of the authors' state dict; all that the current release stores.
    """
    shapes: dict[str, Shape] = {}
    for name, part in network.named_modules():
        if isinstance(part, GLSPBlock):
            shapes |= _of_block(f"{name}.", part)
        elif isinstance(part, UpBlock):
            shapes |= _norm(f"{name}.ln1.", part.conv.conv.in_channels)
    encoder = "encoder." if hasattr(network, "encoder") else ""
    channels = network.get_submodule(f"{encoder}stage4")[-1].proj.conv.out_channels  # type: ignore[index]
    shapes |= _norm(f"{encoder}norm.norm.", channels)
    return shapes | {
        f"{encoder}head.weight": (_CLASSES, channels),
        f"{encoder}head.bias": (_CLASSES,),
    }


def _of_block(prefix: str, block: GLSPBlock) -> dict[str, Shape]:
    hidden = block.conv.conv.out_channels
    shapes = _norm(f"{prefix}ln2.", hidden)
    if block.att is not None:
        return shapes
    with torch.device("meta"):
        attention = SpatialMix(hidden, 1, 0, key_norm=True, init_mode="global")
    mixing = {f"{prefix}att.{key}": tuple(t.shape) for key, t in attention.state_dict().items()}
    return shapes | _norm(f"{prefix}ln1.", hidden) | mixing


def _norm(prefix: str, channels: int) -> dict[str, Shape]:
    return {f"{prefix}weight": (channels,), f"{prefix}bias": (channels,)}
