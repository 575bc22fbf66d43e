"""The dock that segments many images, put together for a viewer."""

from typing import Any

from napari_rwkv_seg.controllers.batch_control import BatchController
from napari_rwkv_seg.zoo.store import list_models

from .batch_dock import BatchDock
from .batch_link import BatchLink
from .model_news import news_of
from .unwrapped import unwrapped


class SegmentManyImages(BatchDock):
    """Segment folders of images, with a row for each.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        viewer = unwrapped(napari_viewer)
        controller = BatchController()
        super().__init__(controller, BatchLink(viewer, controller), list_models)
        self._ending.connect((news_of(viewer).changed, self.reload_models))
