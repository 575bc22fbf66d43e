import json

import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.training.loop import LoopSettings, TrainingLoop, load_checkpoint_file

SETTINGS = LoopSettings(steps=6, validate_every=2, learning_rate=0.05, averaging=0.5)


def make_batch(generator: np.random.Generator):
    """Foreground is where the only channel is positive; one 1 × 1 convolution can learn it."""
    images = torch.from_numpy(generator.standard_normal((2, 1, 5, 7), dtype=np.float32))
    return images, (images[:, 0] > 0).long(), torch.ones(2, 5, 7)


def new_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


class StoppedError(Exception):
    """Stands in for a killed process."""


def scores_by_order(*scores: float):
    queue = list(scores)
    return lambda network: {"score": queue.pop(0)}


def test_training_lowers_the_loss(tmp_path):
    lines: list[str] = []
    settings = LoopSettings(steps=100, validate_every=100, learning_rate=0.05)
    TrainingLoop(new_network(), settings, tmp_path, make_batch, lambda n: {"score": 0.0}).run(
        lines.append
    )
    losses = [e["loss"] for e in map(json.loads, lines) if e["event"] == "step"]
    assert losses[-1] < 0.5 * losses[0]


def test_the_best_validated_weights_are_kept_not_the_last(tmp_path):
    seen: list[dict[str, torch.Tensor]] = []
    scores = [0.2, 0.9, 0.4]

    def validate(network: nn.Module) -> dict[str, float]:
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return {"score": scores[len(seen) - 1]}

    best = TrainingLoop(new_network(), SETTINGS, tmp_path, make_batch, validate).run(lambda _: None)
    kept = load_checkpoint_file(best)
    assert all(torch.equal(kept[name], value) for name, value in seen[1].items())
    assert not torch.equal(kept["0.weight"], seen[2]["0.weight"])


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(tmp_path):
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    scores = (0.1, 0.3, 0.2)
    TrainingLoop(new_network(), SETTINGS, whole, make_batch, scores_by_order(*scores)).run(
        lambda _: None
    )

    calls = 0

    def stop_at_second_validation(network: nn.Module) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoppedError
        return {"score": scores[0]}

    with pytest.raises(StoppedError):
        TrainingLoop(new_network(), SETTINGS, halved, make_batch, stop_at_second_validation).run(
            lambda _: None
        )
    resumed = TrainingLoop(new_network(), SETTINGS, halved, make_batch, scores_by_order(0.3, 0.2))
    resumed.run(lambda _: None)
    assert (halved / "best.pt").read_bytes() == (whole / "best.pt").read_bytes()
    first, second = (load_checkpoint_file(folder / "latest.pt") for folder in (whole, halved))
    assert first["step"] == second["step"] == 6
    for part in ("network", "average"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), f"{part}.{name}"


def test_a_resumed_run_does_not_forget_its_best_score(tmp_path):
    TrainingLoop(new_network(), SETTINGS, tmp_path, make_batch, scores_by_order(0.9, 0.5, 0.4)).run(
        lambda _: None
    )
    kept = (tmp_path / "best.pt").read_bytes()
    longer = LoopSettings(steps=8, validate_every=2)
    TrainingLoop(new_network(), longer, tmp_path, make_batch, scores_by_order(0.8)).run(
        lambda _: None
    )
    assert (tmp_path / "best.pt").read_bytes() == kept
