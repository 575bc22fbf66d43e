"""Fine-tune a starter model on a few images, beside MONAI's U-Net trained from scratch on them.

    python tests/benchmarks/bench_finetune.py run [--minutes 5] [--only SET K SEED ARM]
    python tests/benchmarks/bench_finetune.py table

A cell is one set of ../shared/data, k training images, a seed (which draws the images and
all that is random in the run) and an arm. Both arms are the very run that users start:
snapshot, split, crops, loop, minutes, and the checkpoint chosen on what is held out.
They differ in three things: "nuclei" and "objects" start from those shipped models, train at the
depth and the rate that the package chooses; "unet" starts from random weights, trains everything
at a rate of its own. Masks stand in for the user's brush; all pixels are checked.

Scores are means over test images of the Dice of the foreground, and the same pooled over
all their pixels; the bar is on the means. Test images are the first 40 by name (phc has 16).
The frames of phc_u373 are one group (one field of view, the same cells), so a side of
each frame is held out. Each finished cell is kept in results/finetune.json; `run` goes
on with those that are missing, and `table` writes results/finetune.md.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_data import (
    KINDS,
    keep,
    read_results,
    test_scores,
    train_and_test,
)
from finetune_unet import UNET_RATE, learning_rate, random_unet, register_unet

from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.inference import load_model
from napari_rwkv_seg.training.process import settle_process
from napari_rwkv_seg.training.run_settings import make_settings
from napari_rwkv_seg.zoo import DEFAULT_MODEL

RESULTS = Path(__file__).with_name("results") / "finetune.json"
BASES = {"nuclei": DEFAULT_MODEL, "objects": "med_urwkv_t_objects"}
ARMS = (*BASES, "unet")


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    name: str
    k: int
    seed: int
    arm: str

    @property
    def key(self) -> str:
        return f"{self.name} k={self.k} seed={self.seed} {self.arm}"

    @property
    def base(self) -> str:
        """The shipped model that the run starts from; for the U-Net the one it is told beside."""
        return BASES.get(self.arm, DEFAULT_MODEL)


def all_cells() -> Iterator[Cell]:
    """Yield the cells, the most telling first."""
    for seed in (0, 1):
        for k in (5, 2):
            for name in KINDS:
                for arm in ARMS:
                    if (name, arm) != ("dsb2018_nuclei", "objects"):  # nobody would start there
                        yield Cell(name, k, seed, arm)


def main() -> None:
    if "OMP_WAIT_POLICY" not in os.environ:  # as the process that trains has it; read with torch
        settle_process()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    settle_process()
    options = parse()
    results = read_results(options.results)
    if options.command == "run":
        torch.set_num_threads(options.threads)
        cells = [Cell(n, int(k), int(s), arm) for n, k, s, arm in options.only] or [*all_cells()]
        register_unet()
        for cell in cells:
            if cell.key not in results["cells"]:
                measured = measure(cell, options)
                results = read_results(options.results)  # another run may have written meanwhile
                results["cells"][cell.key] = measured
                keep(options.results, results)
                print(cell.key, json.dumps(measured), flush=True)
    text = table(results)
    write_atomically(
        options.results.with_suffix(".md"), lambda file: file.write(text.encode("utf-8"))
    )
    print(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--only", nargs=4, action="append", default=[], metavar="X",
                        help="SET K SEED ARM; may be repeated")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--on", choices=("test", "val"), default="test",
                        help="what to score on; choices are made on val")  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def measure(cell: Cell, options: argparse.Namespace) -> dict[str, Any]:
    """Do one run and return all that is known of it."""
    before = base_scores(cell, options)
    with tempfile.TemporaryDirectory(prefix="bench_finetune_") as scratch:
        folder = Path(scratch)
        settings = make_settings(
            name="result",
            model=str(random_unet(folder, cell.seed)) if cell.arm == "unet" else cell.base,
            labels=KINDS[cell.name],
            minutes=options.minutes,
            depth="everything" if cell.arm == "unet" else "auto",
            device="cpu",
            seed=cell.seed,
        )
        with learning_rate(UNET_RATE if cell.arm == "unet" else None):
            found = train_and_test(folder / "run", settings, cell.name, cell.k, options.on)
    return {"test_before": before, "base": cell.base, **found}


def base_scores(cell: Cell, options: argparse.Namespace) -> dict[str, float]:
    """Return the scores of the base on the images of a set; measured once."""
    results = read_results(options.results)
    key = f"{cell.base} {cell.name} {options.on}"
    if key not in results["base"]:
        results["base"][key] = test_scores(load_model(cell.base, "cpu"), cell.name, options.on)
        keep(options.results, results)
    return dict(results["base"][key])


def table(results: dict[str, Any]) -> str:
    """Return the finished cells as a Markdown table."""
    lines = [
        "| set | k | seed | arm | test before | test after | pooled after "
        "| held out before → after | recommended | steps | seconds | threads | load |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in all_cells():
        if found := results["cells"].get(cell.key):
            shown = found["shown"]
            lines.append(
                f"| {cell.name} | {cell.k} | {cell.seed} | {cell.arm} "
                f"| {found['test_before']['mean']:.3f} | {found['test_after']['mean']:.3f} "
                f"| {found['test_after']['pooled']:.3f} "
                f"| {number(shown['before']['mean'])} → {number(shown['after']['mean'])} "
                f"| {'yes' if shown['recommended'] else 'no'} | {found['steps']} "
                f"| {found['seconds']:.0f} | {found['machine']['threads']} "
                f"| {found['load_after'][0]:.1f} |"
            )
    return "\n".join([*lines, "", *verdicts(results["cells"])]) + "\n"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def verdicts(cells: dict[str, Any]) -> Iterator[str]:
    """Yield how the arms compare, and whether any recommendation was wrong."""
    for name in KINDS:
        for k in (2, 5):
            means = {arm: _mean(cells, name, k, arm) for arm in ARMS}
            unet = means.pop("unet")
            for arm, mean in means.items():
                if mean is not None and unet is not None:
                    word = "better" if mean > unet else "NOT better"
                    yield (
                        f"- {name}, k = {k}: from {arm} {mean:.3f}, U-Net {unet:.3f}: {word} "
                        "(means of two seeds)"
                    )
    wrong = [
        key
        for key, cell in cells.items()
        if not key.endswith("unet")
        and cell["shown"]["recommended"]
        and cell["test_after"]["mean"] < cell["test_before"]["mean"] - 0.02
    ]
    yield f"- Recommended but worse on the test images by more than 0.02: {wrong or 'none'}"


def _mean(cells: dict[str, Any], name: str, k: int, arm: str) -> float | None:
    """Return the mean of the test scores of an arm over both seeds, or None if one is missing."""
    found = [cells.get(Cell(name, k, seed, arm).key) for seed in (0, 1)]
    scores = [cell["test_after"]["mean"] for cell in found if cell is not None]
    return float(np.mean(scores)) if len(scores) == len(found) else None


if __name__ == "__main__":
    main()
