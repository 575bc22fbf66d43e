"""From image to labels: load a model, predict tile by tile, make labels.

Importing this costs no torch; a name loads its room when it is first used.
Knows nothing of training and of windows. (`segment` itself is the room of that
name, and the function of the package's face.)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .labels import label_probabilities
    from .loading import Model, load_model
    from .predictor import Prediction, Progress, predict_steps
    from .segment import Segmentation, relabel, relabel_steps, segment_steps
    from .settings import LabelSettings
    from .streaming import StreamedSegmentation, StreamOptions, segment_to_store_steps

_ROOMS = {
    "LabelSettings": "settings",
    "Model": "loading",
    "Prediction": "predictor",
    "Progress": "predictor",
    "Segmentation": "segment",
    "StreamOptions": "streaming",
    "StreamedSegmentation": "streaming",
    "label_probabilities": "labels",
    "load_model": "loading",
    "predict_steps": "predictor",
    "relabel": "segment",
    "relabel_steps": "segment",
    "segment_steps": "segment",
    "segment_to_store_steps": "streaming",
}
__all__ = [
    "LabelSettings",
    "Model",
    "Prediction",
    "Progress",
    "Segmentation",
    "StreamOptions",
    "StreamedSegmentation",
    "label_probabilities",
    "load_model",
    "predict_steps",
    "relabel",
    "relabel_steps",
    "segment_steps",
    "segment_to_store_steps",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
