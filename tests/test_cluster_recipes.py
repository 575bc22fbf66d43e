"""The SLURM recipes of docs/cluster.md, run as they stand there, with stand-ins for SLURM."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "cluster.md"
PARTS = 2
# Runs what follows the options, as many times as tasks are wanted, but at most twice; a signal
# that ends it ends them, as with SLURM's own.
SRUN = f"""#!{sys.executable}
import signal, subprocess, sys
words = sys.argv[1:]
options = [word for word in words if word.startswith("--")]
while words[0].startswith("--"):
    words.pop(0)
tasks = [int(word.split("=")[1]) for word in options if word.startswith("--ntasks=")]
started = [subprocess.Popen(words) for _ in range(min(2, *tasks) if tasks else 1)]
signal.signal(signal.SIGTERM, lambda *_: [each.terminate() for each in started])
sys.exit(max(abs(each.wait()) for each in started))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with images in `data`, and SLURM's commands in `bin`."""
    (tmp_path / "data" / "plate").mkdir(parents=True)
    generator = np.random.default_rng(42)
    for number in range(3):
        pixels = generator.integers(0, 255, (40, 50)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / "plate" / f"{number}.tif")
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    activate = tmp_path / "envs" / "seg" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    return tmp_path


def recipe(heading: str) -> str:
    """Return the first bash script below a heading."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    found = re.search(r"```bash\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def run(script: str, place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    surroundings = os.environ | {
        "HOME": str(place), "TMPDIR": str(place), "DATA": str(place / "data"),
        "RESULTS": str(place / "out"), "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "XDG_DATA_HOME": str(place / "home"), "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-c", script], env=surroundings | variables, cwd=place,
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def results(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "out").rglob("*_labels.tif"))


@pytest.mark.skipif(sys.platform != "linux", reason="SLURM runs on Linux")
def test_an_array_does_its_parts_and_the_last_job_finds_nothing_missing(place: Path) -> None:
    script = recipe("SLURM: an array")
    for part in range(1, PARTS + 1):
        done = run(script, place, SLURM_ARRAY_TASK_ID=str(part), SLURM_ARRAY_TASK_COUNT=str(PARTS))
        assert done.returncode == 0, done.stderr
        assert len(results(place)) == (2, 3)[part - 1]
    last = re.search(r"--wrap '(.*)'", DOCUMENT.read_text(encoding="utf-8"))
    assert last is not None
    command = last[1].replace("plates/", "data/").replace("-o results", "-o out")
    done = run(f'source "$HOME/envs/seg/bin/activate"\n{command}', place)
    assert done.returncode == 0, done.stderr
    assert "0 done, 3 skipped" in done.stderr
    assert results(place) == ["0_labels.tif", "1_labels.tif", "2_labels.tif"]


@pytest.mark.skipif(sys.platform != "linux", reason="SLURM runs on Linux")
def test_scheduler_and_workers_in_one_job_do_all_images_and_leave_no_process(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    script = recipe("SLURM: scheduler and workers in one job").replace("8786", str(port))
    done = run(script.replace("$(hostname)", "127.0.0.1"), place)
    assert results(place) == ["0_labels.tif", "1_labels.tif", "2_labels.tif"], done.stderr
    assert "3 done" in done.stderr
    left = [each for each in psutil.process_iter(["cmdline"]) if f":{port}" in str(each.info)]
    psutil.wait_procs(left, timeout=20)
    assert not any(each.is_running() for each in left)
