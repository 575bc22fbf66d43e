"""Kill the training process at random moments, again and again, and see that every run goes on.

    python tests/benchmarks/soak_finetune.py --kills 50

The shipped model is trained on small images in runs that save as often as they
can, so that many kills fall into the writing of a checkpoint. After each kill
every file must be whole; then the same run goes on, or, once it is finished, a
new one begins. The result is a line of JSON.
"""

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import napari_rwkv_seg.training.job
import napari_rwkv_seg.training.publish  # noqa: F401 - loaded once, for all children
from napari_rwkv_seg.training import preparation, work
from napari_rwkv_seg.training.checkpoints import load_checkpoint_file
from napari_rwkv_seg.training.events import read_events
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.process import main
from napari_rwkv_seg.training.run_folder import RunFolder, prepare_run, read_snapshot
from napari_rwkv_seg.training.run_settings import RunSettings
from napari_rwkv_seg.zoo.store import find_model, read_network


def new_run(folder: Path, seed: int) -> RunFolder:
    """Make a run on three small images with bright squares."""
    generator = np.random.default_rng(seed)
    pairs = []
    for number in range(3):
        labels = np.zeros((96, 96), np.int32)
        labels[10:40, 20:50] = labels[60:90, 50:80] = 1
        image = generator.normal(20, 4, labels.shape) + 80 * labels
        pairs.append(TrainingPair(f"{number}", image.astype(np.float32), labels, labels >= 0))
    return prepare_run(folder, RunSettings(name="soak", seed=seed, steps=60), pairs)


def unreadable(run: RunFolder) -> list[str]:
    """Return what of a run is not whole."""
    files = [(path, load_checkpoint_file) for path in run.checkpoints.glob("*.pt")]
    files += [(path, read_json) for path in run.path.glob("*.json")]
    files += [(path, read_maps) for path in run.checkpoints.glob("*.npz")]
    if run.model.exists():
        files.append((run.model, read_model))
    files.append((run.path, lambda _: read_snapshot(run)))
    faults = []
    for path, read in files:
        try:
            read(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault to report
            faults.append(f"{path.name}: {error}")
    return faults


def read_json(path: Path) -> None:
    json.loads(path.read_bytes())


def read_maps(path: Path) -> None:
    with np.load(io.BytesIO(path.read_bytes())) as maps:
        for name in maps.files:
            maps[name]


def read_model(path: Path) -> None:
    read_network(find_model(path))


def kill_once(run: RunFolder, chance: random.Random, longest_s: float) -> str:
    """Begin or resume a run, kill it after a random time; return the last event, or its failure.

    The child is forked, so that it need not load the libraries again.
    """
    known = len(read_events(run.events)[0])
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main([str(run.path)]))
    status = 0
    while len(read_events(run.events)[0]) == known and not status:
        time.sleep(0.01)
        status = os.waitpid(child, os.WNOHANG)[1]
    time.sleep(chance.uniform(0, longest_s))
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        return f"exit code {code}"
    events = read_events(run.events)[0]
    return str(events[-1]["event"]) if events else "nothing"


def soak() -> None:
    """Kill, check, go on; write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds before a kill")
    parser.add_argument("--seed", type=int, default=42)
    choices = parser.parse_args()
    torch.set_num_threads(1)  # threads would not survive the fork
    work.SAVE_EVERY_S, work.SAVE_SHARE, preparation.CPU_PIXELS = 0.2, 0.5, 64 * 64
    chance, runs = random.Random(choices.seed), 0
    moments: dict[str, int] = {}
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(Path(folder) / "0", 0)
        for _ in range(choices.kills):
            if run.result.exists():
                runs += 1
                run = new_run(Path(folder) / str(runs), runs)
            last = kill_once(run, chance, choices.longest)
            moments[last] = moments.get(last, 0) + 1
            faults += unreadable(run)
            if last.startswith("exit code"):
                faults.append(last)
            print(last, faults, file=sys.stderr, flush=True)
    result = {"kills": choices.kills, "finished_runs": runs, "after": moments, "faults": faults}
    print(json.dumps(result))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    soak()
