"""One tile through a network, and what to do when memory runs out.

The only room of inference that computes with torch. Leaves torch's settings as
they are; gradients are off for the tile alone.
"""

import gc
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ModelError

from .loading import Model

if TYPE_CHECKING:
    from torch import Tensor

# What torch and its allocators say; they raise a plain RuntimeError on the CPU.
_OUT_OF_MEMORY = (
    *("out of memory", "not enough memory", "can't allocate memory", "cannot allocate"),
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED and its kin
)


def run_tile(model: Model, pixels: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the probabilities of a tile, or None if memory ran out.

    Parameters
    ----------
    model : Model
        The network, its device, and of how many views of the tile the mean is taken.
    pixels : float32 array (C, Y, X)
        Normalised pixels; not changed.

    Returns
    -------
    float32 array (K, Y, X), or None
        None leaves no tensor of the try behind.

    Raises
    ------
    ModelError
        If the answer has another shape than the card says, or is not finite.
    """
    try:
        return _mean_of_views(model, pixels)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # Here the error is gone, and with its traceback the tensors that it kept alive.
    _release_memory(model.device)
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, whatever its type."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _OUT_OF_MEMORY)


def _mean_of_views(model: Model, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean probabilities (K, Y, X) of the views that the model is to take.

    What it says of a mirrored or turned tile is turned back first. The eight are all the
    ways in which a square lies on itself (test-time augmentation; nnU-Net mirrors alike).
    """
    if model.views == 1:
        return _probabilities(model, pixels)
    total = np.zeros((len(model.card.classes), *pixels.shape[1:]), dtype=np.float32)
    for is_turned in (False, True)[: model.views // 4]:
        seen, summed = (one.swapaxes(1, 2) if is_turned else one for one in (pixels, total))
        for flips in product((slice(None), slice(None, None, -1)), repeat=2):
            view = (slice(None), *flips)
            summed[view] += _probabilities(model, seen[view])
    total /= model.views
    return total


def _probabilities(model: Model, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the classes of what the network says (K, Y, X)."""
    import torch

    with torch.inference_mode():
        tile = torch.from_numpy(np.ascontiguousarray(pixels)).to(model.device)
        logits: Tensor = model.network(tile[None])
        wanted = (1, len(model.card.classes), *pixels.shape[1:])
        if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != wanted:
            got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelError(
                f"Model {model.card.name!r} does not segment: it returned {got}, expected {wanted}."
            )
        probabilities: NDArray[np.float32] = torch.softmax(logits[0].float(), 0).cpu().numpy()
    if not np.isfinite(probabilities).all():
        raise ModelError(
            f"Model {model.card.name!r} returned values that are not finite for this image. "
            "Its weights may be damaged; get the model again, or choose another one."
        )
    return probabilities


def _release_memory(device: str) -> None:
    """Give back what torch keeps for later."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
