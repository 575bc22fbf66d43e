"""The table of bench_bi_wkv.py, in Markdown: times in microseconds, multiples of the copy."""

import json
from pathlib import Path
from typing import Any

_MISSING = "not yet measured"


def table(found: dict[str, Any], results: Path) -> str:
    """Return the table of all rows, one for each direction, shape and number of threads.

    Parameters
    ----------
    found : dict
        What bench_bi_wkv.py writes.
    results : Path
        Folder with the files that gpu_check left, if any.
    """
    rows = found["rows"]
    sets = [x for x in rows[0]["microseconds"]["forward"] if x.startswith("kernel ")]
    cuda = _cuda_columns(results)
    heads = ["", "B, T, C", "threads", "copy", *sets, "operator", "authors", "cumsum", "reference"]
    heads += list(cuda) or ["CUDA"]
    lines = [heads, ["---"] * len(heads)]
    for direction in ("forward", "backward"):
        for row in rows:
            times = row["microseconds"][direction]
            cells = [direction, ", ".join(map(str, row["shape"])), str(row["threads"])]
            cells.append(_time(times["copy"]["least"]))
            cells += [_ratio(times, name) for name in (*sets, "operator")]
            cells += [_plain(times, name) for name in ("authors", "cumsum", "reference")]
            cells += [_cuda(rows, direction, row["shape"]) for rows in cuda.values()] or [_MISSING]
            lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _time(microseconds: float) -> str:
    """Return three digits, in microseconds."""
    return f"{microseconds:.1f}" if microseconds < 100 else f"{microseconds:.0f}"


def _ratio(times: dict[str, dict[str, float]], name: str) -> str:
    """Return a time and how many copies it takes."""
    least = times[name]["least"]
    return f"{_time(least)} ({least / times['copy']['least']:.1f} ×)"


def _plain(times: dict[str, dict[str, float]], name: str) -> str:
    """Return a time, or a dash if there is none."""
    return _time(times[name]["least"]) if name in times else "–"


def _cuda_columns(results: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that gpu_check measured, by device."""
    found = {}
    for file in sorted(results.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "device" in content and "rows" in content:
            found[str(content["device"])] = content["rows"]
    return found


def _cuda(rows: list[dict[str, Any]], direction: str, shape: list[int]) -> str:
    """Return the time that gpu_check measured for a shape, in float32."""
    for row in rows:
        if list(row.get("shape", [])) == shape and row.get("dtype", "float32") == "float32":
            times = row.get("microseconds", {}).get(direction, {})
            if "ours" in times:
                return _time(float(times["ours"]))
    return _MISSING
