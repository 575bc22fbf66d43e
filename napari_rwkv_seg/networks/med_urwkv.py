"""Med-URWKV: a U-Net whose encoder, bottleneck and decoder are all RWKV.

After Zhou et al. 2025 (arXiv 2506.10858). The encoder is VRWKV-Adapter
('adapter', as in the paper, strides 4, 8, 16 and 32) or VRWKV itself ('plain',
one stride, resampled to the same four). The paper does not give the decoder's
widths: here they fall with resolution, as `DECODERS` says.
In the decoder, tokens are (B, T, width), T = height * width, row-major.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from .linear import TokenLinear, in_pieces, linear
from .mixing import VRWKVBlock
from .view import AS_IT_IS, View
from .vrwkv import VRWKV, VRWKV_CONFIGS, map_to_tokens
from .vrwkv_adapter import STRIDE, VRWKVAdapter

MED_URWKV_VARIANTS = ("T", "S", "B", "L")
_BLOCKS = 2  # in each stage of the decoder


@dataclass(frozen=True)
class Decoder:
    """Sizes of a decoder.

    Attributes
    ----------
    shares : four ints
        Widths at strides 4, 8, 16 and 32: the encoder's channels divided by these.
    bottleneck_blocks : int
        VRWKV blocks at stride 32.
    """

    shares: tuple[int, int, int, int]
    bottleneck_blocks: int


# "slim" is what lets Med-URWKV-T with the adapter stay under 20 MB in half precision.
# "narrow" keeps the decoder of a big encoder from growing as large as the encoder itself.
DECODERS = {
    "taper": Decoder((4, 2, 1, 1), 2),
    "slim": Decoder((4, 2, 2, 1), 1),
    "narrow": Decoder((4, 2, 2, 2), 2),
}

Level = tuple[Tensor, int, int]  # tokens (B, height * width, C), height, width


class MedURWKV(nn.Module):
    """The whole segmentation network.

    Parameters
    ----------
    variant : {'T', 'S', 'B', 'L'}
        Size of the encoder, which sets the decoder's.
    encoder : {'adapter', 'plain'}
        VRWKV-Adapter, or VRWKV with a token pyramid.
    in_channels : int
        Channels of the image.
    classes : int
        Classes of the logits, background included.
    decoder : {'taper', 'slim', 'narrow'}
        Which of `DECODERS`.
    grid : int, optional
        Side of the square of tokens of the position embedding; 0 for the published one.
    view : View, optional
        How it sees images, such as enlarged for objects of few pixels.

    Raises
    ------
    ValueError
        If there is no such variant, encoder or decoder.
    """

    def __init__(
        self,
        variant: str = "T",
        encoder: str = "adapter",
        in_channels: int = 3,
        classes: int = 2,
        decoder: str = "taper",
        grid: int = 0,
        view: View = AS_IT_IS,
    ) -> None:
        super().__init__()
        self.view = view
        if variant not in MED_URWKV_VARIANTS:
            raise ValueError(f"Med-URWKV comes as {_listed(MED_URWKV_VARIANTS)}, got {variant!r}.")
        if encoder not in ("adapter", "plain"):
            raise ValueError(f"The encoder is 'adapter' or 'plain', got {encoder!r}.")
        if decoder not in DECODERS:
            raise ValueError(f"The decoder is {_listed(tuple(DECODERS))}, got {decoder!r}.")
        config = VRWKV_CONFIGS[variant]
        config = replace(config, grid=grid or config.grid)
        channels = config.channels
        widths = [channels // share for share in DECODERS[decoder].shares]
        self.encoder: nn.Module
        self.pyramid: nn.Module
        if encoder == "adapter":
            self.encoder = VRWKVAdapter(config, in_channels)
            self.pyramid = AdapterPyramid(channels, widths)
        else:
            self.encoder = VRWKV(config, in_channels)
            self.pyramid = TokenPyramid(channels, widths)
        self.bottleneck = Stage(widths[3], DECODERS[decoder].bottleneck_blocks)
        self.stages = nn.ModuleList(
            UpStage(widths[level + 1], widths[level]) for level in (2, 1, 0)
        )
        self.expand = Expand(widths[0], widths[0] // 2, factor=4)
        self.head = TokenLinear(widths[0] // 2, classes)
        # Normalised tokens need wide weights: from 0.02 the logits take hundreds of steps to grow.
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, classes, H, W) of an image (B, in_channels, H, W), any H, W >= 1.

        The image is continued on its right and lower side by its last pixels,
        up to multiples of 32; the logits of that margin are cut off.
        """
        return self.view.show(self._logits, image, in_training=self.training)

    def _logits(self, image: Tensor) -> Tensor:
        """Return logits (B, classes, H, W) of what the encoder is to see."""
        height, width = image.shape[-2:]
        margin = (0, -width % STRIDE, 0, -height % STRIDE)
        maps = self.encoder(functional.pad(image, margin, mode="replicate"))
        *skips, (tokens, rows, columns) = self.pyramid(maps)
        tokens = self.bottleneck(tokens, rows, columns)
        for stage, (skip, rows, columns) in zip(self.stages, reversed(skips), strict=True):
            tokens = stage(tokens, skip, rows, columns)
        # The head sees single cells, so these need not be moved: its few logits are.
        logits = in_pieces(self._cell_logits, tokens, self.expand.linear.out_features)
        logits = spread(logits, rows, columns)
        return logits[:, :height, :width].permute(0, 3, 1, 2).contiguous()

    def _cell_logits(self, tokens: Tensor) -> Tensor:
        """Return (B, T, 4, 4, classes) of tokens (B, T, width) at stride 4."""
        logits: Tensor = self.head(self.expand.cells(tokens))
        return logits


