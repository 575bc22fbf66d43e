"""What napari.yaml names: the docks, each put together for one viewer.

napari gives the viewer to a QWidget subclass whose parameter is called
`napari_viewer`. Opening a dock imports neither torch nor SciPy.
"""

from typing import Any

from napari_rwkv_seg.controllers.batch_control import BatchController
from napari_rwkv_seg.controllers.evaluate import EvaluateController
from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.models import ModelsController
from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.zoo.store import list_models

from .batch_dock import BatchDock
from .batch_link import BatchLink
from .evaluate_dock import EvaluateDock
from .evaluate_link import EvaluateLink
from .finetune_dock import FinetuneDock
from .finetune_link import FinetuneLink
from .installation_dock import InstallationDock
from .model_news import news_of
from .models_dock import ModelsDock
from .recovery_row import put_on_top
from .segment_dock import SegmentDock
from .viewer_link import ViewerLink


class SegmentWithMedURWKV(SegmentDock):
    """Segment an image layer, and adjust the labels.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        viewer = _unwrapped(napari_viewer)
        controller = SegmentController()
        super().__init__(controller, ViewerLink(viewer, controller), list_models)
        news = news_of(viewer)
        if news.preferred:
            self.use_model(news.preferred)
        for signal, slot in ((news.adopted, self.use_model), (news.changed, self.reload_models)):
            signal.connect(slot)
            self._connections.append((signal, slot))  # let go of with the others
        put_on_top(self, viewer)


class FinetuneOnMyLabels(FinetuneDock):
    """Train a copy of a model on corrected labels, while the window stays usable.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        viewer = _unwrapped(napari_viewer)
        controller = FinetuneController()
        link = FinetuneLink(viewer, controller)
        news = news_of(viewer)
        super().__init__(controller, link, news, list_models)
        self._ending.connect((news.changed, self.reload_models))
        put_on_top(self, viewer)


class Models(ModelsDock):
    """All models and pretrained encoders: their cards, and how they come and go.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(ModelsController(), news_of(_unwrapped(napari_viewer)))


class Evaluate(EvaluateDock):
    """Compare labels with the truth, and show how well they agree and where not.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        viewer = _unwrapped(napari_viewer)
        controller = EvaluateController()
        super().__init__(controller, EvaluateLink(viewer, controller))
        put_on_top(self, viewer)


class SegmentManyImages(BatchDock):
    """Segment folders of images, with a row for each.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        viewer = _unwrapped(napari_viewer)
        controller = BatchController()
        super().__init__(controller, BatchLink(viewer, controller), list_models)


class CheckInstallation(InstallationDock):
    """Show versions, device, threads, models and memory, to copy into a report."""


def _unwrapped(viewer: Any) -> Any:
    """Return the viewer behind napari's short-lived proxy, which can be held weakly."""
    return getattr(viewer, "__wrapped__", viewer)
