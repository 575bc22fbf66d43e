"""From a card and the bytes of its weights to a network: for models and encoders alike.

torch is imported only here and when something is built.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.errors import ModelError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes

from .weights import WEIGHTS_FILE, digest, load_weights

if TYPE_CHECKING:
    from torch import nn


def build_checked(architecture: str, variant: str, **settings: Any) -> "nn.Module":
    """Return a fresh network as a card describes it; torch's random numbers stay as they were.

    Raises
    ------
    ModelError
        If there is no such architecture, variant or setting.
    """
    import torch

    from napari_rwkv_seg.networks import build_network

    try:
        with torch.random.fork_rng(devices=[]):
            return build_network(architecture, variant, **settings)
    except (ValueError, TypeError) as error:
        raise ModelError(f"Its architecture cannot be built: {error}") from error


def read_checked(
    folder: Path, build: Callable[[], "nn.Module"], sha256: str, limit: int, what: str
) -> tuple["nn.Module", tuple[str, ...]]:
    """Return the network of a folder in float32 and eval mode, and what is unusual about it.

    The weights are read once; the bytes that are hashed are the bytes that are
    loaded, and the file is not needed afterwards.

    Parameters
    ----------
    folder : Path
        Holds the weights.
    build : callable
        Makes the network that they belong to.
    sha256 : str
        Of the file of the weights, as its card says.
    limit : int
        Most bytes that it may have.
    what : str
        What it is, for the errors: "model" or "encoder".

    Raises
    ------
    ModelError
        If the weights are missing, changed, damaged, not finite, or of another
        architecture than the card says; the text names the folder.
    """
    try:
        content = read_bytes(folder / WEIGHTS_FILE, limit)
        if digest(content) != sha256:
            raise ModelError(
                "The weights are not those that the card was written for (SHA-256 differs)."
            )
        network = build()
        notes = load_weights(network, content)
    except (ModelError, UnreadableFileError) as error:
        raise ModelError(
            f"{what.capitalize()} {folder.name!r} ({folder}) cannot be used. {error} "
            f"Get the {what} again from where it came."
        ) from error
    return network.float().eval(), notes
