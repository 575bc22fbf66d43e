"""Test one trained network, in a process of its own, so that its memory can be told.

Labels are made by the very predictor that users get, with the settings of a new model. Scores are
those of `napari_rwkv_seg.evaluation`: means over test images (volumes are one image) and classes,
without those in which a score is not defined.
"""

import json
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from napari_rwkv_seg.evaluation.comparison import EvaluationSettings, LabelPair, compare
from napari_rwkv_seg.evaluation.lengths import pixels
from napari_rwkv_seg.evaluation.tables import class_means
from napari_rwkv_seg.inference import LabelSettings, Model
from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.predictor import predict_steps

from .sets import Case, read_cases
from .training import Plan, build, card_of, read_best

_POLL_S = 0.003


def test_apart(plan: Plan, trained: dict[str, Any], folder: Path, threads: int) -> dict[str, Any]:
    """Test in a fresh process; its memory before the first image is what it is told against."""
    context = multiprocessing.get_context("spawn")
    target = folder / "test.json"
    process = context.Process(target=_test_into, args=(plan, trained, folder, threads, target))
    process.start()
    process.join()
    if process.exitcode != 0 or not target.is_file():
        raise RuntimeError(f"The test of {plan.key} ended with exit code {process.exitcode}.")
    return dict(json.loads(target.read_text(encoding="utf-8")))


test_apart.__test__ = False  # for pytest: no test, in spite of its name


def _test_into(
    plan: Plan, trained: dict[str, Any], folder: Path, threads: int, target: Path
) -> None:
    torch.set_num_threads(threads)
    found = score(plan, trained, folder)
    target.write_text(json.dumps(found), encoding="utf-8")


def score(plan: Plan, trained: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the scores of a cell on its test images, with seconds and memory an image."""
    network = read_best(plan, trained, folder)
    card = card_of(plan.data)
    model = Model(card, network, plan.device, folder)
    labels = LabelSettings.for_model(card, plan.facts.labels)
    settings = EvaluationSettings(
        plan.facts.labels, class_names=dict(enumerate(plan.facts.classes, 1))
    )
    rows, seconds = [], []
    peak = _Peak(plan.device)
    cases = read_cases(plan.data, "test", plan.most_test)
    for case in cases:
        start = time.perf_counter()
        with peak:
            found = [_predict(image, model, labels) for image in case.images]
        seconds.append(time.perf_counter() - start)
        for pair in _pairs(plan, case, found):
            rows.extend(compare(pair, settings))
    return _told(plan, rows, seconds, peak.most, cases)


def seconds_per_image(cells: list[dict[str, Any]], images: int) -> list[float]:
    """Return how long the networks of some cells of a set take for an image, with random weights.

    What a network has learnt changes little of it. The networks take turns, twice; it is the
    quicker time of each image, and the mean over the first images.
    """
    plans = [Plan(**cell["plan"]) for cell in cells]
    cases = read_cases(plans[0].data, "test", images)
    card = card_of(plans[0].data)
    labels = LabelSettings.for_model(card, plans[0].facts.labels)
    taken = np.full((2, len(cells), len(cases)), np.inf)
    for turn, row in np.ndindex(2, len(cells)):
        network = build(plans[row], cells[row]["side"], cells[row]["least_side"]).eval()
        model = Model(card, network, "cpu", Path())
        for number, case in enumerate(cases):
            start = time.perf_counter()
            for image in case.images:
                _predict(image, model, labels)
            taken[turn, row, number] = time.perf_counter() - start
    return [float(each) for each in taken.min(0).mean(-1)]


def _predict(image: Any, model: Model, settings: LabelSettings) -> Any:
    steps = predict_steps(image, model, axes="YXC"[: image.ndim])
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return label_probabilities(end.value.probabilities, settings)


def _pairs(plan: Plan, case: Case, found: list[Any]) -> list[LabelPair]:
    if case.is_volume:
        spacing = plan.facts.spacing or pixels(3)
        return [LabelPair(case.name, np.stack(found), np.stack(case.truths), spacing)]
    spacing = plan.facts.spacing or pixels(2)
    return [LabelPair(case.name, found[0], case.truths[0], spacing)]


def _told(
    plan: Plan, rows: list[Any], seconds: list[float], peak: int, cases: list[Case]
) -> dict[str, Any]:
    means = class_means(rows)
    told = ["dice", "iou"]
    told += ["hd95"] if plan.facts.spacing else []
    told += ["f1_50", "f1_75", "f1_mean"] if plan.facts.with_objects else []
    by_class = {one.name: {name: _plain(one.mean[name]) for name in told} for one in means}
    return {
        "scores": {name: _plain(np.nanmean([one.mean[name] for one in means])) for name in told},
        "by_class": by_class,
        "not_defined": {
            name: sum(len(cases) - one.defined[name] for one in means) for name in told
        },
        "unit": plan.facts.spacing.unit if plan.facts.spacing else "",
        "test_images": len(cases),
        "test_planes": sum(len(case.images) for case in cases),
        # The first image warms up; of a single one there is nothing else.
        "seconds_per_image": float(np.mean(seconds[1:] or seconds)),
        "peak_megabytes": round(peak / 1e6, 1),
    }


def _plain(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)


class _Peak:
    """The most memory that was in use beyond what there was before the first image.

    On CUDA what PyTorch allocated; else the process's resident memory, looked at every 3 ms.
    """

    def __init__(self, device: str) -> None:
        self._is_cuda = device.startswith("cuda")
        self._process = psutil.Process()
        self._before = self._now()
        self.most = 0

    def __enter__(self) -> None:
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats()
            return
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        if self._is_cuda:
            torch.cuda.synchronize()
            self.most = max(self.most, torch.cuda.max_memory_allocated() - self._before)
            return
        self._done.set()
        self._thread.join()

    def _now(self) -> int:
        if self._is_cuda:
            return int(torch.cuda.memory_allocated())
        return int(self._process.memory_info().rss)

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, self._now() - self._before)
            if self._done.wait(_POLL_S):
                return
