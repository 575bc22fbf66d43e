"""Fuzz what reads files, guided by coverage: `make fuzz SECONDS=60`. Linux, with atheris.

    python tests/fuzz/fuzz.py --seconds 60 [TARGET ...]

Each target runs in a process of its own, one after the other; a file that takes more than ten
seconds, more than two gigabytes, or raises anything but an error of ours is a fault, and is kept in
the folder that is named. What was done is written into tests/faults/results/fuzz.json.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "faults" / "results" / "fuzz.json"
TIMEOUT_S, MEMORY_MB = 10, 2048
DEFAULT_S = 60
NAMES = ["card", "safetensors", "checkpoint", "zip", "events", "run", "tiff", "picture", "nifti",
         "dicom", "ome-zarr", "journal", "sealed journal"]  # fmt: skip


def child(name: str, folder: Path, options: list[str]) -> None:
    """Fuzz one target; libFuzzer ends the process."""
    os.environ["XDG_DATA_HOME"] = str(folder / "work" / "data")
    import logging

    import atheris

    logging.disable()  # tifffile tells of every damaged tag
    sys.path[:0] = [str(HERE), str(HERE.parent / "images")]  # where DICOM files are made
    readers = ["napari_rwkv_seg", "tifffile", "zipfile", "pydicom", "nibabel", "zarr"]
    with atheris.instrument_imports(include=readers):
        import targets

    target, work = targets.TARGETS[name], folder / "work"
    (folder / "seeds").mkdir()
    (folder / "corpus").mkdir()
    work.mkdir()
    for number, seed in enumerate(target.seeds(folder / "seeds")):
        (folder / "corpus" / f"seed {number}").write_bytes(seed)

    def one(content: bytes) -> None:
        targets.check(target, content, work)

    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], one)
    atheris.Fuzz()


def fuzz(name: str, seconds: int, kept: Path) -> dict[str, float | int]:
    """Fuzz one target in a process of its own; return what was done."""
    disk = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=disk if disk.is_dir() else None) as folder:
        options = [
            f"-max_total_time={seconds}", f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MB}",
            "-print_final_stats=1", f"-artifact_prefix={kept}/{name.replace(' ', '_')}-",
            "-max_len=100000", "-detect_leaks=0",
        ]  # fmt: skip
        command = [sys.executable, __file__, "--child", name, "--folder", folder, "--", *options]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
        )  # fmt: skip
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if not line.startswith("#")]
        sys.stderr.write("\n".join(told)[-6000:] + "\n")
    return {
        "executions": int(stats.get("number_of_executed_units", 0)),
        "seconds": seconds,
        "slowest_s": float(stats.get("slowest_unit_time_sec", 0)),
        "peak_mb": int(stats.get("peak_rss_mb", 0)),
        "faults": int(done.returncode != 0),
    }


def main() -> int:
    """Fuzz all targets, or those that are named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=DEFAULT_S, help="for each target")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    choices = parser.parse_args()
    if choices.child:
        child(choices.child, choices.folder, choices.targets)
        return 0
    kept = Path(tempfile.mkdtemp(prefix="fuzz-faults-"))
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    faults = 0
    for name in choices.targets or NAMES:
        found[name] = fuzz(name, choices.seconds, kept)
        faults += int(found[name]["faults"])
        print(f"{name}: {found[name]}", flush=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if faults:
        print(f"What was at fault is kept in {kept}.")
    else:
        shutil.rmtree(kept)
    return min(1, faults)


if __name__ == "__main__":
    sys.exit(main())
