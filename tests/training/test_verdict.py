import numpy as np
import pytest

from napari_rwkv_seg.training.verdict import (
    are_few,
    is_as_good,
    is_known_well,
    luck_of_best,
    margin,
    verdict,
)


def counts(*dice: float, area: int = 1000) -> np.ndarray:
    """One class, one row an image, with this Dice."""
    return np.array([[[round(2 * area * d)], [2 * area], [area]] for d in dice], np.int64)


def test_a_clear_gain_is_recommended_and_a_loss_is_not() -> None:
    better = verdict(counts(0.7), counts(0.8), ["cell"], [True])
    assert better["before"] == {"mean": 0.7, "classes": {"cell": 0.7}}
    assert better["after"] == {"mean": 0.8, "mean_of_known": 0.8, "classes": {"cell": 0.8}}
    assert better["recommended"]
    assert "0.70 → 0.80 Dice on held-out regions of 1 image" in better["sentence"]
    worse = verdict(counts(0.8), counts(0.7), ["cell"], [True])
    assert not worse["recommended"]
    assert "not better" in worse["sentence"]


def test_a_gain_on_few_images_is_said_to_hold_for_images_like_these() -> None:
    few = verdict(counts(0.7, 0.7), counts(0.8, 0.8), ["cell"], [True])
    many = verdict(counts(*[0.7] * 5), counts(*[0.8] * 5), ["cell"], [True])
    assert few["sentence"].endswith("better on images like these; others were not checked.")
    assert many["sentence"].endswith("the new model is better.")


def test_a_gain_within_chance_is_not_recommended() -> None:
    small = verdict(counts(0.80), counts(0.82), ["cell"], [True])
    assert not small["recommended"]
    assert "within chance" in small["sentence"]
    erratic = verdict(
        counts(0.5, 0.5, 0.5, 0.5, 0.5), counts(0.9, 0.3, 0.7, 0.3, 0.45), ["cell"], [True]
    )
    assert not erratic["recommended"]


def test_a_gain_that_comes_and_goes_from_check_to_check_is_not_recommended() -> None:
    luck = luck_of_best([0.62, 0.64, 0.62, 0.67, 0.58, 0.52])
    lucky = verdict(counts(0.61), counts(0.67), ["cell"], [True], luck)
    lasting = verdict(counts(0.61), counts(0.67), ["cell"], [True], luck_of_best([0.6, 0.67, 0.66]))
    assert luck == pytest.approx(0.67 - (0.62 + 0.67 + 0.58) / 3)
    assert not lucky["recommended"]
    assert "gone at the next" in lucky["sentence"]
    assert lasting["recommended"]


@pytest.mark.parametrize("scores", [[], [0.7]])
def test_one_check_owes_nothing_to_luck(scores) -> None:
    assert luck_of_best(scores) == 0


def test_the_margin_is_smaller_with_more_images_and_never_less_than_a_hundredth() -> None:
    numbers = np.array([0])
    one, three = (margin(counts(*[0.5] * n), counts(*[0.6] * n), numbers) for n in (1, 3))
    assert one > three > 0.01
    assert margin(counts(*[0.5] * 20), counts(*[0.6] * 20), numbers) == 0.01


@pytest.mark.parametrize(("after", "is_useful"), [(0.49, False), (0.5, True)])
def test_a_better_model_that_is_mostly_wrong_is_not_recommended(after, is_useful) -> None:
    facts = verdict(counts(0.1, 0.1), counts(after, after), ["polyp"], [True])
    assert facts["recommended"] is is_useful
    assert ("is better, but still gets two pixels wrong" in facts["sentence"]) is not is_useful


def test_a_class_that_the_old_model_does_not_know_is_left_out_of_its_score() -> None:
    before = np.array([[[1400, 0], [2000, 900], [1000, 900]]])
    after = np.array([[[1400, 1000], [2000, 1800], [1000, 900]]])
    facts = verdict(before, after, ["cell", "nucleus"], [True, False])
    assert facts["before"] == {"mean": 0.7, "classes": {"cell": 0.7}}
    assert facts["after"]["classes"] == {"cell": 0.7, "nucleus": pytest.approx(0.5556, abs=1e-4)}
    assert facts["recommended"]
    assert facts["after"]["mean_of_known"] == 0.7
    assert facts["sentence"].startswith("0.70 → 0.70 Dice on")
    assert facts["sentence"].endswith("New to the model: 'nucleus' 0.56.")


