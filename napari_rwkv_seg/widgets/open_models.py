"""The dock of all models, put together for a viewer."""

from typing import Any

from napari_rwkv_seg.controllers.models import ModelsController

from .model_news import news_of
from .models_dock import ModelsDock
from .unwrapped import unwrapped


class Models(ModelsDock):
    """All models and pretrained encoders: their cards, and how they come and go.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(ModelsController(), news_of(unwrapped(napari_viewer)))
