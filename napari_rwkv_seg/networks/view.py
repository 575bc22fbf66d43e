"""How a network is shown an image: turned, enlarged if objects are small, framed if it is small."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class View:
    """How a network sees images; no weight depends on it.

    Attributes
    ----------
    zoom : int
        How many times as large the network sees an image. Time and memory grow with its square.
    least_side : int
        Pixels to which shorter sides are mirrored, outside of training. There, an image that
        is smaller than a crop lies in its middle, mirrored at its borders, and a network whose
        blocks mix all tokens knows no other view of it.
    half_turn : bool
        Whether the network sees images upside down, turned by 180 degrees, in training too: for
        one that learnt planes of volumes which stand the other way than they are read.
    """

    zoom: int = 1
    least_side: int = 1
    half_turn: bool = False

    def show(
        self, network: Callable[[Tensor], Tensor], image: Tensor, *, in_training: bool
    ) -> Tensor:
        """Return a network's logits (B, classes, H, W) of images (B, C, H, W).

        Parameters
        ----------
        network : callable
            From images (B, C, Y, X) to logits (B, classes, Y, X) of any Y, X.
        image : Tensor
            The images.
        in_training : bool
            Whether these are crops, as large as is wanted.
        """
        if self.half_turn:
            upright = replace(self, half_turn=False)
            logits = upright.show(network, image.flip(-2, -1), in_training=in_training)
            return logits.flip(-2, -1)
        height, width = image.shape[-2:]
        if in_training or min(height, width) >= self.least_side:
            return self._zoomed(network, image)
        rows, top = _mirrored(height, self.least_side, image.device)
        columns, left = _mirrored(width, self.least_side, image.device)
        logits = self._zoomed(network, image.index_select(-2, rows).index_select(-1, columns))
        return logits[..., top : top + height, left : left + width].contiguous()

    def _zoomed(self, network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """Return logits that are means over what each pixel became."""
        if self.zoom == 1:
            return network(image)
        larger = functional.interpolate(image, scale_factor=self.zoom, mode="bilinear")
        return functional.avg_pool2d(network(larger), self.zoom)


AS_IT_IS = View()


def _mirrored(length: int, least: int, device: torch.device) -> tuple[Tensor, int]:
    """Return which pixels a side shows when it is mirrored to a least length, and its margin."""
    margin = max(least - length, 0) // 2
    places = (torch.arange(max(length, least), device=device) - margin).remainder(2 * length)
    return torch.minimum(places, 2 * length - 1 - places), margin
