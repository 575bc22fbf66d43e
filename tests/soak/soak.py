"""Drive a real napari through random user actions, and see that nothing painted is ever lost.

    bash scripts/with_screen.sh python tests/soak/soak.py --minutes 30 --seed 42

Opens images, segments, paints, undoes, cancels, adjusts, fine-tunes, switches and deletes layers,
closes and opens docks. After every action each layer that was painted on must be what it was made
by painting and undoing; an undo must bring back what was there; a deleted layer must be in the
journal; and so must all layers once the window is closed. Memory is measured after what is free was
given back to the system. napari itself grows with every layer that is added and removed; by how
much is measured first, without a dock of ours, and told. The result is written into
tests/faults/results/soak.json.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import math
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

RESULTS = Path(__file__).resolve().parents[1] / "faults" / "results" / "soak.json"
SIDE = 128  # of the images
MOST_LAYERS = 8
WARM_UP = 0.2  # of the time
SAMPLE_EVERY_S = 5


class Painted:
    """A layer that was painted on, what it must be, and what every undo must bring back."""

    def __init__(self, layer: Any, name: str) -> None:
        layer.name = name
        self.layer, self.name = layer, name
        self.renew()

    def renew(self) -> None:
        """Take the labels as they are for those that nobody has painted on."""
        self.wanted = self.made = self.layer.data.copy()
        self.before: list[np.ndarray] = []
        self.is_edited = False

    @property
    def has_nothing_painted(self) -> bool:
        """Whether every stroke was undone or changed nothing: newer labels may replace these."""
        return np.array_equal(self.wanted, self.made)


class Soak:
    """Random actions in a viewer, and what must be true after each.

    Parameters
    ----------
    viewer : napari.Viewer
        A real one.
    live : callable
        Lets the window live for some seconds.
    seed : int
        Of the actions.
    trains : bool
        Whether fine-tuning is among them, which starts processes.
    """

    def __init__(
        self, viewer: Any, live: Callable[[float], None], seed: int, *, trains: bool = True
    ) -> None:
        self.viewer, self.live, self.chance = viewer, live, random.Random(seed)
        self.painted: list[Painted] = []
        self.gone: dict[str, np.ndarray] = {}
        self.lost: list[str] = []
        self.counts: Counter[str] = Counter()
        self.segment_dock: Any = None
        self.finetune_dock: Any = None
        self._number = 0
        self._sample = _sample()
        self._actions: list[tuple[int, Callable[[], bool]]] = [
            (3, self.open_image), (6, self.segment), (14, self.paint), (6, self.undo),
            (3, self.cancel), (4, self.adjust), (2, self.add_labels), (4, self.switch),
            (3, self.delete), (2, self.reopen_dock), (6, self.wait),
        ]  # fmt: skip
        if trains:
            self._actions += [(1, self.train), (2, self.stop_training), (1, self.close_training)]
        self.open_dock()
        self.open_image()

    def step(self) -> None:
        """Do one action, and check."""
        weights = [weight for weight, _ in self._actions]
        [(_, action)] = self.chance.choices(self._actions, weights)
        if action():
            self.counts[action.__name__] += 1
            self.live(self.chance.uniform(0, 0.1))
        self.check(action.__name__)

    def check(self, action: str) -> None:
        """Note every painted layer that is not what it was made."""
        for one in self.painted:
            if one.layer not in self.viewer.layers:
                self.lost.append(f"{one.name} vanished in {action}")
            elif np.array_equal(one.layer.data, one.wanted):
                continue
            elif one.has_nothing_painted:
                one.renew()
            else:
                self.lost.append(f"{one.name} was changed in {action}")
                one.wanted = one.layer.data.copy()

    # What a user does; each returns whether it could be done.

    def open_dock(self) -> None:
        from napari_rwkv_seg.widgets.contributions import SegmentWithMedURWKV

        self.segment_dock = SegmentWithMedURWKV(self.viewer)
        self.viewer.window.add_dock_widget(self.segment_dock, name="segment")

    def open_image(self) -> bool:
        if len(self.viewer.layers) >= MOST_LAYERS:
            return False
        top, left = (self.chance.randrange(256 - SIDE) for _ in range(2))
        piece = self._sample[top : top + SIDE, left : left + SIDE].copy()
        self._number += 1
        self.viewer.add_image(piece, name=f"image {self._number}")
        return True

    def segment(self) -> bool:
        button = self.segment_dock.job.button
        if self.segment_dock._controller.running is not None or not button.isEnabled():
            return False
        if len(self.viewer.layers) >= MOST_LAYERS:
            return False
        button.click()
        return True

    def cancel(self) -> bool:
        if self.segment_dock._controller.running is None:
            return False
        self.segment_dock.job.button.click()
        return True

    def adjust(self) -> bool:
        self.segment_dock.labels.threshold.setValue(self.chance.uniform(0.05, 0.95))
        return True

    def paint(self) -> bool:
        from napari.layers import Labels

        from napari_rwkv_seg.widgets.finetune_matching import is_ours_to_show

        layers = [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Labels) and layer.editable and not is_ours_to_show(layer)
        ]
        if not layers:
            return False
        layer = self.chance.choice(layers)
        one = next((one for one in self.painted if one.layer is layer), None)
        if one is None:
            self._number += 1
            one = Painted(layer, f"painted {self._number}")
            self.painted.append(one)
        layer.brush_size = self.chance.choice([1, 5, 12])
        place = [self.chance.randrange(length) for length in layer.data.shape]
        before = layer.data.copy()
        label = self.chance.randrange(0, 9)
        layer.paint(place, label)
        if layer.data[tuple(place)] != label:
            self.lost.append(f"a stroke on {one.name} left no label")
        if not np.array_equal(before, layer.data):
            one.before.append(before)
            one.is_edited = True
        one.wanted = layer.data.copy()
        return True

    def undo(self) -> bool:
        can = [one for one in self.painted if one.before]
        if not can:
            return False
        one = self.chance.choice(can)
        one.layer.undo()
        one.wanted = one.before.pop()
        return True

    def add_labels(self) -> bool:
        if len(self.viewer.layers) >= MOST_LAYERS:
            return False
        self.viewer.add_labels(np.zeros((SIDE, SIDE), dtype=np.int32))
        return True

    def switch(self) -> bool:
        self.viewer.layers.selection.active = self.chance.choice(list(self.viewer.layers))
        return True

    def delete(self) -> bool:
        if len(self.viewer.layers) < 4:
            return False
        layer = self.chance.choice(list(self.viewer.layers))
        for one in [one for one in self.painted if one.layer is layer]:
            self.painted.remove(one)
            if one.is_edited:
                self.gone[one.name] = one.wanted
        self.viewer.layers.remove(layer)
        if not any(layer.name.startswith("image") for layer in self.viewer.layers):
            self.open_image()
        return True

    def reopen_dock(self) -> bool:
        self.viewer.window.remove_dock_widget(self.segment_dock)
        self.live(0.1)
        self.open_dock()
        return True

    def wait(self) -> bool:
        self.live(self.chance.uniform(0.1, 1.0))
        return True

    def train(self) -> bool:
        from napari_rwkv_seg.widgets.contributions import FinetuneOnMyLabels

        if self.finetune_dock is None:
            self.finetune_dock = FinetuneOnMyLabels(self.viewer)
            self.finetune_dock.ask = lambda question: True
            self.viewer.window.add_dock_widget(self.finetune_dock, name="fine-tune")
            self.live(1.0)
            self.finetune_dock._controller.choose(minutes=1.0)
        dock = self.finetune_dock
        if dock._controller.state == "ended":
            dock.result.keep.click()
            return True
        if dock._controller.is_busy or not dock.run.button.isEnabled():
            return False
        dock.run.button.click()
        return True

    def stop_training(self) -> bool:
        dock = self.finetune_dock
        if dock is None or not dock._controller.is_busy:
            return False
        self.chance.choice([dock.run.stop, dock.run.cancel]).click()
        return True

    def close_training(self) -> bool:
        if self.finetune_dock is None:
            return False
        self.viewer.window.remove_dock_widget(self.finetune_dock)
        self.finetune_dock = None
        self.live(0.5)
        return True

    def wanted(self) -> dict[str, np.ndarray]:
        """Return what every layer that was ever changed by painting was at its end, by name."""
        return self.gone | {one.name: one.wanted for one in self.painted if one.is_edited}


def _sample() -> np.ndarray:
    from napari_rwkv_seg.images.readers import read_image
    from napari_rwkv_seg.images.samples import sample_path

    return read_image(sample_path("nuclei_fluorescence")).data


def missing_in_journal(home: Path, wanted: dict[str, np.ndarray]) -> list[str]:
    """Return the layers whose labels are not in the journal as they were."""
    from napari_rwkv_seg.controllers.journal_folders import list_entries, read_entry

    kept = {entry.facts.name: read_entry(entry)[1] for entry in list_entries(home)}
    return [
        f"{name} is not in the journal as it was"
        for name, labels in wanted.items()
        if name not in kept or not np.array_equal(kept[name], labels)
    ]


def memory_change(samples: list[float]) -> float:
    """Return how memory has changed after the warm-up, in per cent."""
    rest = samples[int(WARM_UP * len(samples)) :]
    quarter = max(1, len(rest) // 4)
    first, last = np.median(rest[:quarter]), np.median(rest[-quarter:])
    return float(100 * (last / first - 1))


def memory_mb() -> float:
    """Return the memory of this process, after the C library has given back what is free."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    return float(psutil.Process().memory_info().rss / 1e6)


