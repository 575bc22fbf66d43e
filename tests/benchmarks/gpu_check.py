"""Everything there is to check and to time on a machine with a GPU, in one run of minutes.

    python tests/benchmarks/gpu_check.py [--output FILE] [--no-timings]

Compiles the kernels, compares them with float64 in all dtypes, repeats them on streams,
threads and CUDA graphs, runs NVIDIA's compute-sanitizer if it is installed, and times them
beside the plain PyTorch form, the authors' way of parallelising and a copy of the same bytes.
Writes tests/benchmarks/results/<device>.json after every part, so that what was measured
is kept if a later part fails. Exits with 1 if a check failed, with 2 without a GPU.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch
from gpu import checks, timings
from gpu.authors import AuthorsScheme

from napari_rwkv_seg import __version__
from napari_rwkv_seg.files import write_atomically

RESULTS = Path(__file__).parent / "results"
SANITIZER_S = 150
SANITIZED = (
    "import torch; from gpu import checks; d = torch.device('cuda'); "
    "checks.BENCHMARK_SHAPES[:] = [(2, 300, 40)]; checks.large_shapes_agree(d)"
)


def main() -> None:
    """Check, time, and say what failed."""
    options = parse()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device that this torch can use: nothing was checked.",
              file=sys.stderr)  # fmt: skip
        raise SystemExit(2)
    report = {"machine": machine(device), "checks": {}, "sanitizer": {}, "timings": []}
    path = options.output or RESULTS / f"{file_name(report['machine']['device'])}.json"
    print(json.dumps(report["machine"]))
    for check in checks.CHECKS:
        report["checks"][check.__name__] = outcome(check, device)
        keep(path, report)
    if not options.no_timings:
        time_all(device, report, path)
    if device.type == "cuda":  # last: it takes minutes, and nothing may run beside the timings
        for tool in ("memcheck", "racecheck"):
            report["sanitizer"][tool] = sanitize(tool)
            keep(path, report)
    done = report["checks"] | report["sanitizer"]
    told = {True: "passed", False: "failed", None: "not run to its end"}
    for state, words in told.items():
        names = [name for name, one in done.items() if one["passed"] is state]
        print(f"{len(names)} {words}: {', '.join(names) or 'none'}")
    print(path)
    failed = any(one["passed"] is False for one in done.values())
    raise SystemExit(1 if failed else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="results file; named after the device if unset")
    parser.add_argument("--no-timings", action="store_true", help="check only")
    parser.add_argument("--device", default="cuda", help="cpu tries the script itself")
    return parser.parse_args()


def machine(device: torch.device) -> dict[str, object]:
    """Return what the figures depend on."""
    facts = {
        "device": platform.machine(),
        "torch": torch.__version__,
        "version": __version__,
        "system": platform.platform(),
        "measured": time.strftime("%Y-%m-%d"),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device"] = properties.name
        facts["compute capability"] = f"{properties.major}.{properties.minor}"
        facts["multiprocessors"] = properties.multi_processor_count
        facts["cuda"] = torch.version.cuda
    return facts


def file_name(device: str) -> str:
    """Return a device's name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")


def outcome(check: object, device: torch.device) -> dict[str, object]:
    """Run one check; a failure is kept with its words and does not stop the others."""
    start = time.monotonic()
    try:
        result = {"passed": True, "figures": check(device)}
    except Exception as error:  # noqa: BLE001 - whatever fails is a result
        traceback.print_exc()
        result = {"passed": False, "error": f"{type(error).__name__}: {error}"[:2000]}
    result["seconds"] = round(time.monotonic() - start, 1)
    print(f"{check.__name__}: {'passed' if result['passed'] else 'FAILED'} {result}", flush=True)
    return result


def sanitize(tool: str) -> dict[str, object]:
    """Run the kernels under compute-sanitizer; `passed` is None if it is not installed."""
    found = shutil.which("compute-sanitizer")
    if found is None:
        return {"passed": None, "said": "compute-sanitizer is not installed"}
    command = [found, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", SANITIZED]
    # From blocks of 2 MB, as torch hands them out, no access would be out of bounds.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that what it starts can be ended with it
    ) as process:
        try:
            said, _ = process.communicate(timeout=SANITIZER_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return {"passed": None, "said": f"did not end in {SANITIZER_S} s"}
    return {"passed": process.returncode == 0, "said": said[-1500:]}


def time_all(device: torch.device, report: dict, path: Path) -> None:
    """Add a row of times for every shape and dtype, and keep each."""
    authors = None
    if device.type == "cuda":
        try:
            authors = AuthorsScheme(device)
        except Exception as error:  # noqa: BLE001 - the other columns are still wanted
            report["authors"] = f"{type(error).__name__}: {error}"[:500]
    for shape in checks.BENCHMARK_SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            row = {"shape": shape, "dtype": str(dtype).removeprefix("torch.")}
            try:
                row |= timings.measure(shape, dtype, device, authors)
            except Exception as error:  # noqa: BLE001 - the other rows are still wanted
                row["error"] = f"{type(error).__name__}: {error}"[:500]
            report["timings"].append(row)
            print(json.dumps(row), flush=True)
            keep(path, report)


def keep(path: Path, report: dict) -> None:
    """Write the results so far."""
    text = json.dumps(report, indent=1) + "\n"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    main()
