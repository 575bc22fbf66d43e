from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.errors import OutputError, RunError
from napari_rwkv_seg.training.budget import Budget, Stopwatch
from napari_rwkv_seg.training.checkpoints import load_checkpoint_file, load_latest
from napari_rwkv_seg.training.events import Event, make_event
from napari_rwkv_seg.training.loop import TrainingLoop
from napari_rwkv_seg.training.losses import weighted_dice_ce_loss
from napari_rwkv_seg.training.work import LoopSettings, Work

SETTINGS = LoopSettings(Budget(6), validate_every=2, learning_rate=0.05, averaging=0.5)


def make_batch(generator: np.random.Generator):
    """Foreground is where the only channel is positive; one 1 × 1 convolution can learn it."""
    images = torch.from_numpy(generator.standard_normal((2, 1, 5, 7), dtype=np.float32))
    return images, (images[:, 0] > 0).long(), torch.ones(2, 5, 7)


def new_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


class Told(list[Event]):
    """The events that a loop told."""

    def __call__(self, kind: str, **facts: object) -> Event:
        self.append(make_event(kind, **facts))
        return self[-1]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self if event["event"] == kind]


class StoppedError(Exception):
    """Stands in for a killed process."""


def scores_by_order(*scores: float):
    queue = list(scores)
    return lambda network: {"score": queue.pop(0)}


def make_loop(
    folder: Path,
    validate: Any = lambda network: {"score": 0.0},
    settings: LoopSettings = SETTINGS,
    tell: Any = None,
    **more: Any,
) -> TrainingLoop:
    tell = Told() if tell is None else tell
    more = {"make_batch": make_batch, "validate": validate, "tell": tell} | more
    return TrainingLoop(new_network(), settings, folder, Work(**more), watch=Ticking())


class Ticking(Stopwatch):
    """A clock on which a tenth of a second passes whenever it is read."""

    @property
    def seconds(self) -> float:
        self._before += 0.1
        return self._before


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_training_lowers_the_loss(tmp_path):
    losses: list[float] = []

    def heard(*batch: torch.Tensor) -> torch.Tensor:
        losses.append(float((value := weighted_dice_ce_loss(*batch)).detach()))
        return value

    settings = LoopSettings(Budget(100), validate_every=100, learning_rate=0.05)
    make_loop(tmp_path, settings=settings, loss=heard).run()
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_the_best_validated_weights_are_kept_not_the_last(tmp_path):
    seen: list[dict[str, torch.Tensor]] = []
    scores = [0.2, 0.9, 0.4]

    def validate(network: nn.Module) -> dict[str, float]:
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return {"score": scores[len(seen) - 1]}

    loop = make_loop(tmp_path, validate)
    kept = load_checkpoint_file(loop.run())
    assert same(kept, seen[1])
    assert loop.best_step == 4
    assert not torch.equal(kept["0.weight"], seen[2]["0.weight"])


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(tmp_path):
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    make_loop(whole, scores_by_order(0.1, 0.3, 0.2)).run()
    calls = 0

    def stop_at_second_validation(network: nn.Module) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoppedError
        return {"score": 0.1}

    with pytest.raises(StoppedError):
        make_loop(halved, stop_at_second_validation).run()
    make_loop(halved, scores_by_order(0.3, 0.2)).run()
    assert (halved / "best.pt").read_bytes() == (whole / "best.pt").read_bytes()
    first, second = (load_checkpoint_file(folder / "latest.pt") for folder in (whole, halved))
    assert first["now"]["step"] == second["now"]["step"] == 6
    assert same(first["network"], second["network"])
    assert same(first["average"], second["average"])


@pytest.mark.parametrize("interrupted", [2, 3])
def test_a_check_in_which_a_run_was_left_is_made_up_for_when_it_goes_on(tmp_path, interrupted):
    """The last of the three checks is at the very end."""
    whole, left = tmp_path / "whole", tmp_path / "left"
    make_loop(whole, scores_by_order(0.1, 0.3, 0.2)).run()
    scores = iter([0.1, 0.3, 0.2][: interrupted - 1])

    def validate(network: nn.Module) -> dict[str, float]:
        for score in scores:
            return {"score": score}
        raise StoppedError

    loop = make_loop(left, validate)
    with pytest.raises(StoppedError):
        loop.run()
    loop.save()  # as a run does that is left
    told = Told()
    make_loop(left, scores_by_order(*[0.1, 0.3, 0.2][interrupted - 1 :]), tell=told).run()
    steps = [event["step"] for event in told.of("validated")]
    assert steps == [2, 4, 6][interrupted - 1 :]
    assert (left / "best.pt").read_bytes() == (whole / "best.pt").read_bytes()


def test_a_run_by_time_that_begins_too_late_learns_all_the_same_and_so_when_resumed(tmp_path):
    settings = LoopSettings(Budget(seconds=-5, least=3), validate_every=100)
    loop = make_loop(tmp_path, settings=settings, should_stop=iter([False, True]).__next__)
    loop.run()
    assert loop.step == 1
    again = make_loop(tmp_path, settings=settings)
    again.run()
    done = again.step
    assert done > 3
    third = make_loop(tmp_path, settings=settings)
    third.run()
    assert third.step == done  # each process has only the rest


def test_a_resumed_run_does_not_forget_its_best_score(tmp_path):
    make_loop(tmp_path, scores_by_order(0.9, 0.5, 0.4)).run()
    kept = (tmp_path / "best.pt").read_bytes()
    longer = LoopSettings(Budget(8), validate_every=2)
    make_loop(tmp_path, scores_by_order(0.8), longer).run()
    assert (tmp_path / "best.pt").read_bytes() == kept


