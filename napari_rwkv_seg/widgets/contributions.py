"""What napari.yaml names: the docks, each put together for one viewer.

napari gives the viewer to a QWidget subclass whose parameter is called
`napari_viewer`. A dock's modules are imported when it is asked for: opening one
brings neither the others nor torch or SciPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.waiting import wait_briefly

if TYPE_CHECKING:
    from .open_batch import SegmentManyImages
    from .open_evaluate import Evaluate
    from .open_finetune import FinetuneOnMyLabels
    from .open_installation import CheckInstallation
    from .open_models import Models
    from .open_segment import SegmentWithMedURWKV

__all__ = [
    "CheckInstallation",
    "Evaluate",
    "FinetuneOnMyLabels",
    "Models",
    "SegmentManyImages",
    "SegmentWithMedURWKV",
]

_PLACES = {
    "SegmentWithMedURWKV": "open_segment",
    "FinetuneOnMyLabels": "open_finetune",
    "Models": "open_models",
    "Evaluate": "open_evaluate",
    "SegmentManyImages": "open_batch",
    "CheckInstallation": "open_installation",
}


def __getattr__(name: str) -> Any:
    """Import a dock when it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    wait_briefly()  # torch is not loaded yet, unless another plugin has
    return getattr(import_module(f".{_PLACES[name]}", __package__), name)
