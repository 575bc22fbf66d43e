"""Walk through the main job in a real napari window, and keep a picture of every stage.

    python scripts/screenshots.py [FOLDER]

writes the README's screenshots into docs/images (or FOLDER). The tests
tests/widgets/test_end_to_end.py and test_finetune_end_to_end.py take the very same
walks and check them, so the pictures show what the tests have seen. Needs a display,
Xvfb for example.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_rwkv_seg.images.samples import sample_mask_path

PLUGIN = "napari-rwkv-seg"
DOCK = "Segment with Med-URWKV"
FINETUNE = "Fine-tune on my labels"
SAMPLE = "nuclei_field"
SMALL_SAMPLE = "nuclei_fluorescence"
PATIENCE_S = 300
STROKE = [(250, 300), (250, 380), (310, 380)]  # (Y, X) in pixels of the image
SMALL_STROKE = [(190, 60), (190, 90), (205, 90)]

Wait = Callable[[Callable[[], bool]], None]
Snap = Callable[[str], None]


class Walk:
    """What a user does, with mouse and keyboard, in a viewer that is shown.

    Parameters
    ----------
    viewer : napari.Viewer
        An empty one.
    wait : callable
        Lets the window live until what it is given returns True.
    snap : callable
        Keeps a picture under a name.
    sample : str
        The sample to open.
    stroke : list of (int, int)
        Where to paint, (Y, X) in pixels of the image.
    """

    def __init__(
        self,
        viewer: Any,
        wait: Wait,
        snap: Snap,
        sample: str = SAMPLE,
        stroke: list[tuple[int, int]] = STROKE,
    ) -> None:
        self.viewer = viewer
        self.wait = wait
        self.snap = snap
        self.sample = sample
        self.stroke = stroke
        _, self.dock = viewer.window.add_plugin_dock_widget(PLUGIN, DOCK)

    def open_sample(self) -> Any:
        """Open the sample as File ▸ Open Sample does."""
        (layer,) = self.viewer.open_sample(PLUGIN, self.sample)
        layer.gamma = 0.6  # the nuclei differ much in brightness
        self.viewer.reset_view()
        self.snap("1_sample")
        return layer

    def segment(self) -> Labels:
        """Press Segment, and wait for the layer."""
        self._click(self.dock.job.button)
        self.wait(lambda: self.dock.job.status.text().startswith("tile"))
        self.snap("2_running")
        self.wait(lambda: self.dock.job.button.text() == "Segment")
        labels = self.viewer.layers[-1]
        self.snap("3_result")
        return labels

    def paint(self, labels: Labels) -> None:
        """Draw a stroke with napari's brush."""
        self.viewer.layers.selection.active = labels
        labels.selected_label = int(labels.data.max()) + 1
        labels.brush_size = 12
        labels.mode = "paint"
        canvas = self._canvas()
        places = [self._on_canvas(labels, point) for point in self.stroke]
        QTest.mouseMove(canvas, places[0])
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=places[0])
        for place in places[1:]:
            QTest.mouseMove(canvas, place)
            QApplication.processEvents()
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=places[-1])
        QApplication.processEvents()
        self.snap("4_painted")

    def undo(self) -> None:
        """Press Ctrl+Z over the canvas."""
        QTest.keyClick(self._canvas(), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        QApplication.processEvents()

    def cancel_a_second_run(self) -> None:
        """Press Segment again, and Cancel while it runs."""
        self._click(self.dock.job.button)
        self.wait(lambda: self.dock.job.status.text().startswith("tile"))
        self._click(self.dock.job.button)
        self.snap("5_cancelling")
        self.wait(lambda: self.dock.job.button.text() == "Segment")

    def adjust(self) -> None:
        """Show the classes' probabilities, and raise the threshold."""
        self.dock.labels.probabilities.setChecked(True)
        self.dock.labels.threshold.setValue(0.7)
        self.wait(lambda: not self.dock._link.is_busy)
        self.snap("6_probabilities")

    def _click(self, button: Any) -> None:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def _canvas(self) -> Any:
        return self.viewer.window._qt_viewer.canvas.native

    def _on_canvas(self, labels: Labels, point: tuple[int, int]) -> QPoint:
        """Return where a pixel of a layer is drawn, in pixels of the canvas."""
        canvas = self._canvas()
        camera = getattr(self.viewer, "scene", self.viewer).camera  # napari 0.9 moved it
        y, x = np.subtract(labels.data_to_world(point), camera.center[-2:])
        zoom = camera.zoom / canvas.devicePixelRatioF()
        return QPoint(round(canvas.width() / 2 + x * zoom), round(canvas.height() / 2 + y * zoom))


class FinetuneWalk(Walk):
    """Segment, correct, fine-tune, and segment again with the new model."""

    def open_finetune(self) -> Any:
        """Open the dock beside the first one, and wait until the pair is counted."""
        _, dock = self.viewer.window.add_plugin_dock_widget(PLUGIN, FINETUNE, tabify=True)
        self.wait(lambda: "held out" in dock.run.split.text())
        self.snap("7_finetune")
        return dock

    def train(self, dock: Any, seconds: float) -> None:
        """Press the button, and watch for a while: until the curves have moved."""
        self._click(dock.run.button)
        self.wait(lambda: dock._controller.story.step > 0)
        started = time.monotonic()
        story = dock._controller.story
        self.wait(lambda: time.monotonic() - started > seconds and len(story.loss.x) > 2)
        self.snap("8_training")

    def preview(self, dock: Any) -> Labels:
        """Press Show current prediction, and wait for the layer."""
        self._click(dock.run.preview)
        self.wait(lambda: "prediction" in self.viewer.layers[-1].name)
        self.snap("9_preview")
        return self.viewer.layers[-1]

    def stop(self, dock: Any) -> None:
        """Press Stop and keep best, and wait for the scores."""
        self._click(dock.run.stop)
        self.wait(lambda: dock._controller.state == "ended")
        self.snap("10_result")

    def differences(self, dock: Any) -> Labels:
        """Press Show differences, and wait for the layer."""
        self._click(dock.result.differences)
        self.wait(lambda: "differences" in self.viewer.layers[-1].name)
        self.snap("11_differences")
        return self.viewer.layers[-1]

    def use(self, dock: Any) -> None:
        """Press Use new model, and wait until the other dock has chosen it."""
        name = dock.result.name.text()
        self._click(dock.result.use)
        self.wait(lambda: self.dock._controller.settings.model == name)


class EvaluateWalk(Walk):
    """Segment, and compare the result with the mask of the sample."""

    def evaluate(self) -> Any:
        """Open the mask and the dock, evaluate, and show the differences."""
        self.dock.output.setCurrentIndex(1)
        self.dock.output.activated.emit(1)  # separate objects
        labels = self.segment()
        labels.visible = False
        truth = imageio.imread(sample_mask_path(self.sample))
        mask = self.viewer.add_labels(truth.astype(np.int32), name="mask", visible=False)
        _, dock = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Evaluate", tabify=True)
        self.wait(lambda: dock.true.currentText() == mask.name)
        self._click(dock.run.button)
        self.wait(lambda: dock.result.table.rowCount() == 1)
        self._click(dock.result.differences)
        self.snap("16_evaluate")
        return dock


def take_walks(viewer: Any, wait: Wait, snap: Snap) -> None:
    """Take both walks in one viewer."""
    walk = Walk(viewer, wait, snap)
    walk.open_sample()
    labels = walk.segment()
    walk.paint(labels)
    walk.undo()
    walk.cancel_a_second_run()
    walk.adjust()
    viewer.layers.clear()
    viewer.window.remove_dock_widget("all")

    late = lambda name: snap(name) if int(name.partition("_")[0]) > 6 else None  # noqa: E731
    tuning = FinetuneWalk(viewer, wait, late, "nuclei_stained")
    tuning.open_sample()
    labels = tuning.segment()
    labels.data = imageio.imread(sample_mask_path(tuning.sample))  # stands in for the brush
    dock = tuning.open_finetune()
    tuning.train(dock, 60)
    tuning.preview(dock)
    tuning.stop(dock)
    tuning.differences(dock)
    viewer.layers.clear()
    viewer.window.remove_dock_widget("all")

    last = lambda name: snap(name) if name == "16_evaluate" else None  # noqa: E731
    judging = EvaluateWalk(viewer, wait, last)
    judging.open_sample()
    judging.evaluate()


def main(folder: Path) -> None:
    """Take both walks, and write a picture of every stage into `folder`."""
    import napari
    import platformdirs

    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(title="napari", show=True)
    viewer.window.resize(1360, 860)

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("The window did not get ready.")
            QApplication.processEvents()
            time.sleep(0.01)

    def snap(name: str) -> None:
        settled = time.monotonic() + 0.5
        wait(lambda: time.monotonic() > settled)
        path = folder / f"{name}.png"
        viewer.window._qt_window.grab().save(str(path))
        print(path)

    with tempfile.TemporaryDirectory() as data:  # the user's own models and runs stay as they are
        platformdirs.user_data_path = lambda *_, **__: Path(data)
        take_walks(viewer, wait, snap)
        viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
