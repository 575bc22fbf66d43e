"""How quickly the docks open, and how smoothly the window runs while a model is trained.

    python tests/benchmarks/bench_dock.py [--repeats 5] [--seconds 20]

Each measurement is a fresh process. Opening: from importing the plugin's module to
the dock being shown; napari's window is open before the clock starts, as it is for
a user. Tick: the time between two beats of a 10 ms timer in the window, before and
during a real fine-tuning run on the sample image, with the curves being drawn.
Prints medians and percentiles, and writes results/dock.json. Needs a display; `make
bench` gives it a virtual one where there is none.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "dock.json"
DOCKS = ("SegmentWithMedURWKV", "FinetuneOnMyLabels")

OPEN = """
import json, sys, time
import napari
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer()
viewer.add_image(__import__('numpy').zeros((64, 64)))
for _ in range(5):
    QApplication.processEvents()
before = set(sys.modules)
start = time.perf_counter()
from napari_rwkv_seg.widgets import contributions
imported = time.perf_counter()
dock = getattr(contributions, sys.argv[1])(viewer)
viewer.window.add_dock_widget(dock, name='Dock')
QApplication.processEvents()
shown = time.perf_counter()
visible = dock.isVisible()
new = {name.partition('.')[0] for name in set(sys.modules) - before}
heavy = sorted(new & {'torch', 'monai', 'scipy', 'skimage', 'tifffile', 'pyqtgraph'})
viewer.close()
sys.stdout.write(json.dumps({
    'import': imported - start, 'shown': shown - start, 'visible': visible,
    'heavy': heavy, 'torch': 'torch' in sys.modules,
}))
"""

TICK = """
import json, sys, tempfile, time
from pathlib import Path
import imageio.v3 as imageio
import napari, numpy as np, platformdirs
from qtpy.QtCore import QTimer, Qt
from qtpy.QtWidgets import QApplication

data = tempfile.TemporaryDirectory()
platformdirs.user_data_path = lambda *_, **__: Path(data.name)
from napari_rwkv_seg.images.samples import sample_mask_path

SAMPLE = 'nuclei_fluorescence'
viewer = napari.Viewer()
viewer.window.resize(1360, 900)
viewer.open_sample('napari-rwkv-seg', SAMPLE)
viewer.add_labels(imageio.imread(sample_mask_path(SAMPLE)).astype(np.int32), name='labels')
_, dock = viewer.window.add_plugin_dock_widget('napari-rwkv-seg', 'Fine-tune on my labels')
ticks = []

def beat():
    ticks.append(time.perf_counter())

timer = QTimer()
timer.setTimerType(Qt.TimerType.PreciseTimer)
timer.setInterval(10)
timer.timeout.connect(beat)

def live(condition, patience):
    end = time.monotonic() + patience
    while not condition() and time.monotonic() < end:
        QApplication.instance().processEvents()
        time.sleep(0.0005)

def measure(seconds):
    ticks.clear()
    timer.start()
    end = time.monotonic() + seconds
    live(lambda: time.monotonic() > end, seconds + 1)
    timer.stop()
    gaps = 1000 * np.diff(ticks)
    kept = {f'p{p}': round(float(np.percentile(gaps, p)), 2) for p in (50, 95, 99)}
    return {**kept, 'max': round(float(gaps.max()), 1), 'beats': len(gaps)}

live(lambda: 'held out' in dock.run.split.text(), 60)
seconds = float(sys.argv[1])
idle = measure(seconds / 2)
dock._controller.choose(minutes=10)
dock.run.button.click()
live(lambda: dock._controller.story.step > 1, 300)
before = dock._controller.story.step
training = measure(seconds)
steps = dock._controller.story.step - before
drawn = dock.run.curves._drawn
asked = time.monotonic()
dock.run.stop.click()
live(lambda: dock._controller.story.phase == 'stopping', 60)
stop = time.monotonic() - asked
dock._controller.cancel()
live(lambda: not dock._controller.is_busy, 20)
viewer.close()
data.cleanup()
sys.stdout.write(json.dumps({
    'idle_ms': idle, 'training_ms': training, 'steps_meanwhile': steps, 'curves_drawn': drawn,
    'stop_heard_s': round(stop, 2),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    choices = parser.parse_args()
    results = {
        "machine": {"cores": os.cpu_count(), "platform": platform.platform()},
        "load_at_start": [round(load, 2) for load in os.getloadavg()]
        if hasattr(os, "getloadavg")
        else None,
        "open": {dock: opening(dock, choices.repeats) for dock in DOCKS},
        "tick": ticking(choices.seconds),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def opening(dock: str, repeats: int) -> dict:
    """Return how long a dock takes to open, in seconds."""
    runs = [run(OPEN, dock) for _ in range(repeats)]
    if not all(each["visible"] for each in runs):
        raise SystemExit("The dock was not shown.")
    found: dict = {}
    for what in ("import", "shown"):
        times = [float(each[what]) for each in runs]
        found[f"{what}_s"] = {
            "median": round(statistics.median(times), 3),
            "slowest": round(max(times), 3),
        }
        print(f"{dock} {what:<8} median {statistics.median(times):.3f} s, {max(times):.3f} s")
    found["newly_loaded"] = sorted({name for each in runs for name in each["heavy"]})
    print(f"{dock} newly loaded: {found['newly_loaded'] or '-'}")
    return found


def ticking(seconds: float) -> dict:
    """Return the gaps between the beats of a 10 ms timer, idle and while training, in ms."""
    found = run(TICK, str(seconds))
    for when in ("idle_ms", "training_ms"):
        print(f"tick {when:<12} {found[when]}")
    print(f"steps meanwhile: {found['steps_meanwhile']}, stop heard: {found['stop_heard_s']} s")
    return found


def run(script: str, *arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
