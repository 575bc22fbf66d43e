"""The dock that fine-tunes, put together for a viewer."""

from typing import Any

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.zoo.store import list_models

from .finetune_dock import FinetuneDock
from .finetune_link import FinetuneLink
from .model_news import news_of
from .recovery_row import put_on_top
from .unwrapped import unwrapped


class FinetuneOnMyLabels(FinetuneDock):
    """Train a copy of a model on corrected labels, while the window stays usable.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        viewer = unwrapped(napari_viewer)
        controller = FinetuneController()
        link = FinetuneLink(viewer, controller)
        news = news_of(viewer)
        super().__init__(controller, link, news, list_models)
        self._ending.connect((news.changed, self.reload_models))
        put_on_top(self, viewer)
