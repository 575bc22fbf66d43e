"""Measure what was segmented: every object, and how much there is of each class.

Sizes are in the unit of the image's spacing, which stands in the names of the
columns ("area_um2"); without a spacing they are in pixels. Every plane is measured
on its own, unless object numbers go on from one plane along Z to the next: such
objects are bodies, with a volume. Positions count from 0 in the order of NumPy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.inference.segment import Segmentation

from .measure_blocks import Block, blocks

Column = list[Any]
Table = dict[str, Column]

_PIXELS = "px"
_EVERYWHERE = ("label", "num_pixels", "area", "centroid", "bbox", "equivalent_diameter_area")
_OF_PLANES = ("eccentricity", "axis_major_length", "axis_minor_length")
_OF_PIXELS = ("intensity_mean", "intensity_min", "intensity_max")


@dataclass(frozen=True)
class Spacing:
    """How large a pixel is.

    Parameters
    ----------
    sizes : mapping of str to float
        Size along Z, Y and X, as far as it is known.
    unit : str
        Their unit in ASCII, such as "um" or "mm".
    """

    sizes: Mapping[str, float] = field(default_factory=dict)
    unit: str = "um"

    def along(self, axes: str) -> tuple[tuple[float, ...], str]:
        """Return the sizes along `axes` and their unit: 1 and "px" unless all are known."""
        if all(axis in self.sizes for axis in axes):
            return tuple(self.sizes[axis] for axis in axes), self.unit
        return (1.0,) * len(axes), _PIXELS


@dataclass
class Measurements:
    """What was measured in one image.

    Parameters
    ----------
    objects : dict of str to list
        A column a name, a row an object; in `objects["label"]` is its number in the labels,
        or (where labels are classes) its number within plane and class.
    classes : list of dict
        A row a class and point in time: how many objects, pixels, and how large they are together.
    """

    objects: Table = field(default_factory=dict)
    classes: list[dict[str, Any]] = field(default_factory=list)


def measure(segmentation: Segmentation, image: Any, spacing: Spacing) -> Measurements:
    """Return the measurements of an image; see `measure_steps`."""
    made = Measurements()
    for _ in measure_steps(segmentation, image, spacing, made):
        pass
    return made


def measure_steps(
    segmentation: Segmentation, image: Any, spacing: Spacing, made: Measurements
) -> Iterator[int]:
    """Fill `made` plane by plane, and yield after each how many are done.

    Parameters
    ----------
    segmentation : Segmentation
        The labels; with more than one class of objects, its probabilities say which is which.
    image : array
        The image that was segmented, in the axes of `segmentation`; a channel a column.
    spacing : Spacing
        How large its pixels are.
    made : Measurements
        Empty.
    """
    names = [each.name for each in segmentation.card.classes]
    tally = _Tally(names, segmentation, spacing)
    for done, block in enumerate(blocks(segmentation, image), start=1):
        for number, objects in block.objects_by_class(len(names)):
            table = _table(block, objects, spacing)
            rows = len(table["label"])
            _append(made.objects, {"class": [names[number]] * rows} | table)
            tally.add(block, number, rows, int(np.count_nonzero(objects)))
        yield done
    made.classes.extend(tally.rows())


def _append(objects: Table, rows: Table) -> None:
    """Add rows to a table that has the same columns, or none."""
    for name, values in rows.items():
        objects.setdefault(name, []).extend(values)


def _table(block: Block, objects: NDArray[np.integer[Any]], spacing: Spacing) -> Table:
    """Return a row for every object of a block."""
    from skimage.measure import regionprops_table

    sizes, unit = spacing.along(block.axes)
    properties = (*_EVERYWHERE, *(_OF_PLANES if len(block.axes) == 2 else ()), *_OF_PIXELS)
    found: dict[str, NDArray[Any]] = regionprops_table(  # type: ignore[no-untyped-call]
        objects, block.pixels, properties=properties, spacing=sizes
    )
    table: Table = {"label": found["label"].tolist()}
    for letter, place in block.place.items():
        table[letter.lower()] = [place] * len(found["label"])
    table |= _sizes(found, len(block.axes), unit)
    for axis, (letter, size) in enumerate(zip(block.axes.lower(), sizes, strict=True)):
        centre = found[f"centroid-{axis}"]
        table[f"centroid_{letter}_px"] = (centre / size).tolist()
        table[f"centroid_{letter}_{unit}"] = centre.tolist()
        table[f"bbox_{letter}_from"] = found[f"bbox-{axis}"].tolist()
        table[f"bbox_{letter}_to"] = found[f"bbox-{axis + len(block.axes)}"].tolist()
    for channel in range(block.pixels.shape[-1]):
        for what in ("mean", "min", "max"):
            table[f"{what}_channel_{channel}"] = found[f"intensity_{what}-{channel}"].tolist()
    return table


def _sizes(found: Mapping[str, NDArray[Any]], dimensions: int, unit: str) -> Table:
    """Return the columns that say how large objects are, and what shape they have."""
    size = "area" if dimensions == 2 else "volume"
    table: Table = {f"{size}_px": found["num_pixels"].tolist()}
    if unit != _PIXELS:
        table[f"{size}_{unit}{dimensions}"] = found["area"].tolist()
    table[f"diameter_{unit}"] = found["equivalent_diameter_area"].tolist()
    if dimensions == 2:
        table[f"major_axis_{unit}"] = found["axis_major_length"].tolist()
        table[f"minor_axis_{unit}"] = found["axis_minor_length"].tolist()
        table["eccentricity"] = found["eccentricity"].tolist()
    return table


class _Tally:
    """Counts objects and pixels of every class, at every point in time."""

    def __init__(self, names: list[str], segmentation: Segmentation, spacing: Spacing) -> None:
        axes = segmentation.axes.replace("C", "")
        self._names = names
        self._at = axes.find("T")
        shape = segmentation.labels.shape
        self._times = shape[self._at] if self._at >= 0 else 1
        self._pixels = int(np.prod(shape, dtype=object)) // max(1, self._times)
        sizes, unit = spacing.along(axes.replace("T", ""))
        self._size = float(np.prod(sizes))
        self._unit = unit if unit == _PIXELS else f"{unit}{len(sizes)}"
        self._counts = np.zeros((self._times, len(names), 2), np.int64)

    def add(self, block: Block, number: int, objects: int, pixels: int) -> None:
        """Count the objects of a class in a block."""
        self._counts[block.place.get("T", 0), number] += (objects, pixels)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for every point in time and class but the background."""
        return [
            ({"t": time} if self._at >= 0 else {})
            | {
                "class": name,
                "objects": int(objects),
                "pixels": int(pixels),
                "size": float(pixels * self._size),
                "size_unit": self._unit,
                "share": float(pixels / max(1, self._pixels)),
                "mean_object_size": float(pixels * self._size / objects) if objects else None,
            }
            for time in range(self._times)
            for name, (objects, pixels) in zip(self._names[1:], self._counts[time, 1:], strict=True)
        ]