def test_new_classes_alone_have_no_arrow_and_one_that_is_not_held_out_no_number() -> None:
    before = np.array([[[0, 0], [900, 0], [900, 0]]])
    after = np.array([[[1000, 0], [1800, 0], [900, 0]]])
    sentence = verdict(before, after, ["cell", "nucleus"], [False, False])["sentence"]
    assert sentence.startswith("0.56 Dice on")
    assert sentence.endswith("New to the model: 'cell' 0.56, 'nucleus' (none is held out).")


def test_a_new_class_does_not_excuse_forgetting_an_old_one() -> None:
    before = np.array([[[1600, 0], [2000, 900], [1000, 900]]])
    after = np.array([[[1200, 1700], [2000, 1800], [1000, 900]]])
    assert not verdict(before, after, ["cell", "nucleus"], [True, False])["recommended"]


def three_classes(*dice: float, images: int = 6) -> np.ndarray:
    return np.concatenate([counts(*[each] * images) for each in dice], 2)


def test_a_model_that_loses_one_of_many_classes_is_not_recommended_and_the_class_is_named() -> None:
    before, names, known = three_classes(0.2, 0.9, 0.9), ["x", "y", "z"], [True] * 3
    facts = verdict(before, three_classes(0.99, 0.85, 0.3), names, known)
    assert not facts["recommended"]
    assert "better on average, but 'z' fell from 0.90 to 0.30." in facts["sentence"]
    assert verdict(before, three_classes(0.99, 0.885, 0.9), names, known)["recommended"]
    new = verdict(before, three_classes(0.99, 0.9, 0.6), names, [True, True, False])
    assert new["recommended"]  # it is better than 0


def test_of_few_images_a_class_may_fall_as_far_as_chance_goes() -> None:
    before = three_classes(0.2, 0.9, 0.9, images=1)
    for dice, is_kept in [(0.845, True), (0.835, False)]:
        after = three_classes(0.99, 0.9, dice, images=1)
        assert verdict(before, after, ["x", "y", "z"], [True] * 3)["recommended"] is is_kept


def test_a_model_that_knows_none_of_the_classes_has_no_score_before() -> None:
    facts = verdict(counts(0.0), counts(0.6), ["polyp"], [False])
    assert facts["before"] == {"mean": None, "classes": {}}
    assert facts["recommended"]


def test_a_class_without_a_held_out_pixel_counts_for_nothing() -> None:
    before = np.array([[[1400, 0], [2000, 50], [1000, 0]]])
    after = np.array([[[1600, 0], [2000, 0], [1000, 0]]])
    facts = verdict(before, after, ["cell", "nucleus"], [True, True])
    assert facts["after"] == {"mean": 0.8, "mean_of_known": 0.8, "classes": {"cell": 0.8}}


@pytest.mark.parametrize(
    ("base", "learnt", "other", "is_enough"),
    [
        (0.70, 0.90, 0.88, True),  # a tenth of the gain is lost, which may be chance
        (0.70, 0.90, 0.86, False),  # a fifth of the gain, but more than chance
        (0.88, 0.90, 0.89, False),  # within chance, but half of the gain
        (0.88, 0.90, 0.897, True),
        (0.90, 0.90, 0.90, False),  # nothing was gained
        (0.90, 0.80, 0.85, False),
        (0.70, 0.90, 0.95, True),  # better than what was learnt
    ],
)
def test_other_weights_will_do_if_nearly_all_of_the_gain_is_kept(
    base: float, learnt: float, other: float, is_enough: bool
) -> None:
    assert is_as_good(counts(base), counts(learnt), counts(other)) is is_enough


def test_of_many_images_less_may_be_lost() -> None:
    many = [counts(*[dice] * 9) for dice in (0.5, 0.9, 0.88)]
    assert not is_as_good(*many)
    assert is_as_good(*[each[:1] for each in many])


def test_a_base_knows_images_well_from_two_thirds_on() -> None:
    assert is_known_well(counts(0.67, 0.68))
    assert not is_known_well(counts(0.6, 0.7))
    assert are_few(counts(*[0.9] * 3))
    assert not are_few(counts(*[0.9] * 4))
