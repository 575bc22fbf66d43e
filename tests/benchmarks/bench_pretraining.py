"""What a pretrained encoder buys: Med-URWKV-T on few images, from it and from random weights.

    python tests/benchmarks/bench_pretraining.py run ENCODER [--set glas] [--minutes 3]
    python tests/benchmarks/bench_pretraining.py table

ENCODER is the folder of an encoder of scripts/pretrain.py; one that was made `--without` the
set is what shows something about new data, and its name and source are kept with the
figures. Both arms are the run that users start, with the same images, seed and minutes; only
the encoder's first weights differ. Scores are means over test images of the Dice of the
foreground. Each finished cell is kept in results/pretraining.json, so that two processes of one
thread may share the cells; `make accuracy` puts the table into docs/evidence.md.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_data import KINDS, keep, read_pairs, read_results, train_and_test

from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.training.process import settle_process
from napari_rwkv_seg.training.run_settings import make_settings
from napari_rwkv_seg.zoo.encoders import find_encoder
from napari_rwkv_seg.zoo.new_models import new_model

RESULTS = Path(__file__).with_name("results") / "pretraining.json"
IMAGES = (2, 5, 10, 0)
"""How many training images; 0 for all."""
SEEDS = (0, 1)


def main() -> None:
    if "OMP_WAIT_POLICY" not in os.environ:  # as the process that trains has it; read with torch
        settle_process()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    settle_process()
    options = parse()
    torch.set_num_threads(options.threads)
    results = read_results(options.results)
    if options.command == "run":
        for name, k, seed, encoder in cells(options):
            arm = encoder.name if encoder else "random"
            key = f"{name} k={k} seed={seed} {options.minutes:g}min {arm}"
            results = read_results(options.results)
            if key not in results["cells"]:
                found = measure(name, k, seed, encoder, options)
                results = read_results(options.results)
                facts = {"set": name, "k": k, "seed": seed, "arm": arm}
                facts |= {"source": find_encoder(encoder).card.source if encoder else ""}
                results["cells"][key] = {**facts, **found}
                keep(options.results, results)
                print(key, found["test_after"], flush=True)
    text = table(results["cells"])
    write_atomically(
        options.results.with_suffix(".md"), lambda file: file.write(text.encode("utf-8"))
    )
    print(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("encoder", type=Path, nargs="?")
    parser.add_argument("--set", dest="sets", action="append", choices=tuple(KINDS))
    parser.add_argument("--images", type=int, action="append", help="0 for all")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--arm", action="append", choices=("encoder", "random"))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--on", choices=("test", "val"), default="test")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.command == "run" and options.encoder is None:
        parser.error("name the folder of an encoder")
    return options


def cells(options: argparse.Namespace) -> Iterator[tuple[str, int, int, Path | None]]:
    """Yield set, images, seed and encoder (None for random weights) of each cell."""
    arms = [
        options.encoder if arm == "encoder" else None
        for arm in options.arm or ("encoder", "random")
    ]
    for seed in options.seeds:
        for k in options.images or IMAGES:
            for name in options.sets or ("glas", "kvasir_seg"):
                yield from ((name, k, seed, encoder) for encoder in arms)


def measure(
    name: str, k: int, seed: int, encoder: Path | None, options: argparse.Namespace
) -> dict[str, Any]:
    """Make a model, do one run with it, and return all that is known of the run."""
    with tempfile.TemporaryDirectory(prefix="bench_pretraining_") as scratch:
        folder = Path(scratch)
        os.environ["XDG_DATA_HOME"] = scratch  # the new model is no model of the user's
        base = new_model(
            "base",
            classes=["foreground"],
            encoder=str(encoder.resolve()) if encoder else None,
            config={"encoder": "adapter", "decoder": "slim"},
            seed=seed,
        )
        settings = make_settings(
            name="result",
            model=str(base.folder),
            labels=KINDS[name],
            minutes=options.minutes,
            depth="everything",
            device=options.device,
            seed=seed,
        )
        count = k or len(read_pairs(name, "train"))
        return train_and_test(folder / "run", settings, name, count, options.on)


def table(cells: dict[str, Any]) -> str:
    """Return means over the seeds as a Markdown table, a row for each set and number of images."""
    arms = sorted({cell["arm"] for cell in cells.values()}, key=lambda arm: (arm != "random", arm))
    lines = [f"| set | images | {' | '.join(arms)} |", "|---" * (2 + len(arms)) + "|"]
    for name, k in sorted({(cell["set"], cell["k"] or 10**9) for cell in cells.values()}):
        found = [
            [
                cell["test_after"]["mean"]
                for cell in cells.values()
                if (cell["set"], cell["k"] or 10**9, cell["arm"]) == (name, k, arm)
            ]
            for arm in arms
        ]
        shown = [f"{np.mean(each):.3f} (n = {len(each)})" if each else "–" for each in found]
        lines.append(f"| {name} | {'all' if k == 10**9 else k} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", *_facts(cells)]) + "\n"


def _facts(cells: dict[str, Any]) -> Iterator[str]:
    """Yield what must be known of the figures: minutes, threads, and what the encoders are."""
    settings = sorted(
        {(cell["run"]["minutes"], cell["machine"]["threads"]) for cell in cells.values()}
    )
    for minutes, threads in settings:
        yield f"- {minutes:g} minutes of training, {threads} thread(s) of a CPU; n: seeds."
    for arm, source in sorted({(cell["arm"], cell["source"]) for cell in cells.values()}):
        if source:
            yield f"- {arm}: {source}."
            yield _gain(cells, arm)


def _gain(cells: dict[str, Any], arm: str) -> str:
    """Return in a sentence what an encoder gains over random weights, cell by cell."""
    score = {
        (cell["set"], cell["k"], cell["seed"], cell["arm"]): cell["test_after"]["mean"]
        for cell in cells.values()
    }
    gains = [
        value - score[(*place, "random")]
        for (*place, its_arm), value in score.items()
        if its_arm == arm and (*place, "random") in score
    ]
    if not gains:
        return f"- {arm}: no cell of random weights to compare with."
    return (
        f"- {arm} gains {np.mean(gains):+.3f} on average of {len(gains)} pairs of cells, from "
        f"{min(gains):+.3f} to {max(gains):+.3f}."
    )


if __name__ == "__main__":
    main()
