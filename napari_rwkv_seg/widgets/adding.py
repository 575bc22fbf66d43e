"""Add layers when a worker has ended, whatever the user does at that moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication


@contextmanager
def keeping_stroke(viewer: Any) -> Iterator[None]:
    """Let a stroke that is under way reach its layer: what is added here does not take over.

    napari sends the mouse to the active layer, and makes that of every layer that is added;
    a stroke whose end goes elsewhere is no step of undo, and nor are those after it.

    Parameters
    ----------
    viewer : napari viewer
        Layers are added to it within the context.
    """
    active = viewer.layers.selection.active
    yield
    if QGuiApplication.mouseButtons() != Qt.MouseButton.NoButton:
        viewer.layers.selection.active = active
