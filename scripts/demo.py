"""Segment a bundled image with the shipped model: what `make demo` runs.

    python scripts/demo.py

With a display, napari opens with the image and the dock, which is told to
segment; the result is an ordinary Labels layer to paint on. Without one, or
with HEADLESS=1, the labels and a picture of them are written to demo_output/
and compared with the bundled mask.
"""

import os
import sys
import time
from pathlib import Path

from napari_rwkv_seg.evaluation import dice, object_f1
from napari_rwkv_seg.images.readers import read_image
from napari_rwkv_seg.images.samples import sample_mask_path, sample_path
from napari_rwkv_seg.images.writers import write_labels, write_overlay
from napari_rwkv_seg.inference import LabelSettings, Segmentation, load_model
from napari_rwkv_seg.inference.segment import segment

SAMPLE = "nuclei_field"
PLUGIN, DOCK = "napari-rwkv-seg", "Segment with Med-URWKV"
FOLDER = Path(__file__).resolve().parents[1] / "demo_output"


def main() -> None:
    """Open a window where there can be one; write files where not."""
    if has_display() and os.environ.get("HEADLESS", "") in ("", "0"):
        show_in_napari()
    else:
        write_files()


def has_display() -> bool:
    """Tell whether a window can be opened."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show_in_napari() -> None:
    """Open napari with the sample and the dock, and press Segment."""
    import napari
    from qtpy.QtCore import QTimer

    viewer = napari.Viewer(title="napari-rwkv-seg demo")
    viewer.open_sample(PLUGIN, SAMPLE)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, DOCK)
    QTimer.singleShot(0, dock.job.button.click)
    print(
        "napari is open. When the labels are there, paint on them; press Segment for another run."
    )
    napari.run()


def write_files() -> None:
    """Segment the sample, write labels and overlay, and say how well they fit the mask."""
    image, mask = read_image(sample_path(SAMPLE)), read_image(sample_mask_path(SAMPLE))
    model = load_model()
    start = time.perf_counter()
    settings = LabelSettings.for_model(model.card, "objects")
    result = segment(image.data, model, axes=image.axes, settings=settings)
    seconds = time.perf_counter() - start
    FOLDER.mkdir(exist_ok=True)
    labels_path, overlay_path = FOLDER / f"{SAMPLE}_labels.tif", FOLDER / f"{SAMPLE}_overlay.png"
    write_labels(labels_path, result.labels, provenance=result.provenance)
    write_overlay(overlay_path, image.data, result.labels)
    tell(result, seconds)
    print(f"Dice against the bundled mask: {dice(result.labels, mask.data):.3f}")
    print(f"Objects found rightly (F1 at IoU 0.5): {object_f1(result.labels, mask.data):.3f}")
    print(f"Labels:  {labels_path}\nOverlay: {overlay_path}")


def tell(result: Segmentation, seconds: float) -> None:
    """Print what was run, on what, and what should be known of it."""
    height, width = result.labels.shape[-2:]
    made = result.provenance
    print(f"{SAMPLE}, {height} x {width} pixels, model {made['model']} on {made['device']}")
    print(f"{int(result.labels.max())} objects in {seconds:.1f} s (WKV: {made['backend']})")
    for note in result.notes:
        print(f"Note: {note}")


if __name__ == "__main__":
    main()
