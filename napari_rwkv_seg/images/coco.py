"""Write labels as COCO JSON: exact masks as run lengths, boxes, areas and categories."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.files import write_atomically

from .writers import smallest_dtype

OBJECT = "object"  # the category of labels that are no classes


def write_coco(
    path: Path,
    labels: NDArray[np.integer[Any]],
    image_name: str,
    names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write labels as COCO.

    Parameters
    ----------
    path : Path
        The file to make or to replace.
    labels : integer array (..., Y, X)
        Every plane of a stack is an image of its own, with its place as `plane`.
    image_name : str
        The name of the image, without its folder.
    names : sequence of str
        What 0, 1, 2 … mean: every connected area of a class (pixels that share a side) is an
        annotation. Without them every number in a plane is one, of the category "object".
    provenance : mapping, optional
        How the labels were made; kept under `info`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    ValueError
        If the labels are not whole numbers from 0, or one has no name.
    """
    smallest_dtype(labels)
    if names and labels.size and int(labels.max()) >= len(names):
        raise ValueError(
            f"There are names for 0 to {len(names) - 1}, but a label is {labels.max()}."
        )
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    stack = labels.shape[:-2]
    for number, index in enumerate(np.ndindex(*stack), 1):
        plane = np.asarray(labels[index])
        image: dict[str, Any] = {"id": number, "file_name": image_name}
        image |= {"height": plane.shape[0], "width": plane.shape[1]}
        images.append(image | ({"plane": list(index)} if stack else {}))
        for category, box, mask in _areas(plane, len(names)):
            told = _annotation(plane.shape, box, mask)
            told |= {"id": len(annotations) + 1, "image_id": number, "category_id": category}
            annotations.append(told)
    categories = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in (list(enumerate(names))[1:] or [(1, OBJECT)])
    ]
    content = {
        "info": {"description": "Labels of napari-rwkv-seg", **dict(provenance or {})},
        "licenses": [],
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    write_atomically(path, lambda file: file.write(text))


def _areas(
    plane: NDArray[Any], classes: int
) -> Iterator[tuple[int, tuple[slice, slice], NDArray[np.bool_]]]:
    """Yield category, box and mask within the box of everything that is annotated."""
    from scipy import ndimage

    if not classes:
        present, numbered = np.unique(plane, return_inverse=True)  # numbers may be far apart
        numbered = numbered.reshape(plane.shape) + int(present[:1].any())
        for place, box in enumerate(ndimage.find_objects(numbered), 1):
            if box is not None:
                yield 1, box, numbered[box] == place
        return
    for number in range(1, classes):
        parts, _ = ndimage.label(plane == number)
        for place, box in enumerate(ndimage.find_objects(parts), 1):
            yield number, box, parts[box] == place


def _annotation(
    shape: tuple[int, ...], box: tuple[slice, slice], mask: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return mask, box and area of one annotation; COCO counts down the columns, from 0."""
    columns, rows = np.nonzero(mask.T)
    places = (columns + box[1].start) * shape[0] + rows + box[0].start
    starts = np.flatnonzero(np.diff(places, prepend=-2) != 1)
    lengths = np.diff(starts, append=len(places))
    ends = places[starts] + lengths
    gaps = places[starts] - np.concatenate([[0], ends[:-1]])
    counts = np.stack([gaps, lengths], axis=1).ravel().tolist()
    rest = shape[0] * shape[1] - int(ends[-1])
    return {
        "segmentation": {"size": list(shape), "counts": counts + ([rest] if rest else [])},
        "area": len(places),
        "bbox": [box[1].start, box[0].start, mask.shape[1], mask.shape[0]],
        "iscrowd": 0,
    }
