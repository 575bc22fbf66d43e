"""Train and test every network on every data set alike, and write docs/evidence.md.

    make accuracy                                    what is missing, then the table
    make accuracy CELL=glas/med_urwkv_t              one cell, again (* stands for anything)
    python tests/benchmarks/accuracy.py [--cell SET/NETWORK] [--seconds 180] [--device auto]
        [--seeds 0 1 2] [--most-test N] [--threads N] [--table] [--time-images N]

A cell is a set of ../shared/data, a network, a seed, a budget in seconds and a device. Each
that is finished is kept in results/accuracy.json at once, so a run that was stopped goes on
with what is missing; one that fails is named and does not stop the others. Seeds are
outermost: after the first round every network has been on every set. A later seed does the
steps that seed 0 did in its seconds, so that what differs is the seed, not how fast or how
busy the machine was that day; its seconds are in no table. For the same reason a cell that is
asked for again does the steps that it did. `--time-images` measures how long images take
where all cells of a network are such. `accuracy/` holds the parts;
`synthetic/tiny` and `synthetic/tinier` try the command in seconds.
"""

import argparse
import fnmatch
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from napari_rwkv_seg.training.process import settle_process

if __name__ == "__main__" and "OMP_WAIT_POLICY" not in os.environ:  # read when torch is loaded
    settle_process()
    os.execv(sys.executable, [sys.executable, *sys.argv])

import torch
from accuracy import networks, sets
from accuracy.report import evidence, objects_section, pretraining_section
from accuracy.testing import seconds_per_image, test_apart
from accuracy.training import Plan, train
from bench_pretraining import table as pretraining_table

from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.inference.loading import choose_device

test_apart.__test__ = False
ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results") / "accuracy.json"
OBJECTS = RESULTS.with_name("accuracy_objects.json")  # of accuracy_objects.py
PRETRAINING = RESULTS.with_name("pretraining.json")  # of bench_pretraining.py
EVIDENCE = ROOT / "docs" / "evidence.md"


def main() -> int:
    options = parse()
    failed = []
    settle_process()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.time_images:
        time_images(options.results, options.time_images)
    elif not options.table:
        for plan in plans(options):
            is_wanted_again = bool(options.cell)
            if plan.key in read_results(options.results) and not is_wanted_again:
                continue
            try:
                measured = measure(plan)
            except Exception as error:  # noqa: BLE001 - the other cells must still be measured
                failed.append(plan.key)
                print(f"{plan.key}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                continue
            keep(options.results, plan.key, measured)
            print(plan.key, json.dumps(measured["scores"]), flush=True)
    text = page(options)
    write_atomically(options.evidence, lambda file: file.write(text.encode("utf-8")))
    print(options.evidence)
    if failed:
        print(f"Not finished: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def page(options: argparse.Namespace) -> str:
    """Return docs/evidence.md as the finished measurements make it."""
    text = evidence(read_results(options.results))
    if options.pretraining.is_file():
        cells = json.loads(options.pretraining.read_text(encoding="utf-8"))["cells"]
        text += pretraining_section(pretraining_table(cells))
    if options.objects.is_file():
        text += objects_section(json.loads(options.objects.read_text(encoding="utf-8")))
    return text


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cell", action="append", default=[], help="SET/NETWORK, again")
    parser.add_argument("--seconds", type=float, default=180.0, help="of training, for each cell")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--most-test", type=int, default=0, help="test images; 0 for all")
    parser.add_argument("--threads", type=int, default=0, help="0 for as many as PyTorch takes")
    parser.add_argument("--table", action="store_true", help="write the table alone")
    parser.add_argument(
        "--time-images", type=int, default=0, metavar="N", help="time N images a set, no cell"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--objects", type=Path, default=OBJECTS)
    parser.add_argument("--pretraining", type=Path, default=PRETRAINING)
    parser.add_argument("--evidence", type=Path, default=EVIDENCE)
    return parser.parse_args()


def plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Yield the cells that are wanted, all networks and sets of a seed before the next one."""
    device = choose_device(options.device)
    every = [f"{data}/{network}" for data in sets.SETS for network in networks.NETWORKS]
    if options.cell:
        every += [f"{data}/{network}" for data in sets.SMOKE for network in networks.ALL]
        wanted = [name for name in every if any(fnmatch.fnmatch(name, c) for c in options.cell)]
        if not wanted:
            raise SystemExit(f"No cell is called {options.cell}; cells are: {', '.join(every)}.")
        every = wanted
    for seed in options.seeds:
        for name in every:
            data, _, network = name.partition("/")
            plan = Plan(data, network, seed, options.seconds, device, options.most_test)
            first = read_results(options.results).get(replace(plan, seed=0).key)
            yield replace(plan, steps=first["steps"]) if first else plan


def measure(plan: Plan) -> dict[str, Any]:
    """Train and test a cell, and return all that is known of it."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else (0.0,)
    with tempfile.TemporaryDirectory(prefix="accuracy_") as scratch:
        trained = train(plan, Path(scratch))
        tested = test_apart(plan, trained, Path(scratch), torch.get_num_threads())
    told = {"plan": asdict(plan), **trained, **tested}
    return {**told, "machine": machine(plan.device), "load_before": round(load[0], 2)}


def time_images(results: Path, images: int) -> None:
    """Time what no cell tells the seconds of, and keep it in the cells of the first seed."""
    for data in sets.SETS:
        cells = {
            key: cell
            for key, cell in read_results(results).items()
            if (cell["plan"]["data"], cell["plan"]["seed"], cell["plan"]["device"])
            == (data, 0, "cpu")
            and cell["plan"].get("steps")
        }
        if not cells:
            continue
        taken = seconds_per_image(list(cells.values()), images)
        for (key, cell), seconds in zip(cells.items(), taken, strict=True):
            later = {"seconds_per_image": seconds, "images": images, **machine("cpu")}
            keep(results, key, {**cell, "timed_later": later})
            print(key, f"{seconds:.3f} s an image", flush=True)


def read_results(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8"))["cells"])


def keep(path: Path, key: str, measured: dict[str, Any]) -> None:
    """Add a cell to those that are kept; another run may have added some meanwhile."""
    cells = {**read_results(path), key: measured}
    text = json.dumps({"cells": cells}, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def machine(device: str) -> dict[str, Any]:
    """Return what the timings depend on."""
    threads = torch.get_num_threads()
    processor = f"{_processor()}, {os.cpu_count()} CPUs, {threads} threads"
    if device.startswith("cuda"):
        processor = f"{torch.cuda.get_device_name(device)}; {processor}"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "text": f"{processor}, {platform.system()}, PyTorch {torch.__version__}",
        "commit": commit,
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
