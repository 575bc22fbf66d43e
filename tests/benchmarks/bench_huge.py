"""Memory and time of huge images streamed into a store, and what the borders of tiles cost.

    python tests/benchmarks/bench_huge.py [--sides 2048 8192 20000] [--kinds grey rgb dask zarr]
        [--threads 2] [--folder DIR] [--seams-only]

Every row is a process of its own, whose largest resident memory (all of
it: Python, torch, the model, the image's reader) is taken. Images are real nuclei
of ../shared/data/dsb2018_nuclei laid side by side and repeated without being held:
a lazy array, the same as dask or as a Zarr on the disk, grey or RGB, uint8. A row
that is interrupted goes on where it stopped when the script is run again (its store
is in --folder), and its seconds add up. Seams: five real images predicted whole and
in tiles; the largest difference of probabilities and the share of labels that differ.
Prints a Markdown table and writes results/huge_cpu.json after every row. A row of
20,000 pixels takes most of an hour on two cores; run it in the background.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
RESULTS = HERE.with_name("results") / "huge_cpu.json"
NUCLEI = HERE.parents[3] / "shared" / "data" / "dsb2018_nuclei" / "images"
KINDS = ("grey", "rgb", "dask", "zarr")
BASE = 2048


def main() -> None:
    options = parse()
    if options.child:
        run_row(*options.child.split(","), options.folder, options.threads)
        return
    facts = json.loads(options.results.read_text()) if options.results.exists() else {}
    facts.setdefault("rows", {})
    if "seams" not in facts:
        facts["seams"] = seams()
        keep(facts, options.results)
    for side in [] if options.seams_only else options.sides:
        for kind in options.kinds:
            name = f"{side} {kind}"
            if name not in facts["rows"]:
                facts["rows"][name] = measured(side, kind, options)
                keep(facts | machine(options.threads), options.results)
    print(table(facts))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 8192, 20000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["grey", "rgb"])
    parser.add_argument("--threads", type=int, default=2)
    default = Path(tempfile.gettempdir()) / "bench_huge"
    parser.add_argument("--folder", type=Path, default=default)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seams-only", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(side: int, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one row in a process of its own and return what it says."""
    folder = options.folder / f"{side}_{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(HERE), "--child", f"{side},{kind}", "--folder", str(folder)]
    done = subprocess.run([*command, "--threads", str(options.threads)], check=False)
    if done.returncode:
        raise SystemExit(f"{side} {kind} ended with {done.returncode}; run again to continue.")
    row = json.loads((folder / "row.json").read_text())
    shutil.rmtree(folder)
    return row


def run_row(side_text: str, kind: str, folder: Path, threads: int) -> None:
    """Stream one image; keep seconds and memory of every turn in row.json."""
    import torch

    from napari_rwkv_seg.inference import LabelSettings, load_model, segment_to_store_steps

    torch.set_num_threads(threads)
    side, row_file = int(side_text), folder / "row.json"
    image, axes = make_image(side, kind, folder)
    row = json.loads(row_file.read_text()) if row_file.exists() else {"seconds": 0.0, "turns": 0}
    row |= {"turns": row["turns"] + 1, "peak_mb": row.get("peak_mb", 0.0)}
    model = load_model(device="cpu")
    settings = LabelSettings.for_model(model.card, "objects")
    steps = segment_to_store_steps(image, model, folder / "labels", axes=axes, settings=settings)
    result = watched(steps, row, row_file)
    row |= {"objects": result.count, "notes": list(result.notes)}
    row["pixels_per_second"] = side * side / row["seconds"]
    row_file.write_text(json.dumps(row))


def watched(steps: Any, row: dict[str, Any], row_file: Path) -> Any:
    """Drive the steps; add up seconds, also by phase, and keep the row every ten seconds."""
    phases: dict[str, float] = row.setdefault("phases", {})
    phase, since, shown = "begin", time.monotonic(), 0.0
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            result = end.value
            break
        finally:
            now = time.monotonic()
            phases[phase] = phases.get(phase, 0.0) + now - since
            row["seconds"] = sum(phases.values())
            row["peak_mb"] = max(row["peak_mb"], peak_mb())
            since = now
        phase = progress.note.split(":")[0].split(",")[0] or "network"
        if now - shown > 10:
            shown = now
            row_file.write_text(json.dumps(row))
            print(f"{row_file.parent.name}: {progress} {row['peak_mb']:.0f} MB", file=sys.stderr)
    return result


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, in MB of 10^6 bytes.

    Linux hands getrusage's figure on from the process that started this one; that of the
    process's own memory begins anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


