"""Drive napari through a thousand random actions with each of many seeds, some at a time.

    bash scripts/with_screen.sh python tests/soak/many_seeds.py --seeds 20 --actions 1000

Each seed is a process of its own (soak.py), with a home of its own. What came of all is written
into tests/faults/results/soak_seeds.json after each; a seed that is in it already, with at least
as many actions and a good end, is not tried again, so that a run that was stopped goes on. Ends
with 1 if a label was lost, an error was heard, a process was left, or napari ended by itself.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from soak import RESULTS

FOUND = RESULTS.with_name("soak_seeds.json")
SCRIPT = Path(__file__).with_name("soak.py")
KEPT = ("actions", "minutes", "layers_painted", "labels_lost", "exceptions", "processes_left")
SECONDS_EACH = 3.0
"""An action that takes longer than this on average is one that hangs."""


def main() -> int:
    """Try the seeds, and write what came of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--actions", type=int, default=1000)
    parser.add_argument("--together", type=int, default=os.cpu_count() or 1)
    choices = parser.parse_args()
    found = read()
    due = [
        seed
        for seed in range(choices.seeds)
        if found.get(str(seed), {}).get("actions", 0) < choices.actions or found[str(seed)]["end"]
    ]
    with ThreadPoolExecutor(choices.together) as pool:
        jobs = {pool.submit(drive, seed, choices.actions): seed for seed in due}
        for job in as_completed(jobs):
            found[str(jobs[job])] = job.result()
            text = json.dumps(dict(sorted(found.items(), key=lambda x: int(x[0]))), indent=1)
            FOUND.write_text(text + "\n", encoding="utf-8")
            print(jobs[job], job.result(), flush=True)
    tried = [found[str(seed)] for seed in range(choices.seeds)]
    return int(any(one["end"] != 0 for one in tried))


def read() -> dict[str, Any]:
    """Return what was found before, by seed."""
    return json.loads(FOUND.read_text(encoding="utf-8")) if FOUND.is_file() else {}


def drive(seed: int, actions: int) -> dict[str, Any]:
    """Return what came of a seed; `end` is 0 if all was well, or says what was not."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        output, home = Path(folder) / "result.json", Path(folder) / "home"
        home.mkdir()
        command = [sys.executable, str(SCRIPT), "--seed", str(seed), "--actions", str(actions)]
        command += ["--minutes", str(SECONDS_EACH * actions / 60), "--output", str(output)]
        environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"}
        try:
            ended = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=2 * SECONDS_EACH * actions + 120,
            )
        except subprocess.TimeoutExpired:
            return {"actions": 0, "end": "hung"}
        if not output.is_file():
            return {"actions": 0, "end": ended.returncode or 1, "said": ended.stderr[-2000:]}
        result = json.loads(output.read_text(encoding="utf-8"))
    kept = {key: result[key] for key in KEPT}
    bad = [key for key in ("labels_lost", "exceptions", "processes_left") if result[key]]
    if ended.returncode not in (0, 1):  # 1 also if memory grew, which is for longer soaks to tell
        bad.append(f"ended by {ended.returncode}")
    if result["actions"] < actions:
        bad.append(f"only {result['actions']} actions in {result['minutes']} minutes")
    if bad:
        kept["said"] = "\n".join([*result["lost"], ended.stderr[-2000:]])
    return {**kept, "end": ", ".join(bad) or 0}


if __name__ == "__main__":
    sys.exit(main())
