"""A run leaves processors to others, and gives back the threads that it found."""

from collections.abc import Iterator

import pytest
import torch

from napari_rwkv_seg.training import threads as module
from napari_rwkv_seg.training.threads import Threads, Used, used_until_now


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    """Start with four threads of torch, and put back what was there."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Machine:
    """A machine of four processors, on which time passes as it is told."""

    def __init__(self) -> None:
        self.now: Used | None = (0.0, 0.0, 0.0)
        self.seconds = 0.0

    def __call__(self) -> Used | None:
        return self.now

    def passes(self, seconds: float, *, others: float, own: float = 1.0) -> None:
        """Let time pass in which processors are used, by others and by the run."""
        assert self.now is not None
        self.seconds += seconds
        clock, busy, mine = self.now
        self.now = (clock + seconds, busy + (others + own) * seconds, mine + own * seconds)


def threads(machine: Machine, **choices: bool) -> Threads:
    return Threads(used=machine, clock=lambda: machine.seconds, processors=4, **choices)


@pytest.mark.parametrize(
    ("others", "left"),
    [(0.0, 4), (0.2, 4), (0.3, 3), (1.0, 3), (2.2, 2), (3.0, 1), (4.0, 1), (9.0, 1), (-0.5, 4)],
)
def test_there_are_as_many_threads_as_processors_are_free(others: float, left: int) -> None:
    machine = Machine()
    fitted = threads(machine)
    machine.passes(2.5, others=others)
    fitted.adapt()
    assert torch.get_num_threads() == left


def test_what_was_used_since_the_last_look_counts() -> None:
    machine = Machine()
    fitted = threads(machine)
    machine.passes(60, others=3)
    fitted.adapt()
    assert torch.get_num_threads() == 1
    machine.passes(2.5, others=0, own=4)
    fitted.adapt()
    assert torch.get_num_threads() == 4


def test_a_moment_decides_nothing() -> None:
    machine = Machine()
    fitted = threads(machine)
    machine.passes(1, others=4)
    fitted.adapt()
    assert torch.get_num_threads() == 4
    machine.passes(1.5, others=4)
    fitted.adapt()
    assert torch.get_num_threads() == 1


def test_there_are_never_more_than_before() -> None:
    torch.set_num_threads(2)
    machine = Machine()
    fitted = threads(machine)
    machine.passes(2.5, others=0)
    fitted.adapt()
    assert torch.get_num_threads() == 2


def test_what_was_found_is_given_back_whatever_happens() -> None:
    machine = Machine()

    def work() -> None:
        with threads(machine) as fitted:
            machine.passes(2.5, others=4)
            fitted.adapt()
            assert torch.get_num_threads() == 1
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        work()
    assert torch.get_num_threads() == 4


def test_a_run_that_is_to_repeat_keeps_its_threads() -> None:
    machine = Machine()
    fitted = threads(machine, is_fixed=True)
    machine.passes(2.5, others=4)
    fitted.adapt()
    assert torch.get_num_threads() == 4


def test_where_nothing_is_told_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    fitted = threads(machine)
    machine.passes(2.5, others=4)
    machine.now = None
    fitted.adapt()
    assert torch.get_num_threads() == 4

    def fails() -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(module.psutil, "cpu_times", fails)
    assert used_until_now() is None
    Threads(clock=lambda: machine.seconds).adapt()
    assert torch.get_num_threads() == 4


def test_what_this_process_does_is_its_own() -> None:
    before = used_until_now()
    assert before is not None
    while (after := used_until_now()) is None or after[0] - before[0] < 0.3:
        sum(range(1000))
    seconds, busy, own = (x - y for x, y in zip(after, before, strict=True))
    assert seconds >= 0.3
    assert own > 0
    assert busy >= 0
