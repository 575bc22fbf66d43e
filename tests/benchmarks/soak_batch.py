"""Segment 200 real files, 10 of them broken, while the process is killed again and again.

    python tests/benchmarks/soak_batch.py --crop 96

Real images of ../shared/data are cropped (so that it is quick) and ten of them are broken
in ten ways. One run is left alone; another is killed at random moments and begun anew until
it ends by itself. Both must have the same 190 results and the same 10 sentences. The
result is a line of JSON, kept in results/batch.json.
"""

import argparse
import csv
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from napari_rwkv_seg.images.readers import read_image

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RESULTS = Path(__file__).with_name("results") / "batch.json"
WAYS = ("empty", "page", "start", "half", "zeros", "archive", "text", "noise", "torn", "gone")


def write_images(folder: Path, count: int, crop: int, chance: random.Random) -> int:
    """Write crops of real images, in a folder a data set; return how many there are."""
    sets = sorted(each for each in DATA.iterdir() if (each / "images").is_dir())
    files = {each.name: sorted((each / "images").rglob("*.*")) for each in sets}
    endings = (".png", ".jpg", ".tif", ".nii.gz")  # of images that are one file each
    files = {name: [p for p in paths if p.name.endswith(endings)] for name, paths in files.items()}
    names = [name for name, paths in files.items() if paths]
    written = 0
    while written < count:
        name = names[written % len(names)]
        path = chance.choice(files[name])
        target = folder / name / f"{written:03}_{path.name.partition('.')[0]}.tif"
        image = read_image(path)
        middle = tuple(
            slice(max(0, size // 2 - crop // 2), size // 2 + crop // 2) if axis in "YX"
            else (slice(0, 2) if axis in "TZ" else slice(None))
            for axis, size in zip(image.axes, image.data.shape, strict=True)
        )  # fmt: skip
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.ascontiguousarray(image.data[middle])
        colours = image.axes.endswith("C") and pixels.shape[-1] in (3, 4)
        tifffile.imwrite(
            target,
            pixels,
            ome=True,
            photometric="rgb" if colours else "minisblack",
            metadata={"axes": image.axes.replace("C", "S") if colours else image.axes},
        )
        written += 1
    return written


def write_broken(folder: Path, good: list[Path], chance: random.Random) -> int:
    """Write files that are broken in ten ways; return how many."""
    folder.mkdir(parents=True)
    for way in WAYS:
        content, path = chance.choice(good).read_bytes(), folder / f"{way}.tif"
        made = {
            "empty": b"",
            "page": b"<!doctype html><html>404</html>",
            "start": content[:200],
            "half": content[: len(content) // 2][:1000],
            "zeros": bytes(5000),
            "archive": b"PK\x03\x04" + content,
            "text": b"area;mean\n1;2\n",
            "noise": chance.randbytes(5000),
            "torn": b"\x89PNG\r\n\x1a\n" + content[:500],
        }
        if way != "gone":
            path.write_bytes(made[way])
    return len(WAYS)


def command(folder: Path, out: Path) -> list[str]:
    """Return the command that segments the images of a folder, and one that is not there."""
    code = "from napari_rwkv_seg.cli import main; main()"
    gone = str(folder / "broken" / "gone.tif")
    options = ["-o", str(out), "--measure", "--output", "objects", "--device", "cpu"]
    return [sys.executable, "-c", code, "segment", str(folder), gone, *options]


def run_alone(folder: Path, out: Path) -> tuple[float, int]:
    """Run to the end; return the seconds, and the exit code."""
    start = time.monotonic()
    with (out.parent / "log").open("ab") as log:
        done = subprocess.run(command(folder, out), stdout=log, stderr=log, check=False)
    return time.monotonic() - start, done.returncode


def kill_once(folder: Path, out: Path, more: int, wait_s: float) -> bool:
    """Begin, and kill some time after `more` further results; return whether it still ran."""
    before = len(results(out))
    with (out.parent / "log").open("ab") as log:
        process = subprocess.Popen(command(folder, out), stdout=log, stderr=log)
    while process.poll() is None and len(results(out)) < before + more:
        time.sleep(0.02)
    time.sleep(wait_s)
    killed = process.poll() is None
    if killed:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return killed


def results(out: Path) -> dict[str, Path]:
    """Return all labels by their names; what a run is making in its hidden folder is none."""
    found = {}
    for folder, inside, names in os.walk(out):
        inside[:] = [each for each in inside if not each.startswith(".")]
        paths = [Path(folder, name) for name in names if name.endswith("_labels.tif")]
        found |= {path.relative_to(out).as_posix(): path for path in paths}
    return found


def table(out: Path) -> list[dict[str, str]]:
    with (out / "batch.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def differing(first: Path, second: Path) -> list[str]:
    """Return which labels are not the same in two folders."""
    ours, theirs = results(first), results(second)
    missing = sorted(ours.keys() ^ theirs.keys())
    return missing + [
        name
        for name in sorted(ours.keys() & theirs.keys())
        if not np.array_equal(tifffile.imread(ours[name]), tifffile.imread(theirs[name]))
    ]


def soak() -> None:
    """Run, kill, go on, compare; write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=200, help="10 of them broken")
    parser.add_argument("--crop", type=int, default=96, help="side in pixels")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=42)
    choices = parser.parse_args()
    chance = random.Random(choices.seed)
    with tempfile.TemporaryDirectory() as made:
        folder, alone, killed = (Path(made) / name for name in ("images", "alone", "killed"))
        good = write_images(folder, choices.images - len(WAYS), choices.crop, chance)
        broken = write_broken(folder / "broken", sorted(folder.rglob("*.tif")), chance)
        seconds, code = run_alone(folder, alone)
        share = good // (choices.kills + 1)
        kills = sum(
            kill_once(folder, killed, share, chance.uniform(0, 0.3)) for _ in range(choices.kills)
        )
        left, _ = run_alone(folder, killed)
        rows = table(killed)
        failed = [row for row in rows if row["state"] == "failed"]
        outcome = {
            "images": good + broken,
            "broken": broken,
            "results": len(results(alone)),
            "exit_code": code,
            "seconds": round(seconds, 1),
            "crop": choices.crop,
            "kills": kills,
            "results_after_kills": len(results(killed)),
            "differing": differing(alone, killed),
            "sentences": len([row for row in failed if row["note"].endswith(".")]),
            "skipped_at_the_end": len([row for row in rows if row["state"] == "skipped"]),
            "seconds_of_the_last_run": round(left, 1),
            "left_behind": len(list(killed.rglob(".*"))),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        for row in failed:
            print(f"{row['image']}: {row['note']}".replace(made, ""), file=sys.stderr)
    print(json.dumps(outcome))
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n")
    right = outcome["results"] == outcome["results_after_kills"] == good
    sys.exit(not (right and not outcome["differing"] and outcome["sentences"] == broken))


if __name__ == "__main__":
    soak()