class AdapterPyramid(nn.Module):
    """Bring each map of the adapter to the decoder's width by a norm and a linear layer."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(channels), linear(channels, width, bias=True))
            for width in widths
        )

    def forward(self, maps: list[Tensor]) -> list[Level]:
        """Return the four levels, finest first, of maps (B, C, h, w)."""
        return [
            (level(map_to_tokens(features)), *features.shape[-2:])
            for level, features in zip(self.levels, maps, strict=True)
        ]


class TokenPyramid(nn.Module):
    """Make strides 4, 8, 16 and 32 of four maps of stride 16, trading channels for places."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stride_4 = Expand(channels, widths[0], factor=4, has_norm=False)
        self.stride_8 = Expand(channels, widths[1], factor=2, has_norm=False)
        self.stride_16 = nn.Sequential(
            linear(channels, widths[2], bias=True), nn.LayerNorm(widths[2])
        )
        self.stride_32 = nn.Sequential(
            nn.LayerNorm(4 * channels), linear(4 * channels, widths[3], bias=True)
        )

    def forward(self, maps: list[Tensor]) -> list[Level]:
        """Return the four levels, finest first, of maps (B, C, h, w) with even h and w."""
        height, width = maps[0].shape[-2:]
        first, second, third, fourth = (map_to_tokens(features) for features in maps)
        return [
            (self.stride_4(first, height, width), 4 * height, 4 * width),
            (self.stride_8(second, height, width), 2 * height, 2 * width),
            (self.stride_16(third), height, width),
            (self.stride_32(_merge_places(fourth, height, width)), height // 2, width // 2),
        ]


class Stage(nn.Module):
    """Some VRWKV blocks of one width."""

    def __init__(self, width: int, count: int = _BLOCKS) -> None:
        super().__init__()
        # No block is a first one: the extra norm of block 0 is for what a patch embedding makes.
        self.blocks = nn.ModuleList(
            VRWKVBlock(width, count + 1, index, init_mode="global") for index in range(1, count + 1)
        )

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Run on tokens (B, height * width, C); same shape out."""
        for block in self.blocks:
            tokens = block(tokens, height, width)
        return tokens


class UpStage(nn.Module):
    """Expand the tokens twofold, join the skip, and run two VRWKV blocks."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.expand = Expand(inputs, outputs, factor=2)
        self.fuse = linear(2 * outputs, outputs, bias=True)
        self.stage = Stage(outputs)

    def forward(self, tokens: Tensor, skip: Tensor, height: int, width: int) -> Tensor:
        """Return tokens (B, T, outputs) on the grid of the skip.

        Parameters
        ----------
        tokens : Tensor, shape (B, T / 4, inputs)
            On the grid of half the height and width.
        skip : Tensor, shape (B, T, outputs)
            The encoder's tokens on the finer grid, T = height * width.
        height, width : int
            The finer grid.
        """
        expanded = self.expand(tokens, height // 2, width // 2)
        joined = self.fuse(torch.cat((expanded, skip), -1))
        mixed: Tensor = self.stage(joined, height, width)
        return mixed


class Expand(nn.Module):
    """Turn each token into factor x factor tokens: a linear layer, moved to places, a norm."""

    def __init__(self, inputs: int, outputs: int, *, factor: int, has_norm: bool = True) -> None:
        super().__init__()
        self.factor = factor
        self.linear = linear(inputs, factor * factor * outputs, bias=True)
        self.norm = nn.LayerNorm(outputs) if has_norm else None

    def cells(self, tokens: Tensor) -> Tensor:
        """Return (B, T, factor, factor, outputs) of tokens (B, T, inputs), normalised."""
        cells = torch.unflatten(self.linear(tokens), 2, (self.factor, self.factor, -1))
        if self.norm is not None:
            cells = self.norm(cells)
        return cells

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Return (B, T * factor**2, outputs) of tokens (B, T = height * width, inputs)."""
        return spread(self.cells(tokens), height, width).flatten(1, 2)


def spread(cells: Tensor, height: int, width: int) -> Tensor:
    """Return the image (B, height * f, width * f, C) of cells (B, height * width, f, f, C)."""
    image = torch.unflatten(cells, 1, (height, width)).transpose(2, 3)  # (B, h, f, w, f, C)
    return image.flatten(3, 4).flatten(1, 2)


def _merge_places(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return (B, T / 4, 4 C): the four tokens of each 2 x 2 square in a row; even grids only."""
    batch, count, channels = tokens.shape
    squares = tokens.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(2, 3)
    return squares.reshape(batch, count // 4, 4 * channels)


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join(repr(name) for name in names)
