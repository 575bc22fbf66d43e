"""Compare ways to part touching nuclei, on the validation split of dsb2018_nuclei.

    python tests/benchmarks/accuracy_objects.py [--model med_urwkv_t_nuclei] [--split val]

All ways are given the same probabilities of the shipped model. Its own settings were chosen
on this split, and so is the best way here: what the test split would say is another question,
to be asked once, of the way that is chosen. Writes results/accuracy_objects.json, of which
`make accuracy` makes a table.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from accuracy.objects import SHIPPED, WAYS
from accuracy.sets import read_cases

from napari_rwkv_seg.evaluation.comparison import F1_IOUS
from napari_rwkv_seg.evaluation.scores import dice, match_objects
from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.inference import LabelSettings, load_model
from napari_rwkv_seg.inference.predictor import predict_steps

RESULTS = Path(__file__).with_name("results") / "accuracy_objects.json"
DATA = "dsb2018_nuclei"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="med_urwkv_t_nuclei")
    parser.add_argument("--split", choices=("val", "train"), default="val")
    parser.add_argument("--most", type=int, default=0, help="images; 0 for all")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--kept", type=Path, help="folder in which probabilities are kept")
    options = parser.parse_args()
    model = load_model(options.model, "cpu")
    settings = LabelSettings.for_model(model.card, "objects")
    cases = read_cases(DATA, options.split, options.most)
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for case in cases:
        answer = kept(model, case, options.kept)
        for name, way in WAYS.items():
            scores[name].append(score(way(answer, settings), case.truths[0]))
    told = {
        "model": options.model, "split": options.split, "images": len(cases),
        "ways": {name: means(rows) | gain(rows, scores[SHIPPED]) for name, rows in scores.items()},
    }  # fmt: skip
    text = json.dumps(told, indent=1) + "\n"
    write_atomically(options.results, lambda file: file.write(text.encode("utf-8")))
    for name, row in told["ways"].items():
        print(f"{name:45}", "  ".join(f"{key} {value}" for key, value in row.items()))
    return 0


def kept(model: Any, case: Any, folder: Path | None) -> Any:
    """Return the probabilities of an image, from an earlier call if they were kept."""
    path = folder / f"{model.card.name}_{case.name}.npy" if folder else None
    if path is not None and path.is_file():
        return np.load(path, allow_pickle=False)
    answer = probabilities(model, case.images[0])
    if path is not None:
        write_atomically(path, lambda file: np.save(file, answer, allow_pickle=False))
    return answer


def probabilities(model: Any, image: Any) -> Any:
    steps = predict_steps(image, model, axes="YXC"[: image.ndim])
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value.probabilities


def score(found: Any, true: Any) -> dict[str, float]:
    objects = match_objects(found, true)
    return {
        "dice": dice(found, true),
        "f1_50": objects.f1(0.5),
        "f1_75": objects.f1(0.75),
        "f1_mean": float(np.mean([objects.f1(iou) for iou in F1_IOUS])),
        "found": objects.found,
        "true": objects.true,
    }


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the means over images; of numbers of objects the sums."""
    return {
        name: sum(row[name] for row in rows)
        if name in ("found", "true")
        else round(float(np.mean([row[name] for row in rows])), 4)
        for name in rows[0]
    }


def gain(rows: list[dict[str, float]], shipped: list[dict[str, float]]) -> dict[str, float]:
    """Return how much the mean F1 of images rises over what is shipped, and its standard error."""
    rises = [one["f1_mean"] - other["f1_mean"] for one, other in zip(rows, shipped, strict=True)]
    error = float(np.std(rises, ddof=1) / len(rises) ** 0.5) if len(rises) > 1 else 0.0
    return {"gain": round(float(np.mean(rises)), 4), "gain_error": round(error, 4)}


if __name__ == "__main__":
    sys.exit(main())
