"""What the tests of fine-tuning share: pairs of arrays, and a controller with a fake trainer."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_pairs import Checked, PairRow, Planes
from napari_rwkv_seg.controllers.finetune_work import attempt, prepare
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard
from napari_rwkv_seg.zoo.store import ModelEntry

FAKE = Path(__file__).parents[1] / "fake_trainer.py"
PATIENCE_S = 20.0  # a guard against a hang, not a measure


class ArrayPair:
    """A pair of arrays with cells on the left and on the right."""

    stack: tuple[int, ...] = ()
    means = ""
    made_by = ""
    problem = ""
    image_name = "cells"
    labels_name = "labels"

    def __init__(self, key: str = "cells", labels: np.ndarray | None = None) -> None:
        self.key = key
        self.covers = (key, None)
        if labels is None:
            labels = np.zeros((64, 200), dtype=np.int32)
            labels[10:30, 10:30] = labels[10:40, 90:110] = labels[20:50, 160:190] = 1
        self.labels = labels
        self.image = (labels > 0).astype(np.uint8) * 200

    def planes(self, checked: Checked, *, copied: bool) -> Planes:
        labels = self.labels.copy() if copied else self.labels

        def read() -> Iterator[TrainingPair]:
            yield TrainingPair(self.key, self.image, labels, np.ones(labels.shape, dtype=bool))

        return read

    def as_written(self) -> Callable[[], bool]:
        return lambda: False


def make_entry(name: str = "bright", classes: int = 2) -> ModelEntry:
    """Return a model that is not on the disk."""
    names = ["background", "cell", "vessel", "nerve"][:classes]
    card = ModelCard(
        name=name,
        title=name,
        purpose="",
        architecture="med_urwkv",
        variant="T",
        classes=[ClassCard(name=one, color=f"#00000{i}") for i, one in enumerate(names)],
        license="CC0-1.0",
        training_data="none",
        weights_sha256="0" * 64,
    )
    return ModelEntry(Path(name), card)


def fake_command(mode: str) -> Callable[[Path], list[str]]:
    """Return what starts the fake trainer."""
    return lambda run: [sys.executable, str(FAKE), str(run), mode]


def make_controller(home: Path, mode: str = "good", *sources: Any) -> FinetuneController:
    """Return a controller with pairs and a base."""
    controller = FinetuneController(fake_command(mode), home)
    controller.rows.add([PairRow(source) for source in sources or (ArrayPair(),)])
    controller.choose_model("bright", [make_entry()])
    return controller


def start(controller: FinetuneController) -> None:
    """Press the button, and do the worker's part."""
    job = controller.begin()
    controller.prepared(job, attempt(lambda: prepare(job)))


def poll_until(controller: FinetuneController, condition: Callable[[], bool]) -> None:
    """Poll as the timer does until a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "The trainer did not get that far."
        controller.poll()
        time.sleep(0.01)
