"""Images of a batch that are too large for memory: streamed into a store beside the other results.

Such an image is recognised by what its file declares, before a pixel is read. Its
labels are an OME-Zarr store that is filled in place: a run that is cut off goes on
there. With a cluster, rows of its blocks are run by all workers (`stream_cluster`).
"""

import contextlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.errors import ClusterError, RwkvSegError
from napari_rwkv_seg.files import cannot_write

from .batch_choices import BatchChoices
from .batch_items import BatchItem
from .batch_results import results_of
from .batch_rows import Row
from .batch_work import Load, Order, Steps, sentence
from .streaming import must_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_rwkv_seg.images.image_file import ImageFile
    from napari_rwkv_seg.inference.progress import Progress
    from napari_rwkv_seg.inference.stream_work import StreamWork
    from napari_rwkv_seg.inference.streaming import StreamedSegmentation

    Elsewhere = Callable[[StreamWork], Iterator[Progress]]

ENDING = ".ome.zarr"


def opened_if_huge(item: BatchItem, choices: BatchChoices) -> "ImageFile | None":
    """Return an image, opened without reading pixels, if it is to be streamed; else None.

    An image that cannot be opened is none: whoever reads it says what is wrong.
    """
    from napari_rwkv_seg.images.kinds import Kind, kind_of
    from napari_rwkv_seg.images.readers import open_image

    if item.read is not None or choices.stream is False:
        return None
    try:
        if kind_of(item.image) not in (Kind.TIFF, Kind.ZARR, Kind.NIFTI):
            return None  # the others cannot be read in parts
        image = open_image(item.image)
    except RwkvSegError:
        return None
    if image.is_labels:
        return None
    axes = choices.axes or image.axes
    is_fit = len(axes) == len(image.data.shape) and {"Y", "X"} <= set(axes)
    shape, itemsize = image.data.shape, image.data.dtype.itemsize
    is_huge = is_fit and (choices.stream or must_stream(shape, axes, itemsize))
    return image if is_huge else None


def stream_item(
    item: BatchItem,
    row: Row,
    order: Order,
    load: Load,
    image: "ImageFile",
    elsewhere: "Elsewhere | None" = None,
) -> Steps:
    """Stream one image, yielding before every tile; as `item_steps` otherwise.

    Parameters
    ----------
    item, row, order, load
        As `item_steps`.
    image : ImageFile
        From `opened_if_huge`.
    elsewhere : callable, optional
        Has rows run by other processes; see `segment_to_store_steps`.

    Raises
    ------
    ClusterError
        If the cluster is gone; what else goes wrong is said in the row.
    """
    from napari_rwkv_seg.inference.stream_folder import is_complete

    start = time.monotonic()
    store = results_of(item, order.out, ENDING).labels
    was_there = is_complete(store)
    model = load()
    try:
        done = yield from _filled(store, image, model, order.choices, elsewhere)
    except ClusterError:
        raise  # without its workers the whole batch ends, as it does where images are shared
    except Exception as error:  # noqa: BLE001 - a job's boundary: the other images must still be done
        seconds = time.monotonic() - start
        return replace(row, state="failed", note=sentence(error), seconds=seconds)
    row = replace(row, labels=store.relative_to(order.out).as_posix())
    if was_there and not order.choices.overwrite:
        return replace(row, state="skipped", note="Its result is there, made by the same choices.")
    notes = [*done.notes, _left_out(order.choices)]
    seconds = time.monotonic() - start
    return replace(row, state="done", note=" ".join(filter(None, notes)), seconds=seconds)


def _filled(
    store: Path,
    image: "ImageFile",
    model: Any,
    choices: BatchChoices,
    elsewhere: "Elsewhere | None",
) -> "Generator[Progress, None, StreamedSegmentation]":
    """Fill a store; return what it holds."""
    from napari_rwkv_seg.inference.streaming import StreamOptions, segment_to_store_steps

    try:
        store.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(store, error) from error
    return (
        yield from segment_to_store_steps(
            image.data,
            model,
            store,
            axes=choices.axes or image.axes,
            settings=choices.labels_for(model.card),
            tile_size=choices.tile_size,
            channel=choices.channel,
            options=StreamOptions(
                geometry=image.geometry,
                begin_anew=choices.overwrite,
                keep_classes=False,
                about={"image": image.path.name},
                source=_source(image),
            ),
            elsewhere=elsewhere,
        )
    )


def _source(image: "ImageFile") -> dict[str, Any]:
    """Return what tells a file from what it was before, beside the pixels that are compared."""
    from napari_rwkv_seg.images.tiff_meaning import geometry_as_json

    facts: dict[str, Any] = {"place of the pixels": json.dumps(geometry_as_json(image.geometry))}
    with contextlib.suppress(OSError):  # whoever reads it says so
        status = image.path.stat()
        if not image.path.is_dir():  # a folder's own size and time say nothing of its chunks
            facts |= {"size of the file": status.st_size, "time of the file": int(status.st_mtime)}
    return facts


def _left_out(choices: BatchChoices) -> str:
    """Return what was chosen and is not made of streamed images."""
    parts = [
        word
        for word, is_wished in (
            ("measurements", choices.measure),
            ("a picture", choices.overlay),
            ("planes across other axes", choices.directions != "Z"),
            (f"the format {choices.format}", choices.format not in ("ome-tiff", "ome-zarr")),
        )
        if is_wished
    ]
    left_out = f", without {', '.join(parts)}" if parts else ""
    return f"It was streamed into an OME-Zarr store{left_out}."
