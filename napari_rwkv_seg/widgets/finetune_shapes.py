"""Which pixels of labels lie inside drawn boxes: rectangles, ellipses and polygons.

A shape belongs to the plane that it was drawn on; shapes of a layer with fewer
axes than the labels count on every plane, as napari shows them. Outlines are found
on the main thread, through the transforms of both layers; filling is for a worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels, Shapes
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError

from .regions import data_point, ellipse_outline


@dataclass(frozen=True, eq=False)
class Outline:
    """A shape on labels.

    Parameters
    ----------
    place : tuple of int, or None
        The plane that it lies on; None for every plane.
    corners : array (N, 2)
        Its corners, y and x in pixels of the labels.
    """

    place: tuple[int, ...] | None
    corners: NDArray[np.float64]


def outlines_on(viewer: Any, shapes: Shapes, labels: Labels, axes: str) -> list[Outline]:
    """Return the outlines of all shapes of a layer, in pixels of labels.

    Parameters
    ----------
    viewer : napari viewer
        Has both layers.
    shapes : Shapes
        The drawn boxes.
    labels : Labels
        What they were drawn on.
    axes : str
        One letter for every axis of the labels; T and Z count planes.

    Raises
    ------
    ImageError
        If nothing is drawn, or among the shapes is a line, or one that lies across planes.
    """
    if not len(shapes.data):
        raise ImageError(f"Draw boxes around what you have checked in layer {shapes.name!r}.")
    found = []
    for corners, kind in zip(shapes.data, shapes.shape_type, strict=True):
        if kind in ("line", "path"):
            raise ImageError(
                f"A line has no area; draw rectangles, ellipses or polygons in {shapes.name!r}."
            )
        points = np.asarray(corners, dtype=np.float64)
        points = ellipse_outline(points) if kind == "ellipse" else points
        inside = np.asarray([data_point(viewer, labels, shapes, point) for point in points])
        place = _place_of(inside, axes, shapes.name) if shapes.ndim >= labels.ndim else None
        found.append(Outline(place, inside[:, [axes.index("Y"), axes.index("X")]]))
    return found


def filled(
    outlines: Sequence[Outline], place: tuple[int, ...], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return which pixels (Y, X) of a plane lie inside any of its outlines."""
    from skimage.draw import polygon

    mask = np.zeros(shape, dtype=bool)
    for outline in outlines:
        if outline.place in (None, place):
            mask[polygon(outline.corners[:, 0], outline.corners[:, 1], shape)] = True
    return mask


def _place_of(corners: NDArray[np.float64], axes: str, name: str) -> tuple[int, ...]:
    """Return the plane that corners (N, D) lie on; refuse those drawn in a view from the side."""
    stack = [axis for axis, letter in enumerate(axes) if letter in "TZ"]
    if np.ptp(corners[:, stack], axis=0).max(initial=0) > 0.5:
        raise ImageError(
            f"A shape in {name!r} lies across planes; draw it on one plane, with Y and X in view."
        )
    return tuple(round(float(at)) for at in corners[:, stack].mean(axis=0))
