"""Segment a folder of images in a real napari window, and keep a picture.

    python scripts/screenshots_batch.py [FOLDER]

writes 12_batch.png into docs/images (or FOLDER): the bundled samples, some wells cut
from one of them, and a file that is no image. Needs a display, Xvfb for example.
"""

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
from qtpy.QtWidgets import QApplication

from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.images.samples import sample_path

PLUGIN = "napari-rwkv-seg"
PATIENCE_S = 300
SAMPLES = ("nuclei_field", "nuclei_fluorescence", "nuclei_stained")
WELLS = 5


def make_images(folder: Path) -> None:
    """Make two plates of images; the last well is a web page."""
    for name in SAMPLES:
        path = folder / "plate 1" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample_path(name), path)
    plate = folder / "plate 2"
    plate.mkdir()
    field = imageio.imread(sample_path("nuclei_field"))
    for well in range(1, WELLS + 1):
        imageio.imwrite(plate / f"well_{well}.png", field[:300, 120 * (well - 1) :][:, :200])
    page = b"<!DOCTYPE html><title>404</title>"
    write_atomically(plate / f"well_{WELLS + 1}.png", lambda file: file.write(page))


def show_batch(viewer: Any, wait: Callable[[Callable[[], bool]], None]) -> None:
    """Run the batch, open the first result, and choose the row that failed."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment many images")
    dock.source.folder.line.setText("nuclei")
    dock.results.out.line.setText("results")
    dock.run.start.click()
    wait(lambda: dock.run.status.text() == "Done.")
    dock.table.selectRow(0)
    dock.run.open.click()
    wait(lambda: len(viewer.layers) > 1)
    viewer.layers[0].gamma = 0.6
    viewer.reset_view()
    dock.table.selectRow(dock.table.model_.rowCount() - 1)
    dock.table.scrollToBottom()


def main(folder: Path) -> None:
    """Write the picture into `folder`."""
    import napari

    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("The window did not get ready.")
            QApplication.processEvents()
            time.sleep(0.01)

    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        make_images(Path("nuclei"))
        viewer = napari.Viewer(title="napari", show=True)
        viewer.window.resize(1360, 1060)
        show_batch(viewer, wait)
        settled = time.monotonic() + 0.5
        wait(lambda: time.monotonic() > settled)
        path = folder / "12_batch.png"
        viewer.window._qt_window.grab().save(str(path))
        print(path)
        viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
