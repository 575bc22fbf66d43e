"""A stand-in for the network: it calls bright pixels foreground, in two steps."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

from napari_rwkv_seg.controllers.segment import Job, Outcome, SegmentController
from napari_rwkv_seg.controllers.settings import SegmentSettings
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.progress import Progress
from napari_rwkv_seg.inference.segment import Segmentation, relabel_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard


def make_card(**changes: Any) -> ModelCard:
    """Return a card of two classes."""
    facts: dict[str, Any] = {
        "name": "bright",
        "title": "Bright things",
        "purpose": "Finds what is bright.",
        "architecture": "med_urwkv",
        "variant": "T",
        "classes": [
            ClassCard(name="background", color="#000000"),
            ClassCard(name="bright", color="#ff7f0e"),
        ],
        "license": "CC0-1.0",
        "training_data": "None.",
        "test_scores": {"Dice": 0.91234, "object F1": 0.8},
        "weights_sha256": "0" * 64,
    }
    return ModelCard(**(facts | changes))


class FakeEngine:
    """Does without a network what `InferenceEngine` does with one."""

    def __init__(self) -> None:
        self.card = make_card()
        self.loads: list[tuple[str, str]] = []
        self.views = 0
        self.runs = 0
        self.closed = 0
        self.on_step: Callable[[int], None] = lambda step: None

    def load(self, model: str, device: str, views: int) -> ModelCard:
        self.loads.append((model, device))
        self.views = views
        return self.card

    def steps(
        self, image: Any, model: ModelCard, settings: SegmentSettings
    ) -> Generator[Progress, None, Segmentation]:
        self.runs += 1
        try:
            for step in range(3):
                self.on_step(step)
                yield Progress(step, 2, float(2 - step))
            return self.segment(np.asarray(image), model, settings)
        finally:
            self.closed += 1

    def segment(
        self, image: np.ndarray, model: ModelCard, settings: SegmentSettings
    ) -> Segmentation:
        if image.size == 0:
            raise ImageError("The image is empty.")
        bright = (image / max(1, image.max())).astype(np.float32)
        probabilities = np.stack([1 - bright, bright])
        labels = label_probabilities(probabilities, settings.labels)
        facts = {"model": model.name, "sha256": model.weights_sha256}
        return Segmentation(labels, probabilities, model, settings.labels, settings.axes, (), facts)

    def relabel(
        self, segmentation: Segmentation, settings: LabelSettings
    ) -> Generator[Progress, None, Segmentation]:
        return relabel_steps(segmentation, settings)

    def running_on(self, model: ModelCard) -> tuple[str, str]:
        return "CPU, 1 threads, compiled kernels", ""


@pytest.fixture
def engine() -> FakeEngine:
    """Return a fake engine."""
    return FakeEngine()


@pytest.fixture
def controller(engine: FakeEngine) -> SegmentController:
    """Return a controller that runs the fake engine."""
    return SegmentController(engine, SegmentSettings(model="bright", axes="YX"))


@pytest.fixture
def image() -> np.ndarray:
    """Return 7 × 11 pixels with two bright spots, one brighter than the other."""
    pixels = np.zeros((7, 11), dtype=np.uint8)
    pixels[1:3, 1:4] = 250
    pixels[4:6, 6:9] = 150
    return pixels


@pytest.fixture
def drain() -> Callable[[SegmentController, Job], Outcome]:
    """Return what runs a job to its end on this thread, as a worker and a window do together."""

    def run(controller: SegmentController, job: Job) -> Outcome:
        steps = controller.steps(job)
        while True:
            try:
                controller.hear(job, next(steps))
            except StopIteration as end:
                outcome: Outcome = end.value
                controller.finish(outcome)
                return outcome

    return run


@pytest.fixture
def heard(controller: SegmentController) -> list[str]:
    """Return the names of the controller's signals, in the order in which they come."""
    names: list[str] = []
    for name in ("started", "progressed", "segmented", "relabelled", "cancelled", "failed"):
        getattr(controller, name).connect(lambda *_, name=name: names.append(name))
    return names
