"""The dock that compares labels, put together for a viewer."""

from typing import Any

from napari_rwkv_seg.controllers.evaluate import EvaluateController

from .evaluate_dock import EvaluateDock
from .evaluate_link import EvaluateLink
from .recovery_row import put_on_top
from .unwrapped import unwrapped


class Evaluate(EvaluateDock):
    """Compare labels with the truth, and show how well they agree and where not.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock is opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        viewer = unwrapped(napari_viewer)
        controller = EvaluateController()
        super().__init__(controller, EvaluateLink(viewer, controller))
        put_on_top(self, viewer)
