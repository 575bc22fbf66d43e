"""Pixels and what they mean: axes, spacing, readers and writers.

Knows no network, no device and no window; libraries of formats load when they are wanted.
"""

from .axes import (
    AXES_CHOICES,
    check_axes,
    describe_axes,
    guess_axes,
    plane_shape,
    planes,
    stack_shape,
)
from .geometry import Geometry
from .image_file import ImageFile, Level
from .readers import levels, open_image, read_image
from .saving import FORMATS, LabelClass, save_labels
from .writers import write_labels, write_overlay

__all__ = [
    "AXES_CHOICES",
    "FORMATS",
    "Geometry",
    "ImageFile",
    "LabelClass",
    "Level",
    "check_axes",
    "describe_axes",
    "guess_axes",
    "levels",
    "open_image",
    "plane_shape",
    "planes",
    "read_image",
    "save_labels",
    "stack_shape",
    "write_labels",
    "write_overlay",
]
