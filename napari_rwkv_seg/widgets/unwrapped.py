"""The viewer itself, where napari hands out a stand-in for it."""

from typing import Any


def unwrapped(viewer: Any) -> Any:
    """Return the viewer behind napari's short-lived proxy, which can be held weakly."""
    return getattr(viewer, "__wrapped__", viewer)
