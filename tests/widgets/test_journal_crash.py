"""R2: a napari that is killed while its user paints loses at most fifty edits; N01, N11."""

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_rwkv_seg.controllers.journal_folders import list_entries, read_entry

pytestmark = pytest.mark.gui

ROUNDS = 3
MOST_LOST = 100  # 50, and those that 50 strokes a second add while a slow disk writes

# Paints row after row of a stack, an undo after every seventh, and says how far it is.
PAINT = """
import sys
import napari, numpy as np
from qtpy.QtCore import QTimer
from napari_rwkv_seg.widgets.contributions import SegmentWithMedURWKV
viewer = napari.Viewer(show=False)
viewer.window.add_dock_widget(SegmentWithMedURWKV(viewer))
layer = viewer.add_labels(np.zeros((3, 300, 300), dtype=np.int32), name=sys.argv[1])
layer.brush_size = 3
done = 0
def paint():
    global done
    with layer.block_history():
        for column in range(0, 300, 100):
            layer.paint((done % 3, done % 300, column), done + 1, refresh=False)
    if done % 7 == 6:
        layer.undo()
    done += 1
    print(done, flush=True)
timer = QTimer()
timer.timeout.connect(paint)
timer.start(20)
napari.run(force=True)
"""


def replay(upto: int) -> Iterator[np.ndarray]:
    """Yield the labels after 0, 1, … edits of `PAINT`, by napari's own brush."""
    from napari.layers import Labels

    layer = Labels(np.zeros((3, 300, 300), dtype=np.int32))
    layer.brush_size = 3
    yield layer.data
    for done in range(upto):
        with layer.block_history():
            for column in range(0, 300, 100):
                layer.paint((done % 3, done % 300, column), done + 1, refresh=False)
        if done % 7 == 6:
            layer.undo()
        yield layer.data


@pytest.fixture
def painters() -> Iterator[list[subprocess.Popen[str]]]:
    """Start several at once: most of the time goes into opening napari."""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PAINT, f"painter {number}"],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(ROUNDS)
        ]
        yield processes
        for process in processes:
            process.kill()


def kill_after(process: subprocess.Popen[str], edits: int, moment: random.Random) -> int:
    """Kill a painter some time after so many edits; return how many it had told of by then."""
    output: Any = process.stdout
    while (line := output.readline()) and int(line) < edits:
        pass
    time.sleep(moment.uniform(0, 0.03))
    process.kill()
    return max([edits, *(int(one) for one in output.read().split())])


def test_labels_survive_a_kill_at_any_moment_but_for_the_last_edits(
    painters, user_data: Path, qapp
):
    moment = random.Random()
    home = user_data / "journal"
    told = {}
    for number, process in enumerate(painters):
        told[f"painter {number}"] = kill_after(process, moment.randint(110, 160), moment)
        process.wait()

    entries = {entry.facts.name: entry for entry in list_entries(home)}

    assert set(entries) == set(told)
    for name, edits in told.items():
        assert entries[name].is_lost
        assert entries[name].facts.edits >= edits - MOST_LOST
        _, labels, note = read_entry(entries[name])
        assert note == ""
        states = replay(edits + 1)
        found = [done for done, state in enumerate(states) if (labels == state).all()]
        assert max(found, default=-1) >= edits - MOST_LOST
