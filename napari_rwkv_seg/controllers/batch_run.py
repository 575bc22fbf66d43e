"""Do the images of a batch, here or by a crew, and tell what has changed."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .batch_items import BatchItem
from .batch_rows import Row
from .batch_work import Load, Order, Steps, item_steps

if TYPE_CHECKING:
    from napari_rwkv_seg.inference.loading import Model
    from napari_rwkv_seg.inference.progress import Progress

    from .batch_workers import Crew


@dataclass(frozen=True)
class News:
    """What has changed in a batch.

    Parameters
    ----------
    rows : tuple of Row
        The rows that changed; first of all, every row.
    step : Progress, optional
        How far the image is that runs.
    notes : tuple of str
        Sentences for the user that concern no single image.
    """

    rows: tuple[Row, ...] = ()
    step: "Progress | None" = None
    notes: tuple[str, ...] = ()


def run_here(
    items: Sequence[BatchItem], rows: Sequence[Row], order: Order, crew: "Crew | None" = None
) -> Generator[News, None, None]:
    """Do one image after the other in this process; of huge ones a crew does the pieces."""
    from .engine import InferenceEngine

    engine = InferenceEngine()
    said: list[str] = []

    def load() -> "Model":
        choices = order.choices
        model = engine.load(choices.model, choices.device, choices.views)
        said.extend(note for note in model.notes if note not in said)
        return model

    told = 0
    for item, row in zip(items, rows, strict=True):
        yield News((replace(row, state="running"),))
        steps = _steps_of(item, row, order, load, crew)
        try:
            while True:
                yield News(step=next(steps), notes=tuple(said[told:]))
                told = len(said)
        except StopIteration as end:
            yield News((end.value,))
        finally:
            steps.close()


def _steps_of(item: BatchItem, row: Row, order: Order, load: Load, crew: "Crew | None") -> Steps:
    """Return the steps of an image: whole, or streamed."""
    from .batch_stream import opened_if_huge, stream_item
    from .stream_cluster import by_crew

    image = opened_if_huge(item, order.choices)
    if image is None:
        return item_steps(item, row, order, load)
    axes = order.choices.axes or image.axes
    elsewhere = by_crew(item.image, axes, order.choices, crew) if crew is not None else None
    return stream_item(item, row, order, load, image, elsewhere)


def run_there(
    items: Sequence[BatchItem], rows: Sequence[Row], order: Order, crew: "Crew"
) -> Generator[News, None, None]:
    """Have the images done by the workers of a cluster: many at once, huge ones piece by piece."""
    from .batch_cluster import absolute, spread
    from .batch_stream import opened_if_huge

    pairs = list(zip(items, rows, strict=True))
    huge = [pair for pair in pairs if opened_if_huge(pair[0], order.choices) is not None]
    others = [pair for pair in pairs if pair not in huge]
    if others:
        steps = spread([item for item, _ in others], [row for _, row in others], order, crew)
        try:
            for row in steps:
                yield News((row,) if row is not None else ())
        finally:
            steps.close()
    order = absolute(order)
    yield from run_here([item for item, _ in huge], [row for _, row in huge], order, crew)
