"""The dock that segments, put together for a viewer."""

from typing import Any

from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.zoo.store import list_models

from .model_news import news_of
from .recovery_row import put_on_top
from .segment_dock import SegmentDock
from .unwrapped import unwrapped
from .viewer_link import ViewerLink


class SegmentWithMedURWKV(SegmentDock):
    """Segment an image layer, and adjust the labels.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        viewer = unwrapped(napari_viewer)
        controller = SegmentController()
        super().__init__(controller, ViewerLink(viewer, controller), list_models)
        news = news_of(viewer)
        if news.preferred:
            self.use_model(news.preferred)
        for signal, slot in ((news.adopted, self.use_model), (news.changed, self.reload_models)):
            signal.connect(slot)
            self._connections.append((signal, slot))  # let go of with the others
        put_on_top(self, viewer)
