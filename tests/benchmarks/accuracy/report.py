"""docs/evidence.md: the finished cells as tables, and what they do and do not show."""

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .networks import NETWORKS, RWKV
from .sets import ALL as SETS

NAMES = {
    "med_urwkv_t": "Med-URWKV-T",
    "rwkv_unet_t": "RWKV-UNet-T",
    "rwkv_unet_s": "RWKV-UNet-S",
    "monai_unet": "MONAI U-Net",
    "nnunet": "nnU-Net-style U-Net",
}
COLUMNS = ("dice", "iou", "hd95", "f1_50", "f1_75", "f1_mean")
TITLES = ("Dice", "IoU", "HD95", "F1 at 0.5", "F1 at 0.75", "F1, mean")

VERDICTS = """Compared are the seeds that all networks of a set have; where one has more than
others, its Dice here is not its mean in the table."""
HEAD = Path(__file__).with_name("evidence_head.md")
REASONS = HEAD.with_name("evidence_reasons.md")  # of what the tables show, by hand
EMPTY = """
## Results

No cell is finished yet: not measured.
"""


def evidence(cells: dict[str, Any]) -> str:
    """Return the whole page."""
    real = {key: cell for key, cell in cells.items() if cell["plan"]["data"] != "synthetic"}
    head = HEAD.read_text(encoding="utf-8")
    if not real:
        return head + EMPTY
    settings = sorted({_setting(cell) for cell in real.values()})
    sections = "".join(_section(real, setting) for setting in settings)
    return head + sections + REASONS.read_text(encoding="utf-8")


