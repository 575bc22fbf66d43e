"""Walk through the main job in a real napari window, and keep a picture of every stage.

    python scripts/screenshots.py [FOLDER]

writes the README's screenshots into docs/images (or FOLDER). The test
tests/widgets/test_end_to_end.py takes the very same walk and checks it, so the
pictures show what the test has seen. Needs a display, Xvfb for example.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

PLUGIN = "napari-rwkv-seg"
DOCK = "Segment with Med-URWKV"
SAMPLE = "nuclei_field"
PATIENCE_S = 300
STROKE = [(250, 300), (250, 380), (310, 380)]  # (Y, X) in pixels of the image

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
    """

    def __init__(self, viewer: Any, wait: Wait, snap: Snap) -> None:
        self.viewer = viewer
        self.wait = wait
        self.snap = snap
        _, self.dock = viewer.window.add_plugin_dock_widget(PLUGIN, DOCK)

    def open_sample(self) -> Any:
        """Open the sample as File ▸ Open Sample does."""
        (layer,) = self.viewer.open_sample(PLUGIN, SAMPLE)
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
        places = [self._on_canvas(labels, point) for point in STROKE]
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


def main(folder: Path) -> None:
    """Take the walk, and write a picture of every stage into `folder`."""
    import napari

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

    walk = Walk(viewer, wait, snap)
    walk.open_sample()
    labels = walk.segment()
    walk.paint(labels)
    walk.undo()
    walk.cancel_a_second_run()
    walk.adjust()
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
