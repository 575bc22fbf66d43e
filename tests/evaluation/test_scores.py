import numpy as np
import pytest
import torch
from monai.metrics import compute_dice
from monai.metrics.panoptic_quality import compute_panoptic_quality

from napari_rwkv_seg.evaluation import dice, object_f1


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two label images: objects that agree, are shifted, are missing, or are extra."""
    rng = np.random.default_rng(7)
    truth = np.zeros((67, 83), np.int32)
    found = np.zeros_like(truth)
    for number, (y, x) in enumerate(
        [(3, 3), (3, 30), (20, 10), (40, 50), (50, 5), (25, 60)], start=1
    ):
        truth[y : y + 11, x : x + 13] = number
        dy, dx = rng.integers(0, 7, 2)
        if number != 3:
            found[y + dy : y + dy + 11, x + dx : x + dx + 13] = 100 - number
    found[60:65, 70:80] = 7
    return found, truth


def test_dice_agrees_with_monai(pair):
    found, truth = (torch.from_numpy(array > 0)[None, None].float() for array in pair)
    assert dice(*pair) == pytest.approx(compute_dice(found, truth).item(), abs=1e-6)


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_object_f1_agrees_with_monai_panoptic_recognition_quality(pair, iou):
    found, truth = pair
    expected = compute_panoptic_quality(
        torch.from_numpy(found), torch.from_numpy(truth), metric_name="rq", match_iou_threshold=iou
    )
    assert object_f1(found, truth, iou) == pytest.approx(float(expected), abs=1e-5)
    assert 0 < object_f1(found, truth, 0.5) < 1


def test_object_f1_of_one_missed_object_is_two_thirds():
    truth = np.array([[1, 1, 0, 2, 2]])
    assert object_f1(np.where(truth == 1, 5, 0), truth) == pytest.approx(2 / 3)


def test_tens_of_thousands_of_objects_are_compared_without_a_table_of_all_pairs():
    labels = np.zeros((602, 602), np.int32)
    labels[::2, ::2] = np.arange(1, 301 * 301 + 1).reshape(301, 301)
    assert object_f1(labels, labels) == 1.0


def test_an_image_without_background_keeps_its_first_object():
    labels = np.array([[1, 1], [2, 2]])
    assert object_f1(labels, labels) == 1.0


def test_two_empty_images_agree():
    empty = np.zeros((3, 5), int)
    assert (dice(empty, empty), object_f1(empty, empty)) == (1.0, 1.0)


def test_an_empty_result_scores_zero():
    truth = np.eye(5, dtype=int)
    assert (dice(0 * truth, truth), object_f1(0 * truth, truth)) == (0.0, 0.0)


@pytest.mark.parametrize("score", [dice, object_f1])
def test_scores_refuse_unequal_shapes(score):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        score(np.zeros((2, 3), int), np.zeros((3, 2), int))


def test_object_f1_refuses_a_threshold_that_allows_double_matches():
    with pytest.raises(ValueError, match=r"0\.3"):
        object_f1(np.zeros((2, 2), int), np.zeros((2, 2), int), 0.3)
