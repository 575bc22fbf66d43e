"""Pixels and what they mean: axes, spacing, readers and writers.

NumPy only: knows no network, no device and no window.
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
from .readers import ImageFile, read_image
from .writers import write_labels, write_overlay

__all__ = [
    "AXES_CHOICES",
    "ImageFile",
    "check_axes",
    "describe_axes",
    "guess_axes",
    "plane_shape",
    "planes",
    "read_image",
    "stack_shape",
    "write_labels",
    "write_overlay",
]
