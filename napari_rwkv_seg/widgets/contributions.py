"""What napari.yaml names: the docks, each put together for one viewer.

napari gives the viewer to a QWidget subclass whose parameter is called
`napari_viewer`. Opening a dock imports neither torch nor SciPy.
"""

from typing import Any

from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.zoo.store import list_models

from .installation_dock import InstallationDock
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
        # napari hands out a short-lived proxy; the viewer behind it is what can be held weakly
        viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        controller = SegmentController()
        super().__init__(controller, ViewerLink(viewer, controller), list_models)
        put_on_top(self, viewer)


class CheckInstallation(InstallationDock):
    """Show versions, device, threads, models and memory, to copy into a report."""
