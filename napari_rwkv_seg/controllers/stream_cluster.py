"""The rows of blocks of one huge image as tasks of a cluster.

The driver measures brightness and makes labels of classes; the network, nearly all
of the work, runs on the workers. They open image and store by their paths, write
whole blocks, and tell which; only the driver writes down what is done.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .batch_choices import BatchChoices
from .batch_cluster import model_of
from .batch_tasks import Task, run_tasks
from .batch_workers import Crew

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_rwkv_seg.inference.progress import Progress
    from napari_rwkv_seg.inference.settings import LabelSettings
    from napari_rwkv_seg.inference.stream_state import Layout
    from napari_rwkv_seg.inference.stream_work import StreamWork

    from .batch_stream import Elsewhere

ROWS = 4  # blocks that a task does below each other; at its ends tiles are run twice


@dataclass(frozen=True)
class Share:
    """Rows of blocks that a worker runs.

    Parameters
    ----------
    image, store : Path
        Absolute.
    choices : BatchChoices
        What the user chose.
    model_sha256 : str
        Of the weights that the driver has.
    axes : str
        Of the image as its file has it.
    settings, layout
        Of the run.
    plane, strip : int
        Which.
    rows : tuple of int
        Of blocks, from top to bottom.
    """

    image: Path
    store: Path
    choices: BatchChoices
    model_sha256: str
    axes: str
    settings: "LabelSettings"
    layout: "Layout"
    plane: int
    strip: int
    rows: tuple[int, ...]


def by_crew(image: Path, axes: str, choices: BatchChoices, crew: Crew) -> "Elsewhere":
    """Return what has a crew run the rows of an image; what no worker could do is left."""

    def elsewhere(work: "StreamWork") -> "Iterator[Progress]":
        shares = [
            Share(
                image=image.absolute(),
                store=work.store.folder.absolute(),
                choices=choices,
                model_sha256=work.model.card.weights_sha256,
                axes=axes,
                settings=work.settings,
                layout=work.store.layout,
                plane=plane,
                strip=strip,
                rows=tuple(rows[start : start + ROWS]),
            )
            for plane, strip, rows in work.missing()
            for start in range(0, len(rows), ROWS)
        ]
        tasks = [
            Task(f"{one.plane}-{one.strip}-{one.rows[0]}", run_share, (one,)) for one in shares
        ]
        if not tasks:
            return
        for news in run_tasks(tasks, crew, [image.absolute(), work.store.folder.absolute()]):
            if news.task is not None and news.state == "done":
                share: Share = news.task.arguments[0]
                yield work.take(share.plane, share.strip, news.value)
            else:
                yield work.progress()

    return elsewhere


def run_share(share: Share) -> list[tuple[int, int]]:
    """Run rows of blocks, on a worker; return each with its pixels that were not a number."""
    import dask

    from napari_rwkv_seg.images.readers import open_image
    from napari_rwkv_seg.inference.predictor import opened
    from napari_rwkv_seg.inference.stream_image import StreamImage
    from napari_rwkv_seg.inference.stream_store import StreamStore
    from napari_rwkv_seg.inference.stream_work import StreamWork

    model = model_of(share.choices, share.model_sha256)
    image, axes, _ = opened(open_image(share.image).data, share.axes, model, share.choices.channel)
    source = StreamImage(image, axes, model.card.input_channels, share.choices.channel)
    store = StreamStore.attached(share.store, share.layout)
    work = StreamWork(model, source, share.settings, store, store.state.tile_size)
    with dask.config.set(scheduler="synchronous"):  # not by this very cluster
        return work.run_rows(share.plane, share.strip, share.rows)