def objects_section(told: dict[str, Any]) -> str:
    """Return how well ways to part touching objects do, as a section of the page."""
    lines = [
        "",
        "## Parting touching nuclei",
        "",
        f"Probabilities of `{told['model']}` on the {told['images']} images of the validation",
        "split of dsb2018_nuclei, made into objects in several ways; means over images, and how",
        "much the mean F1 of an image gains over what is shipped (± standard error). The shipped",
        "settings were chosen on these very images, and so would be the best row: it is no test.",
        "`python tests/benchmarks/accuracy_objects.py` repeats it.",
        "",
        "| way | F1 at 0.5 | F1 at 0.75 | F1, mean | gain | Dice | objects found, of "
        f"{next(iter(told['ways'].values()))['true']} |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in told["ways"].items():
        f1 = " | ".join(f"{row[key]:.3f}" for key in ("f1_50", "f1_75", "f1_mean"))
        gain = f"{row['gain']:+.3f} ± {row['gain_error']:.3f}"
        lines.append(f"| {name} | {f1} | {gain} | {row['dice']:.3f} | {row['found']} |")
    return "\n".join(lines) + "\n"


def pretraining_section(table: str) -> str:
    """Return what a pretrained encoder buys, as a section of the page, of the table of it."""
    lines = [
        "",
        "## What a pretrained encoder buys",
        "",
        "Med-URWKV-T fine-tuned on few images, everything trained, from random weights (at one",
        "rate) and from encoders that `scripts/pretrain.py` made (with layer-wise decay of the",
        "rate), as users get it. Mean Dice of the foreground on the first 40 test images. The",
        "encoders have seen no image of these sets. The encoder here learnt for 12 minutes to",
        "restore images and for 26 to tell classes, on one core; each cell did 99 to 211 steps,",
        "beside other work. That is little of everything: what a long pretraining brings is not",
        "shown.",
        "`python tests/benchmarks/bench_pretraining.py` repeats it.",
        "",
    ]
    return "\n".join(lines) + "\n" + table


def _setting(cell: dict[str, Any]) -> tuple[str, float, int]:
    """Return what tables are made by: device, seconds, and how many test images at most."""
    plan = cell["plan"]
    return plan["device"].partition(":")[0], plan["seconds"], plan["most_test"]


def _section(cells: dict[str, Any], setting: tuple[str, float, int]) -> str:
    device, seconds, most = setting
    mine = [cell for cell in cells.values() if _setting(cell) == setting]
    timed = [cell for cell in mine if not cell["plan"].get("steps")] or mine
    machines = sorted({cell["machine"]["text"] for cell in timed})
    machines += sorted({"* " + c["timed_later"]["text"] for c in mine if "timed_later" in c})
    limited = f", at most {most} test images a set" if most else ""
    where = "a GPU" if device == "cuda" else "a CPU"
    lines = [
        "",
        f"## {seconds:g} seconds of training on {where}{limited}",
        "",
        *(f"Machine: {text}." for text in machines),
        "",
        "| set | network | parameters | " + " | ".join(TITLES) + " | seeds | steps | training, s "
        "| test image, s | test image, MB |",
        "|---|---|---|" + "---|" * (len(TITLES) + 5),
    ]
    for data in SETS:
        for network in NETWORKS:
            found = [
                cell
                for cell in mine
                if (cell["plan"]["data"], cell["plan"]["network"]) == (data, network)
            ]
            if found:
                lines.append(_row(data, network, found))
    lines += ["", *_notes(mine), "", VERDICTS, "", *_verdicts(mine)]
    return "\n".join(lines) + "\n"


def _row(data: str, network: str, cells: list[dict[str, Any]]) -> str:
    first = cells[0]
    scores = [_over_seeds([cell["scores"].get(name) for cell in cells]) for name in COLUMNS]
    if first["unit"] and scores[2] != "–":
        scores[2] += f" {first['unit']}"
        missing = max(cell["not_defined"]["hd95"] for cell in cells)
        scores[2] += f" (not defined in up to {missing})" if missing else ""
    steps = round(statistics.mean(cell["steps"] for cell in cells))
    return (
        f"| {data} | {NAMES[network]} | {first['parameters'] / 1e6:.1f} M | {' | '.join(scores)} "
        f"| {len(cells)} | {steps} | {_train_seconds(cells)} "
        f"| {_image_seconds(cells)} | {_megabytes(cells)} |"
    )


def _over_seeds(values: list[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "–"
    mean = f"{statistics.mean(numbers):.3f}"
    return f"{mean} ± {statistics.stdev(numbers):.3f}" if len(numbers) > 1 else mean


def _timed(cells: list[dict[str, Any]], name: str, digits: int) -> str:
    """Return the mean over the cells that had the seconds, not the steps, given; "–" without."""
    timed = [cell[name] for cell in cells if not cell["plan"].get("steps")]
    return f"{statistics.mean(timed):.{digits}f}" if timed else "–"


def _train_seconds(cells: list[dict[str, Any]]) -> str:
    """Return the seconds of training; with a dagger those of the first seed's steps, done again."""
    timed = _timed(cells, "train_seconds", 0)
    again = [cell["train_seconds"] for cell in cells if cell["plan"]["seed"] == 0]
    return f"{again[0]:.0f} †" if timed == "–" and again else timed


def _image_seconds(cells: list[dict[str, Any]]) -> str:
    """Return the seconds of a test image; with a star those that were measured by themselves."""
    later = [cell["timed_later"]["seconds_per_image"] for cell in cells if "timed_later" in cell]
    return f"{later[0]:.3f} *" if later else _timed(cells, "seconds_per_image", 3)


def _megabytes(cells: list[dict[str, Any]]) -> str:
    """Return the peak memory of a test image; it does not depend on how busy a machine was."""
    timed = _timed(cells, "peak_megabytes", 0)
    every = statistics.mean(cell["peak_megabytes"] for cell in cells)
    return f"{every:.0f}" if timed == "–" else timed


def _notes(cells: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what must be known of the sets that are in a table."""
    for data in SETS:
        mine = [cell for cell in cells if cell["plan"]["data"] == data]
        if not mine:
            continue
        first = mine[0]
        text = (
            f"- {data}: {first['train_planes']} training planes, {first['validation_planes']} "
            f"validation planes, {first['test_images']} test images"
        )
        if first["test_planes"] != first["test_images"]:
            text += f" ({first['test_planes']} planes)"
        if first["validation_made_here"]:
            text += "; validation images were drawn from the training split"
        note = SETS[data].note
        yield f"{text}. {note[:1].upper()}{note[1:]}." if note else f"{text}."


def _verdicts(cells: list[dict[str, Any]]) -> Iterator[str]:
    """Yield for every set whether the best RWKV network is at least as good as the best U-Net.

    Compared are the seeds that all networks of the set have.
    """
    for data in SETS:
        seeds = _shared_seeds([cell["plan"] for cell in cells if cell["plan"]["data"] == data])
        best: dict[bool, tuple[float, str]] = {}
        for network in NETWORKS:
            dice = [
                cell["scores"]["dice"] or 0.0
                for cell in cells
                if (cell["plan"]["data"], cell["plan"]["network"]) == (data, network)
                and cell["plan"]["seed"] in seeds
            ]
            is_rwkv = network in RWKV
            mean = statistics.mean(dice) if dice else -math.inf
            if dice and mean > best.get(is_rwkv, (-math.inf, ""))[0]:
                best[is_rwkv] = (mean, network)
        if len(best) == 2:
            (ours, one), (theirs, other) = best[True], best[False]
            word = "at least as good" if ours >= theirs else "NOT as good"
            yield (
                f"- {data}: the best RWKV network ({NAMES[one]}, Dice {ours:.3f}) is {word} as "
                f"the best U-Net ({NAMES[other]}, {theirs:.3f})."
            )


def _shared_seeds(plans: list[dict[str, Any]]) -> set[int]:
    """Return the seeds that every network among these has."""
    seeds = [
        {plan["seed"] for plan in plans if plan["network"] == network}
        for network in {plan["network"] for plan in plans}
    ]
    return set.intersection(*seeds) if seeds else set()
