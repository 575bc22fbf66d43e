"""Time from importing the plugin's module to its dock being shown, each in a fresh process.

    python tests/benchmarks/bench_dock.py [--repeats 5]

napari's window is open before the clock starts, as it is for a user. Prints the
median, and which heavy libraries were loaded meanwhile (torch must not be). Needs
a display; `make bench` gives it a virtual one where there is none.
"""

import argparse
import json
import statistics
import subprocess
import sys

CHILD = """
import json, sys, time
import napari
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer()
viewer.add_image(__import__('numpy').zeros((64, 64)))
for _ in range(5):
    QApplication.processEvents()
before = set(sys.modules)
start = time.perf_counter()
from napari_rwkv_seg.widgets.contributions import SegmentWithMedURWKV
imported = time.perf_counter()
dock = SegmentWithMedURWKV(viewer)
viewer.window.add_dock_widget(dock, name='Segment')
QApplication.processEvents()
shown = time.perf_counter()
visible = dock.isVisible()
new = {name.partition('.')[0] for name in set(sys.modules) - before}
heavy = sorted(new & {'torch', 'monai', 'scipy', 'skimage', 'tifffile'})
viewer.close()
sys.stdout.write(json.dumps({
    'import': imported - start, 'shown': shown - start, 'visible': visible,
    'heavy': heavy, 'torch': 'torch' in sys.modules,
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    runs = [run() for _ in range(repeats)]
    for what in ("import", "shown"):
        times = [float(each[what]) for each in runs]
        print(f"{what:<8} median {statistics.median(times):.3f} s, slowest {max(times):.3f} s")
    heavy = sorted({name for each in runs for name in each["heavy"]})
    print(f"torch loaded: {any(each['torch'] for each in runs)}; newly loaded: {heavy or '-'}")
    if not all(each["visible"] for each in runs):
        raise SystemExit("The dock was not shown.")


def run() -> dict:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
