"""Write into docs/reliability.md what the register of faults and the last measurements say.

    python scripts/reliability.py           # write
    python scripts/reliability.py --check   # exit with 1 if the document says something else

What stands between the marks "<!-- begin NAME -->" and "<!-- end NAME -->" is written here; the
rest of the document is by hand.
"""

import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_rwkv_seg.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
FAULTS = ROOT / "tests" / "faults"
DOCUMENT = ROOT / "docs" / "reliability.md"
NOT_YET = "not yet measured"


def load_register() -> Any:
    """Return tests/faults/register.py as a module."""
    spec = importlib.util.spec_from_file_location("fault_register", FAULTS / "register.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(FAULTS / "register.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def result(path: str) -> dict[str, Any]:
    """Return a JSON file below tests/, {} if it was not written yet."""
    file = ROOT / "tests" / path
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def kills(_: dict[str, Any]) -> str:
    """Tell of the last campaign of kills."""
    found = result("faults/results/kills.json")
    if not found:
        return NOT_YET
    return f"{found['kills']} kills: {len(found['faults'])} files that could not be read"


def many_seeds() -> str:
    """Tell of the seeds with which napari was driven, if any."""
    found = result("faults/results/soak_seeds.json").values()
    if not found:
        return ""
    actions, lost, errors = (
        sum(one.get(key, 0) for one in found) for key in ("actions", "labels_lost", "exceptions")
    )
    bad = sum(one["end"] != 0 for one in found)
    return (
        f"{len(found)} seeds, {actions} random actions: {lost} labels lost, {errors} errors, "
        f"{bad} runs that did not end well; "
    )


def soak(_: dict[str, Any]) -> str:
    """Tell of the last soak."""
    found = result("faults/results/soak.json")
    if not found:
        return NOT_YET
    return many_seeds() + (
        f"{found['minutes']:g} minutes, {found['actions']} random actions: "
        f"{found['labels_lost']} labels lost, {found['exceptions']} errors, "
        f"memory {found['memory_change_percent']:+.1f} %, without what napari alone keeps of every "
        f"layer ({found['napari_alone_mb_per_layer']:.1f} MB) "
        f"{found['change_without_napari_percent']:+.1f} %"
    )


def fuzz(_: dict[str, Any]) -> str:
    """Tell of the last fuzzing."""
    found = result("faults/results/fuzz.json")
    if not found:
        return NOT_YET
    runs = sum(target["executions"] for target in found.values())
    faults = sum(target["faults"] for target in found.values())
    slowest = max(target["slowest_s"] for target in found.values())
    limit = int(slowest) + 1  # libFuzzer tells whole seconds
    return f"{runs:,} damaged files of {len(found)} kinds: {faults} faults, each within {limit} s"


def heartbeat(_: dict[str, Any]) -> str:
    """Tell how long the window stood still in the last measurement of the docks."""
    tick = result("benchmarks/results/dock.json").get("tick", {}).get("training_ms")
    if not tick:
        return NOT_YET
    p99, most = tick["p99"], tick["max"]
    return f"while training: 99 % of the beats within {p99:.0f} ms, all within {most:.0f} ms"


def threads(found: dict[str, Any]) -> str:
    """Tell how far results of several numbers of threads are apart."""
    largest = found["figures"].get("largest difference between 1, 2 and 8 threads")
    return NOT_YET if largest is None else f"1, 2 and 8 threads: probabilities within {largest:.1e}"


def tries(found: dict[str, Any], numbers: list[str]) -> str:
    """Tell how the tests of these rows of the register ended in the last `make faults`."""
    rows = [found["rows"].get(number, {}) for number in numbers]
    passed, failed = (sum(row.get(key, 0) for row in rows) for key in ("passed", "failed"))
    if not passed + failed:
        return NOT_YET
    return f"{passed} tests of rows {', '.join(numbers)} passed, {failed} failed"


def leaks(found: dict[str, Any]) -> str:
    """Tell how memory grew over many runs."""
    figures = found["figures"]
    segmenting = figures.get("memory grown over 400 runs, MB")
    training = figures.get("memory grown over 8 000 steps, MB")
    if segmenting is None or training is None:
        return NOT_YET
    return f"{segmenting:+.1f} MB in 400 runs, {training:+.1f} MB in 8 000 training steps"


def releases(_: dict[str, Any]) -> str:
    """Tell of earlier releases."""
    return "there is no earlier release yet"


FIGURES: dict[str, Callable[[dict[str, Any]], str]] = {
    each.__name__: each for each in (kills, soak, fuzz, heartbeat, threads, leaks, releases)
}


def promises(found: dict[str, Any]) -> str:
    """Return the table of promises."""
    table = tomllib.loads((FAULTS / "promises.toml").read_text(encoding="utf-8"))
    lines = ["| number | promise | held by | last measured |", "|---|---|---|---|"]
    for number, facts in table.items():
        tests = ", ".join(f"`{name}`" for name in facts["tests"])
        last = found or {"rows": {}, "figures": {}}
        figure = facts.get("figure")
        measured = FIGURES[figure](last) if figure else tries(last, facts["rows"])
        lines.append(f"| {number} | {facts['promise']} | {tests} | {measured} |")
    return "\n".join(lines)


def counts(register: Any, found: dict[str, Any]) -> str:
    """Return how many rows of each kind are held, and how their tests ended last."""
    rows = register.read_rows().values()
    lines = [f"| | rows | {' | '.join(register.STATES)} |", "|---|---|" + "---|" * 4]
    for letter, title in register.LETTERS.items():
        lines.append(_count(title, register, [row for row in rows if row.number[0] == letter]))
    lines += [_count("**all**", register, list(rows)), ""]
    tests = {test for row in rows for test in row.tests}
    text = f"{len(tests)} test functions hold rows. " + quick()
    if found:
        done = found["tests"]
        text += (
            f"Last run of `make faults` ({found['machine']}): {done['passed']} tests passed, "
            f"{done['failed']} failed, {done['skipped']} were skipped, in {found['seconds']} s."
        )
    else:
        text += f"`make faults`: {NOT_YET}."
    return "\n".join([*lines, text])


def quick() -> str:
    """Tell of the last run of the tier that every commit can wait for."""
    found = result("faults/results/quick.json")
    if not found:
        return f"`make quick`: {NOT_YET}. "
    done = found["tests"]
    return (
        f"Last run of `make quick`: {done['passed']} tests of {len(found['rows'])} rows passed, "
        f"{done['failed']} failed, in {found['seconds']} s. "
    )


def _count(title: str, register: Any, rows: list[Any]) -> str:
    states = [sum(row.state == state for row in rows) for state in register.STATES]
    return f"| {title} | {len(rows)} | " + " | ".join(map(str, states)) + " |"


def gaps(register: Any, _: dict[str, Any]) -> str:
    """Return the rows that are not held, or not wholly, each with what is missing."""
    lines = ["| row | what goes wrong | state | what is missing, or why there is no test |"]
    lines.append("|---|---|---|---|")
    for row in register.read_rows().values():
        gpu = "Not yet measured on a GPU." if row.gpu else ""
        missing = " ".join(text for text in (_sentence(row.lacking), row.reason, gpu) if text)
        if missing:
            lines.append(f"| {row.number} | {row.case} | {row.state} | {missing} |")
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def written() -> str:
    """Return the document as it should be."""
    register, found = load_register(), result("faults/results/faults.json")
    text = DOCUMENT.read_text(encoding="utf-8")
    parts = {
        "promises": promises(found),
        "counts": counts(register, found),
        "gaps": gaps(register, found),
    }
    for name, part in parts.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{begin}\n.*?{end}", re.DOTALL)
        text = pattern.sub(lambda _, text=f"{begin}\n{part}\n{end}": text, text)
    return text


def main() -> int:
    """Write or check the document."""
    text = written()
    if "--check" not in sys.argv:
        write_atomically(DOCUMENT, lambda file: file.write(text.encode("utf-8")))
        return 0
    if text == DOCUMENT.read_text(encoding="utf-8"):
        return 0
    sys.stderr.write("docs/reliability.md is out of date: run python scripts/reliability.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
