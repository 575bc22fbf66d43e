"""RWKV U-Nets that segment images: in napari, from the shell and from Python.

`segment` turns an image into labels, `segment_batch` whole folders, `finetune`
trains a model further on labels, `evaluate` compares labels with the truth,
`load_model` loads a model for many images, `list_models` says which there are.
Importing this costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .controllers.batch import segment_batch
    from .evaluation.run import evaluate
    from .inference.loading import load_model
    from .inference.segment import segment
    from .training.api import finetune
    from .zoo.store import list_models

    __version__: str

_ROOMS = {
    "evaluate": "napari_rwkv_seg.evaluation.run",
    "finetune": "napari_rwkv_seg.training.api",
    "list_models": "napari_rwkv_seg.zoo.store",
    "load_model": "napari_rwkv_seg.inference.loading",
    "segment_batch": "napari_rwkv_seg.controllers.batch",
    "segment": "napari_rwkv_seg.inference.segment",
}
__all__ = [
    "__version__",
    "evaluate",
    "finetune",
    "list_models",
    "load_model",
    "segment",
    "segment_batch",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def _version() -> str:
    """Return the version of the installed distribution."""
    from importlib import metadata

    try:
        return metadata.version("napari-rwkv-seg")
    except metadata.PackageNotFoundError:
        return "0+unknown"  # run from a checkout that is not installed
