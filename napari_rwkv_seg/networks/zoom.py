"""Networks that see images enlarged: for objects of few pixels, beside strides of 16."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional


def zoomed(network: Callable[[Tensor], Tensor], image: Tensor, zoom: int) -> Tensor:
    """Return what a network says of an image that it sees `zoom` times as large.

    Parameters
    ----------
    network : callable
        From images (B, C, zoom * H, zoom * W) to logits (B, classes, zoom * H, zoom * W).
    image : Tensor
        (B, C, H, W).
    zoom : int
        1 leaves everything as it is.

    Returns
    -------
    Tensor
        Logits (B, classes, H, W), each the mean over what its pixel became.
    """
    if zoom == 1:
        return network(image)
    larger = functional.interpolate(image, scale_factor=zoom, mode="bilinear")
    return functional.avg_pool2d(network(larger), zoom)
