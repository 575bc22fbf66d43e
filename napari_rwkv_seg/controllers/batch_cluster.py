"""The images of a batch as tasks of a cluster."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rwkv_seg.errors import ClusterError, ModelError
from napari_rwkv_seg.inference.steps import drained

from .batch_choices import BatchChoices
from .batch_items import BatchItem
from .batch_rows import Row
from .batch_tasks import Task, run_tasks, take_share
from .batch_work import Order, item_steps, sentence
from .batch_workers import Crew

if TYPE_CHECKING:
    from napari_rwkv_seg.inference.loading import Model

    from .engine import InferenceEngine


def spread(
    items: Sequence[BatchItem], rows: Sequence[Row], order: Order, crew: Crew
) -> Generator[Row | None, None, None]:
    """Have images done by a crew, and yield every row that changes; None if none did for a moment.

    Raises
    ------
    ClusterError
        As `run_tasks` raises it, or if an image is in no file.
    """
    if any(item.read for item in items):
        raise ClusterError("Layers cannot be sent to workers; save them as files first.")
    order = absolute(order)
    tasks, waiting = [], {}
    for item, row in zip(items, rows, strict=True):
        found = replace(item, image=item.image.absolute())
        tasks.append(Task(str(row.number), do_item, (found, row, order)))
        waiting[str(row.number)] = row
    folders = {task.arguments[0].image.parent for task in tasks}
    paths = [order.making, *sorted(folder for folder in folders if folder.is_dir())]
    for news in run_tasks(tasks, crew, paths):
        if news.task is None:
            yield None
        elif news.state == "running":
            yield replace(waiting[news.task.key], state="running")
        elif news.state == "done":
            yield news.value
        else:
            error = news.error or ClusterError("The worker did not say why.")
            yield replace(waiting[news.task.key], state="failed", note=sentence(error))


def do_item(item: BatchItem, row: Row, order: Order) -> Row:
    """Do one image to its end, on a worker; never raises."""
    choices, sha256 = order.choices, order.asked["model_sha256"]
    steps = item_steps(item, row, order, lambda: model_of(choices, sha256))
    try:
        return drained(steps)
    except Exception as error:  # noqa: BLE001 - a job's boundary: the error belongs into the table
        return replace(row, state="failed", note=sentence(error))


@lru_cache(maxsize=1)
def _engine() -> "InferenceEngine":
    """Return what keeps this worker's model from one image to the next."""
    from .engine import InferenceEngine

    return InferenceEngine()


def model_of(choices: BatchChoices, sha256: str) -> "Model":
    """Return a model, if the worker has the very one that the run was begun with.

    Raises
    ------
    ModelError
        If its weights are others.
    """
    take_share()
    model = _engine().load(choices.model, choices.device, choices.views)
    if model.card.weights_sha256 != sha256:
        raise ModelError(
            f"The worker has another model of the name {choices.model!r}. Give the model's "
            "folder, on a disk that all workers share."
        )
    return model


def absolute(order: Order) -> Order:
    """Return an order whose paths mean the same in any working folder."""
    choices = order.choices
    if Path(choices.model).is_dir():
        choices = replace(choices, model=str(Path(choices.model).absolute()))
    return replace(order, out=order.out.absolute(), making=order.making.absolute(), choices=choices)