class Mosaic:
    """`side` × `side` pixels that repeat a base; only what is asked for is made."""

    def __init__(self, base: np.ndarray, side: int) -> None:
        self.base, self.dtype = base, base.dtype
        self.shape = (side, side, *base.shape[2:])
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        rows, columns = (
            np.arange(*one.indices(length)) % BASE
            for one, length in zip(key[:2], self.shape, strict=False)
        )
        return self.base[rows[:, None], columns]


def make_image(side: int, kind: str, folder: Path) -> tuple[Any, str]:
    """Return an image of this kind and its axes."""
    mosaic = Mosaic(base_of(3 if kind == "rgb" else 1), side)
    axes = "YXC" if kind == "rgb" else "YX"
    if kind == "dask":
        import dask.array as da

        return da.from_array(mosaic, chunks=1024, asarray=False), axes
    if kind == "zarr":
        import zarr

        name = folder / "image.zarr"
        if not (folder / "image.done").exists():
            array = zarr.create_array(
                name, shape=(side, side), chunks=(1024, 1024), dtype="uint8", overwrite=True
            )
            for start in range(0, side, 1024):
                array[start : start + 1024] = mosaic[start : start + 1024, :]
            (folder / "image.done").touch()
        return zarr.open_array(name, mode="r"), axes
    return mosaic, axes


def base_of(channels: int) -> np.ndarray:
    """Return real images side by side, (2048, 2048) grey or (2048, 2048, 3)."""
    cell = 512 if channels == 1 else 256
    images = [one for one in real_images(cell) if (one.ndim == 3) == (channels == 3)]
    grid = range(0, BASE, cell)
    places = [(row, column) for row in grid for column in grid]
    base = np.zeros((BASE, BASE, 3)[: 2 if channels == 1 else 3], dtype=np.uint8)
    for number, (row, column) in enumerate(places):
        image = images[number % len(images)]
        base[row : row + cell, column : column + cell] = image[:cell, :cell]
    return base


def real_images(smallest: int) -> list[np.ndarray]:
    """Return the nuclei images that are at least so high and wide, grey ones as (Y, X)."""
    from PIL import Image

    found = []
    for path in sorted(NUCLEI.iterdir()):
        with Image.open(path) as image:
            if min(image.size) >= smallest:
                found.append(np.asarray(image))
    if not found:
        raise SystemExit(f"No images in {NUCLEI}.")
    return found


def seams(count: int = 5) -> dict[str, Any]:
    """Compare five large real images predicted whole and in the model's own tiles."""
    from napari_rwkv_seg.inference import LabelSettings, load_model, predict_steps
    from napari_rwkv_seg.inference.labels import label_probabilities

    model = load_model(device="cpu")
    settings = LabelSettings.for_model(model.card, "classes")
    images = sorted(real_images(520), key=lambda one: -one.shape[0] * one.shape[1])[:count]
    rows = []
    for image in images:
        found = []
        for size in (max(image.shape[:2]), model.card.tile_size):
            axes = "YXC" if image.ndim == 3 else "YX"
            steps = predict_steps(image, model, axes=axes, tile_size=size)
            found.append(drained(steps).probabilities)
        labels = [label_probabilities(one, settings) for one in found]
        difference = np.abs(found[0] - found[1])
        rows.append(
            {
                "shape": list(image.shape),
                "largest_difference": float(difference.max()),
                "mean_difference": float(difference.mean()),
                "labels_differ": float(np.mean(labels[0] != labels[1])),
            }
        )
    return {"tile_size": model.card.tile_size, "images": rows}


def drained(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def machine(threads: int) -> dict[str, Any]:
    import torch

    return {
        "threads": threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def keep(facts: dict[str, Any], results: Path) -> None:
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def table(facts: dict[str, Any]) -> str:
    """Return all rows as Markdown."""
    lines = [
        "| side, kind | largest memory, MB | seconds | pixels a second | objects |",
        "|---|---|---|---|---|",
    ]
    for name, row in facts["rows"].items():
        speed, count = row["pixels_per_second"], row["objects"]
        lines.append(
            f"| {name} | {row['peak_mb']:.0f} | {row['seconds']:.0f} | {speed:.0f} | {count} |"
        )
    lines += [
        "",
        "| image | largest difference of probabilities | mean | labels that differ |",
        "|---|---|---|---|",
    ]
    for row in facts["seams"]["images"]:
        shape = " × ".join(map(str, row["shape"][:2]))
        largest, mean = row["largest_difference"], row["mean_difference"]
        lines.append(f"| {shape} | {largest:.4f} | {mean:.5f} | {row['labels_differ']:.3%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
