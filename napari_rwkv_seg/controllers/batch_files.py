"""The files that one image of a batch ends in: labels, measurements, a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .batch_rows import write_csv

if TYPE_CHECKING:
    from napari_rwkv_seg.evaluation.measure import Measurements, Spacing
    from napari_rwkv_seg.images.readers import ImageFile
    from napari_rwkv_seg.inference.segment import Segmentation


def spacing(image: "ImageFile") -> "Spacing":
    """Return how large the pixels of a file are, as far as it says so: in mm or in µm."""
    from napari_rwkv_seg.evaluation.measure import Spacing
    from napari_rwkv_seg.images.geometry import TO_MICROMETRES, flat_geometry

    geometry = image.geometry if image.geometry.axes else flat_geometry("YX", image.pixel_size)
    known = {
        axis: (size, unit)
        for axis, size, unit in zip(geometry.axes, geometry.spacing, geometry.units, strict=True)
        if axis in "ZYX" and unit in TO_MICROMETRES
    }
    if all(unit == "millimeter" for _, unit in known.values()):
        return Spacing({axis: size for axis, (size, _) in known.items()}, "mm")
    return Spacing({axis: size * TO_MICROMETRES[unit] for axis, (size, unit) in known.items()})


def write_objects(path: Path, image: str, measured: "Measurements") -> None:
    """Write a row for every object."""
    columns = ["image", *measured.objects]
    rows = zip(*measured.objects.values(), strict=True)
    write_csv(path, columns, ((image, *row) for row in rows))


def write_labels(
    path: Path, result: "Segmentation", image: "ImageFile", record: dict[str, Any], form: str
) -> None:
    """Write the labels at the image's place in the world."""
    from napari_rwkv_seg.images.saving import save_labels

    save_labels(
        path,
        result.labels,
        image,
        axes=result.axes.replace("C", ""),
        format=form,
        classes=result.card.classes if result.settings.output == "classes" else None,
        provenance=record,
    )


def write_overlay(path: Path, image: Any, result: "Segmentation") -> None:
    """Write image and labels as one picture; of a stack, its middle plane."""
    from napari_rwkv_seg.images.axes import planes, stack_shape
    from napari_rwkv_seg.images.writers import write_overlay

    middle = tuple(length // 2 for length in stack_shape(image.shape, result.axes))
    plane = next(plane for index, plane in planes(image, result.axes) if index == middle)
    colors = [each.color for each in result.card.classes]
    by_class = result.settings.output == "classes"
    write_overlay(path, plane, result.labels[middle], colors if by_class else None)
