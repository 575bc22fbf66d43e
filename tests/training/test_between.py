"""Weights between those of the base and those that were learnt."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg.training.between import SCORES, SHARES, between, choose_share, in_words


def counts(dice: float, images: int = 1) -> np.ndarray:
    return np.array([[[round(20_000 * dice)], [20_000], [10_000]]] * images, np.int64)


def never(*_: object) -> np.ndarray:
    raise AssertionError("This is not to be scored.")


def scorer(dice: dict[float, float]) -> tuple[Callable[[float], np.ndarray], list[float]]:
    """Return what stands in for scoring weights, and the list of the shares that it was asked."""
    asked: list[float] = []

    def score(share: float) -> np.ndarray:
        asked.append(share)
        return counts(dice[share], 4)

    return score, asked


@pytest.mark.parametrize(
    ("dice", "share"),
    [
        ({1.0: 0.9, 0.75: 0.9, 0.5: 0.895, 0.25: 0.892}, 0.25),
        ({1.0: 0.9, 0.75: 0.9, 0.5: 0.892, 0.25: 0.86}, 0.5),
        ({1.0: 0.9, 0.75: 0.892, 0.5: 0.85, 0.25: 0.8}, 0.75),
        ({1.0: 0.9, 0.75: 0.85, 0.5: 0.8, 0.25: 0.8}, 1.0),
        ({1.0: 0.7, 0.75: 0.7, 0.5: 0.7, 0.25: 0.7}, 1.0),  # nothing was gained over the base
    ],
)
def test_of_many_images_the_nearest_to_the_base_that_is_as_good_is_taken(
    dice: dict[float, float], share: float
) -> None:
    score, asked = scorer(dice)
    assert choose_share(counts(0.7, 4), never, score) == share
    assert len(asked) == len(set(asked)) <= SCORES


def test_where_the_base_fails_it_is_left() -> None:
    assert choose_share(counts(0.6, 9), never, never) == 1


@pytest.mark.parametrize(("corrected", "share"), [(0.6, 1), (0.7, 0.5)])
@pytest.mark.parametrize("held_out", [0.5, 0.9])
def test_of_few_images_all_that_was_corrected_tells_what_the_base_knows(
    held_out: float, corrected: float, share: float
) -> None:
    assert choose_share(counts(held_out, 3), lambda: counts(corrected, 5), never) == share


def test_the_ends_of_the_line_are_the_base_and_what_was_learnt() -> None:
    base, learnt = (nn.BatchNorm2d(3) for _ in range(2))
    with torch.no_grad():
        learnt.weight.fill_(3)
        learnt.running_mean.fill_(4)
        learnt.num_batches_tracked.fill_(7)
    old, new = base.state_dict(), learnt.state_dict()
    assert all(torch.equal(each, new[name]) for name, each in between(old, new, 1.0).items())
    half = between(old, new, 0.5)
    assert half["weight"].tolist() == [2.0] * 3
    assert half["running_mean"].tolist() == [2.0] * 3
    assert int(half["num_batches_tracked"]) == 7
    assert old["weight"].tolist() == [1.0] * 3
    assert SHARES[-1] == 1


def test_how_far_it_goes_is_said_in_words() -> None:
    assert in_words(1.0, counts(0.7), 1) == ""
    assert "50% of the way" in in_words(0.5, counts(0.7), 1)
    assert in_words(0.5, counts(0.7), 1).endswith("more corrected images it will go farther.")
    assert in_words(0.5, counts(0.7), 8).endswith("more time to compare it will go farther.")
    assert in_words(0.25, counts(0.7, 4), 8).endswith("less is forgotten.")
