from collections.abc import Iterator

from napari_rwkv_seg.training.pace import Pace


def ticking(*lengths: float) -> Iterator[float]:
    now = 0.0
    yield now
    for length in lengths:
        now += length
        yield now


def paced(*lengths: float) -> Pace:
    clock = ticking(*lengths)
    pace = Pace(lambda: next(clock))
    for _ in range(len(lengths) + 1):
        pace.step()
    return pace


def test_steps_that_are_slow_are_found_once_and_judged_anew() -> None:
    pace = paced(1, 1, *[2.0] * 5)
    assert pace.is_slow
    assert not pace.is_slow


def test_the_first_steps_and_a_single_slow_one_do_not_count() -> None:
    assert not paced(9, 9, 0.5, 0.5, 30, 0.5, 0.5).is_slow
    assert not paced(9, 9, 2, 2, 2, 2).is_slow


def test_a_pause_is_no_step() -> None:
    times = iter([0, 1, 2, 3, 4, 5, 6, 100, 101, 102.0])
    pace = Pace(lambda: next(times))
    for number in range(10):
        if number == 7:
            pace.pause()
        pace.step()
    assert not pace.is_slow
