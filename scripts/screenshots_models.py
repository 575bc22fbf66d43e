"""Show the models dock in a real napari window, and keep pictures of it.

    python scripts/screenshots_models.py [FOLDER]

writes 13_models.png, 14_encoders.png and 15_new_model.png into docs/images (or
FOLDER). The user's own models stay as they are. Needs a display, Xvfb for example.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QApplication, QWidget

PLUGIN = "napari-rwkv-seg"
SAMPLE = "nuclei_stained"


def make_models() -> None:
    """Make some models, as a user would have them after a while."""
    from napari_rwkv_seg.zoo import DEFAULT_MODEL, find_model, import_any, new_model, set_note
    from napari_rwkv_seg.zoo.card import write_card

    tuned = import_any(find_model(DEFAULT_MODEL).folder, name="nuclei_liver").folder
    changes: dict[str, Any] = {
        "title": "Nuclei of liver",
        "purpose": "Nuclei in liver sections, H&E, 20x",
        "parent": DEFAULT_MODEL,
        "test_scores": {},
        "trained_by": "fine-tuned here",
    }
    card = find_model("nuclei_liver").card
    if card is not None:
        write_card(tuned, card.model_copy(update=changes))
    set_note("nuclei_liver", "For the batches since March; look at pale sections yourself.")
    new_model("membranes", classes=["membrane", "junction"], architecture="rwkv_unet")
    torn = import_any(find_model("membranes").folder, name="from_a_colleague").folder
    (torn / "weights.safetensors").unlink()


def show_dock(viewer: Any, wait: Callable[[float], None], snap: Callable[..., None]) -> None:
    """Open the dock beside an image, choose a model, and open its questions."""
    viewer.open_sample(PLUGIN, SAMPLE)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Models")
    wait(0.5)
    folders = {row.entry.name: row.key for row in dock._controller.rows}
    dock.table.choose(folders["membranes"])
    dock.doing.buttons["delete"].click()
    dock.table.choose(folders["nuclei_liver"])
    snap("13_models")
    dock.undo.button.click()
    for word, name in (("get", "14_encoders"), ("new", "15_new_model")):
        dock.coming.buttons[word].click()
        snap(name, dock.questions.asked)
        dock.questions.asked.reject()


def main(folder: Path) -> None:
    """Write the pictures into `folder`."""
    import napari
    import platformdirs

    folder.mkdir(parents=True, exist_ok=True)

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)

    with tempfile.TemporaryDirectory() as data:
        platformdirs.user_data_path = lambda *_, **__: Path(data)
        make_models()
        viewer = napari.Viewer(title="napari", show=True)
        viewer.window.resize(1360, 860)

        def snap(name: str, widget: QWidget | None = None) -> None:
            wait(0.5)
            path = folder / f"{name}.png"
            (widget or viewer.window._qt_window).grab().save(str(path))
            print(path)

        show_dock(viewer, wait, snap)
        viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