def test_a_run_by_time_ends_with_a_validation_when_its_seconds_are_used(tmp_path):
    told = Told()
    settings = LoopSettings(Budget(seconds=4), validate_every=1.5)
    loop = make_loop(tmp_path, settings=settings, tell=told)
    loop.run()
    assert loop.step > 1
    checks = told.of("validated")
    assert len(checks) >= 2
    assert checks[-1]["step"] == loop.step
    assert checks[-1]["seconds"] >= 4


def test_a_resumed_run_by_time_has_only_the_rest_of_its_time(tmp_path):
    settings = LoopSettings(Budget(seconds=3), validate_every=3)
    first = make_loop(tmp_path, settings=settings)
    first.run()
    again = make_loop(tmp_path, settings=settings)
    assert again.is_resumed
    again.run()
    assert again.step == first.step


def test_what_it_took_to_start_again_is_not_taken_off_the_rest_of_the_time(tmp_path):
    settings = LoopSettings(Budget(seconds=3), validate_every=3)
    make_loop(tmp_path, settings=settings).save()
    watch = Stopwatch()
    watch.add(1000)  # until the libraries were loaded
    work = Work(make_batch, lambda network: {"score": 0.0}, Told())

    assert TrainingLoop(new_network(), settings, tmp_path, work, watch=watch).is_resumed
    assert watch.seconds < 900


def test_the_wish_to_stop_ends_training_with_a_validation(tmp_path):
    told = Told()
    answers = iter([False, False, False, True, True])
    loop = make_loop(tmp_path, tell=told, should_stop=lambda: next(answers))
    loop.run()
    assert loop.step == 3
    assert told.of("validated")[-1]["step"] == 3


def test_frozen_parts_keep_their_weights_and_their_statistics(tmp_path):
    network = new_network()
    network[0].requires_grad_(False)
    network[1].requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    groups = [{"params": list(network[2].parameters()), "lr_scale": 1.0}]
    work = Work(make_batch, lambda n: {"score": 0.0}, Told(), groups)
    TrainingLoop(network, SETTINGS, tmp_path, work).run()
    after = network.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "2.weight",
        "2.bias",
    ]


def test_out_of_memory_makes_the_run_lighter_and_it_goes_on(tmp_path):
    told, lighter = Told(), ["smaller crops", "even smaller crops"]

    def greedy(generator: np.random.Generator):
        if lighter:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return make_batch(generator)

    loop = make_loop(
        tmp_path, tell=told, make_batch=greedy, lighten=lambda: lighter.pop(0) if lighter else ""
    )
    loop.run()
    assert [event["what"] for event in told.of("lighter")] == [
        "smaller crops",
        "even smaller crops",
    ]
    assert loop.step == 6


def test_out_of_memory_at_the_smallest_is_a_sentence(tmp_path):
    def greedy(generator: np.random.Generator):
        raise MemoryError

    with pytest.raises(RunError, match="Not enough memory"):
        make_loop(tmp_path, make_batch=greedy).run()


def test_another_error_is_not_taken_for_lack_of_memory(tmp_path):
    def faulty(generator: np.random.Generator):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        make_loop(tmp_path, make_batch=faulty).run()


def test_a_step_that_is_not_finite_changes_no_weight(tmp_path):
    calls = 0

    def sometimes(generator: np.random.Generator):
        nonlocal calls
        calls += 1
        images, targets, weights = make_batch(generator)
        return images * (float("nan") if calls == 3 else 1), targets, weights

    loop = make_loop(tmp_path, make_batch=sometimes)
    loop.run()
    state = load_checkpoint_file(tmp_path / "latest.pt")
    for part in ("network", "average"):
        assert all(bool(torch.isfinite(value).all()) for value in state[part].values())
    assert loop.step == 6


def test_numbers_that_stay_infinite_lead_back_to_the_checkpoint_and_then_to_a_sentence(tmp_path):
    told = Told()

    def poisoned(generator: np.random.Generator):
        images, targets, weights = make_batch(generator)
        return images * float("inf"), targets, weights

    settings = LoopSettings(Budget(100), validate_every=100)
    with pytest.raises(RunError, match="infinite again and again"):
        make_loop(tmp_path, settings=settings, tell=told, make_batch=poisoned).run()
    assert len(told.of("lighter")) == 3
    assert load_latest(tmp_path) is not None


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    make_loop(tmp_path).run()
    (tmp_path / "latest.pt").write_bytes(b"PK\x03\x04 half of it")
    state = load_latest(tmp_path)
    assert state is not None
    assert state["now"]["step"] == 4
    (tmp_path / "previous.pt").write_bytes(b"")
    with pytest.raises(RunError, match="damaged"):
        load_latest(tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    make_loop(tmp_path).run()
    other = nn.Conv2d(1, 2, 1)
    with pytest.raises(RunError, match="another model"):
        TrainingLoop(other, SETTINGS, tmp_path, Work(make_batch, lambda n: {"score": 0}, Told()))


def test_a_full_disk_is_a_sentence_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    def full(target: Path, write: object) -> None:
        raise OutputError(f"Cannot write {str(target)!r}: No space left on device.")

    def validate(network: nn.Module) -> dict[str, float]:
        monkeypatch.setattr("napari_rwkv_seg.training.checkpoints.write_atomically", full)
        return {"score": 0.5}

    with pytest.raises(OutputError, match="No space left"):
        make_loop(tmp_path, validate).run()
    monkeypatch.undo()
    state = load_latest(tmp_path)
    assert state is not None
    assert state["now"]["step"] == 0