def own_growth(viewer: Any, live: Callable[[float], None], count: int = 30) -> float:
    """Return by how many MB napari alone grows for every layer that is added and removed."""
    sizes = []
    for number in range(2 * count):
        viewer.add_image(np.zeros((SIDE, SIDE), np.uint8))
        live(0.02)
        del viewer.layers[-1]
        live(0.02)
        if number + 1 in (count, 2 * count):
            sizes.append(memory_mb())
    return max(0.0, (sizes[1] - sizes[0]) / count)


@dataclass
class Measured:
    """What a soak measures on its way.

    Parameters
    ----------
    per_layer_mb : float
        By which napari alone grows for every layer.
    """

    per_layer_mb: float
    layers: int = 0
    sizes: list[float] = field(default_factory=list)
    without_napari: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def sample(self) -> None:
        """Measure the memory."""
        self.sizes.append(memory_mb())
        self.without_napari.append(self.sizes[-1] - self.per_layer_mb * self.layers)

    def count(self, _: object) -> None:
        """Hear of one more layer."""
        self.layers += 1

    def hear(self, *error: Any) -> None:
        """Hear of an exception that nobody caught."""
        self.faults.append("".join(traceback.format_exception(*error))[-2000:])
        print(self.faults[-1], file=sys.stderr, flush=True)

    def facts(self) -> dict[str, Any]:
        """Return it all as plain values."""
        return {
            "exceptions": len(self.faults),
            "memory_mb": [round(size) for size in self.sizes[:: max(1, len(self.sizes) // 20)]],
            "memory_change_percent": round(memory_change(self.sizes), 2),
            "layers_added": self.layers,
            "napari_alone_mb_per_layer": round(self.per_layer_mb, 2),
            "change_without_napari_percent": round(memory_change(self.without_napari), 2),
        }


def live(seconds: float) -> None:
    """Let the window live."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while True:
        QApplication.processEvents()
        if time.monotonic() >= end:
            return
        time.sleep(0.005)


def main() -> int:
    """Soak, and write what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--actions", type=float, default=math.inf, help="end after so many")
    parser.add_argument("--output", type=Path, default=RESULTS)
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        result = soak(choices.minutes, choices.actions, choices.seed, Path(folder))
    choices.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    is_flat = result["change_without_napari_percent"] <= 5
    return 0 if is_flat and not result["labels_lost"] and not result["exceptions"] else 1


def soak(minutes: float, actions: float, seed: int, folder: Path) -> dict[str, Any]:
    """Drive a napari of its own for so many minutes, or actions if these are done sooner."""
    import platformdirs

    os.environ["XDG_DATA_HOME"] = str(folder)
    platformdirs.user_data_path = lambda *_, **__: folder / "napari-rwkv-seg"
    import napari

    from napari_rwkv_seg.controllers.journal_folders import journal_folder

    viewer = napari.Viewer()
    measured = Measured(own_growth(viewer, live))
    sys.excepthook = measured.hear
    viewer.layers.events.inserted.connect(measured.count)
    drive = Soak(viewer, live, seed)
    begun = time.monotonic()
    drive_for(drive, 60 * minutes, actions, measured)
    home, wanted, layers = journal_folder(), drive.wanted(), len(drive.painted)
    viewer.close()
    live(2.0)
    lost = drive.lost + missing_in_journal(home, wanted)
    return {
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "seed": seed,
        "actions": sum(drive.counts.values()),
        "of_each": dict(drive.counts),
        "layers_painted": len(wanted),
        "layers_open_at_the_end": layers,
        "labels_lost": len(lost),
        "lost": lost,
        **measured.facts(),
        "processes_left": len(psutil.Process().children(recursive=True)),
    }


def drive_for(drive: Soak, seconds: float, actions: float, measured: Measured) -> None:
    """Do random actions for so long, or so many, and measure the memory now and then."""
    begun = time.monotonic()
    measured.sample()
    while (passed := time.monotonic() - begun) < seconds and sum(drive.counts.values()) < actions:
        drive.step()
        if passed > SAMPLE_EVERY_S * len(measured.sizes):
            measured.sample()
    drive.close_training()


if __name__ == "__main__":
    sys.exit(main())
