"""A viewer, a dock, and a stand-in for the network that waits when a test wants it to."""

import gc
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import LayerList
from napari.layers import Labels, Layer

from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.controllers.settings import SegmentSettings
from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.progress import Progress
from napari_rwkv_seg.inference.segment import Segmentation, relabel_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.widgets.segment_dock import SegmentDock
from napari_rwkv_seg.widgets.texts import Line
from napari_rwkv_seg.widgets.viewer_link import ViewerLink
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard
from napari_rwkv_seg.zoo.store import ModelEntry

PATIENCE_MS = 20_000  # a guard against a hang, not a measure


def make_card(name: str = "bright", classes: int = 2, **changes: Any) -> ModelCard:
    """Return a card."""
    facts: dict[str, Any] = {
        "name": name,
        "title": name.capitalize(),
        "purpose": f"Finds what is {name}.",
        "architecture": "med_urwkv",
        "variant": "T",
        "classes": [
            ClassCard(name=f"class {index}", color=f"#{index:02x}80ff") for index in range(classes)
        ],
        "license": "CC0-1.0",
        "training_data": "None.",
        "test_scores": {"Dice": 0.9},
        "weights_sha256": "0" * 64,
    }
    return ModelCard(**(facts | changes))


MODELS = [
    ModelEntry(Path("bright"), make_card()),
    ModelEntry(Path("three"), make_card("three", classes=3, license="CC-BY-NC-4.0")),
    ModelEntry(Path("torn"), None, "Its weights are torn; get the model again."),
]


class FakeEngine:
    """Calls bright pixels foreground, in two tiles; stops before each while `gate` is shut."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.runs = 0
        self.views = 0
        self.error: BaseException | None = None
        self.threads: set[int] = set()
        self.notes: tuple[str, ...] = ()

    def load(self, model: str, device: str, views: int) -> ModelCard:
        self.views = views
        self._pass()
        card = next(entry.card for entry in MODELS if entry.name == model)
        assert card is not None
        return card

    def steps(
        self, image: Any, model: ModelCard, settings: SegmentSettings
    ) -> Generator[Progress, None, Segmentation]:
        self.runs += 1
        for tile in range(3):
            yield Progress(tile, 2, float(2 - tile))
            self._pass()
            if self.error is not None:
                raise self.error
        bright = _bright(np.asarray(image), settings.axes)
        others = [bright / (len(model.classes) - 1)] * (len(model.classes) - 1)
        probabilities = np.stack([1 - bright, *others]).astype(np.float32)
        labels = label_probabilities(probabilities, settings.labels)
        facts = {"model": model.name, "sha256": model.weights_sha256, "version": "0"}
        facts["settings"] = settings.labels.to_dict()
        return Segmentation(
            labels, probabilities, model, settings.labels, settings.axes, self.notes, facts
        )

    def relabel(
        self, segmentation: Segmentation, settings: LabelSettings
    ) -> Generator[Progress, None, Segmentation]:
        self._pass()
        return (yield from relabel_steps(segmentation, settings))

    def running_on(self, model: ModelCard) -> tuple[str, str]:
        return "CPU, 1 threads, plain PyTorch", "No compiled kernels in this installation."

    def _pass(self) -> None:
        """Wait in the worker until the gate is open."""
        self.threads.add(threading.get_ident())
        self.waiting.set()
        if not self.gate.wait(PATIENCE_MS / 1000):
            raise TimeoutError("The test forgot to open the gate.")
        self.waiting.clear()


def _bright(image: np.ndarray, axes: str) -> np.ndarray:
    """Return brightness from 0 to 1, without the channel axis."""
    values = image.astype(np.float64)
    if "C" in axes:
        values = values.mean(axis=axes.index("C"))
    return values / max(1.0, float(values.max(initial=0)))


@pytest.fixture(autouse=True, scope="module")
def old_objects_are_not_searched() -> None:
    """Let the search for garbage after each viewer look at what came since this module began.

    napari collects all garbage when a viewer closes; in a process that has imported and run
    everything, that is a second or two for every test.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def main_thread_guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """C01: fail a test in which layers or texts are touched off the main thread; give the list."""
    trespasses: list[str] = []

    def guarded(owner: type, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                trespasses.append(f"{owner.__name__}.{name}{args[:1]}")
            return original(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, checked)

    for owner, name in (
        (Layer, "__setattr__"),
        (Labels, "data_setitem"),
        (LayerList, "insert"),
        (LayerList, "__delitem__"),
        (Line, "say"),
    ):
        guarded(owner, name)
    yield trespasses
    assert trespasses == []


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """Return a fake engine, whose gate is opened in the end, so that no worker is left."""
    engine = FakeEngine()
    yield engine
    engine.gate.set()


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    """Return a real viewer, not shown."""
    return make_napari_viewer()


@pytest.fixture
def controller(engine: FakeEngine) -> SegmentController:
    """Return a controller that runs the fake engine."""
    return SegmentController(engine)


@pytest.fixture
def dock(viewer: Any, controller: SegmentController) -> SegmentDock:
    """Return the dock, in the viewer's window."""
    dock = SegmentDock(controller, ViewerLink(viewer, controller), lambda: MODELS)
    viewer.window.add_dock_widget(dock, name="segment", area="right")
    return dock


@pytest.fixture
def image() -> np.ndarray:
    """Return 37 × 53 pixels with two bright squares, one brighter than the other."""
    pixels = np.zeros((37, 53), dtype=np.uint8)
    pixels[5:12, 6:15] = 250
    pixels[20:28, 30:41] = 150
    return pixels


@pytest.fixture
def until(qtbot: Any) -> Callable[[Callable[[], bool]], None]:
    """Return what lets the window live until a condition holds."""
    return lambda condition: qtbot.waitUntil(condition, timeout=PATIENCE_MS)


@pytest.fixture
def idle(until: Callable[[Callable[[], bool]], None]) -> Callable[[SegmentDock], None]:
    """Return what waits until a dock's jobs have ended and been shown."""

    def wait(dock: SegmentDock) -> None:
        until(lambda: not dock._link.is_busy)

    return wait


@pytest.fixture
def segment(
    until: Callable[[Callable[[], bool]], None], idle: Callable[[SegmentDock], None]
) -> Callable[[SegmentDock], Labels]:
    """Return what presses Segment, waits, and returns the topmost Labels layer."""

    def run(dock: SegmentDock) -> Labels:
        dock.job.button.click()
        until(lambda: dock._controller.running is None)
        idle(dock)
        viewer = dock._link._viewer()
        return next(layer for layer in reversed(viewer.layers) if isinstance(layer, Labels))

    return run
