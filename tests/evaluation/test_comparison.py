"""Scores by hand, and one implementation against the other."""

import math
import warnings

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_iou, compute_surface_dice
from scipy import ndimage

from napari_rwkv_seg.errors import CancelledError, EvaluationError, SettingsError
from napari_rwkv_seg.evaluation.comparison import (
    F1_IOUS,
    ClassScores,
    EvaluationSettings,
    LabelPair,
    compare,
)
from napari_rwkv_seg.evaluation.lengths import Spacing, pixels
from napari_rwkv_seg.evaluation.scores import object_f1
from napari_rwkv_seg.evaluation.surfaces import surface_distances

# MONAI 1.6 warns of an argument that it passes to itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


def pair(found: object, true: object, spacing: Spacing | None = None) -> LabelPair:
    found, true = np.asarray(found), np.asarray(true)
    return LabelPair("cells", found, true, spacing or pixels(found.ndim))


def only(found: object, true: object, spacing: Spacing | None = None, **choices) -> ClassScores:
    """Return the scores of the only class."""
    [scores] = compare(pair(found, true, spacing), EvaluationSettings(**choices))
    return scores


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return random smooth shapes, some of them at the border."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 2.5) > 0.02


def monai(found: np.ndarray, true: np.ndarray, spacing: tuple[float, ...], tolerance: float):
    """Return HD95, surface Dice and IoU by MONAI."""
    y_pred, y = (torch.from_numpy(mask)[None, None].float() for mask in (found, true))
    hd95 = compute_hausdorff_distance(
        y_pred, y, include_background=True, percentile=95, spacing=[float(size) for size in spacing]
    )
    surface = compute_surface_dice(
        y_pred, y, [tolerance], include_background=True, spacing=[float(size) for size in spacing]
    )
    return float(hd95), float(surface), float(compute_iou(y_pred, y))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((47, 53), (1.0, 1.0)), ((47, 53), (0.65, 2.1)), ((11, 29, 31), (5.0, 1.4, 1.3))],
)
def test_random_shapes_have_the_scores_that_monai_gives_them(seed, shape, spacing):
    found, true = blobs(shape, seed), blobs(shape, seed + 100)
    found |= np.roll(true, 2, -1) & blobs(shape, seed + 200)
    tolerance = (
        1.001 * spacing[-1]
    )  # not on a distance that pixels can have: MONAI rounds to 32 bit

    ours = only(found, true, Spacing(spacing, "mm"), tolerance=tolerance)
    hd95, surface, iou = monai(found, true, spacing, tolerance)

    assert ours.hd95 == pytest.approx(hd95, rel=1e-5)
    assert ours.surface_dice == pytest.approx(surface, abs=1e-6)
    assert ours.iou == pytest.approx(iou, abs=1e-6)


def test_masks_at_the_border_have_their_surface_there_as_monai_has_it():
    full = np.ones((7, 9), bool)
    part = full.copy()
    part[:, 6:] = False
    ours = only(part, full)
    hd95, surface, _ = monai(part, full, (1, 1), 1)
    # The surface of `full` is a frame; its right side is 3 columns from that of `part`.
    assert ours.hd95 == pytest.approx(hd95)
    assert ours.hd95 == 3
    assert ours.surface_dice == pytest.approx(surface)


def test_a_square_that_is_shifted_by_two_pixels():
    true, found = np.zeros((2, 20, 20), int)
    true[5:10, 5:10] = 1
    found[5:10, 7:12] = 1
    scores = only(found, true)
    assert scores.dice == pytest.approx(2 * 15 / 50)
    assert scores.iou == pytest.approx(15 / 35)
    assert scores.hd95 == 2
    # Of the 16 pixels of a surface lie within 1: 4 of the upper side, 4 of the lower one, and two
    # of the side within the other square, next to its corners.
    assert scores.surface_dice == pytest.approx(10 / 16)
    assert (scores.f1_50, scores.f1_75) == (0, 0)


def test_distances_are_in_the_units_of_the_spacing_and_not_in_pixels():
    true, found = np.zeros((2, 20, 20), int)
    true[5:10, 5:10] = 1
    found[7:12, 5:10] = 1
    assert only(found, true, Spacing((2.5, 0.5), "µm")).hd95 == 5.0
    assert only(found.T, true.T, Spacing((2.5, 0.5), "µm")).hd95 == 1.0
    assert only(found, true, Spacing((2.5, 0.5), "µm")).unit == "µm"


def test_in_three_dimensions_a_plane_too_many_is_as_far_off_as_planes_are_apart():
    true = np.zeros((6, 8, 8), int)
    true[2:4, 2:6, 2:6] = 1
    found = true.copy()
    found[4, 2:6, 2:6] = 1
    assert only(found, true, Spacing((4.0, 1.0, 1.0), "mm")).hd95 == 4.0


def test_tolerance_counts_what_lies_exactly_on_it():
    true, found = np.zeros((2, 9, 30), int)
    true[4, 4] = found[4, 7] = 1
    spacing = Spacing((0.1, 0.1), "µm")  # 3 × 0.1 is more than 0.3 in binary numbers
    assert only(found, true, spacing, tolerance=0.3).surface_dice == 1
    assert only(found, true, spacing, tolerance=0.29).surface_dice == 0
    assert only(found, true, spacing, tolerance=300, tolerance_unit="nm").surface_dice == 1


def test_without_a_tolerance_it_is_the_shortest_side_of_a_pixel():
    empty = np.zeros((3, 3), int)
    assert only(empty, empty, Spacing((5.0, 0.5), "mm")).tolerance == 0.5


def test_of_two_empty_masks_nothing_is_defined():
    empty = np.zeros((4, 5), int)
    scores = only(empty, empty)
    undefined = ("dice", "iou", "hd95", "surface_dice", "f1_50", "f1_75", "f1_mean")
    assert [name for name in undefined if not math.isnan(getattr(scores, name))] == []
    assert (scores.pixels_found, scores.objects_true) == (0, 0)


@pytest.mark.parametrize("swap", [False, True])
def test_of_an_empty_and_a_full_mask_all_is_wrong_but_no_distance_is_known(swap):
    empty, full = np.zeros((4, 5), int), np.ones((4, 5), int)
    scores = only(full, empty) if swap else only(empty, full)
    assert (scores.dice, scores.iou, scores.surface_dice, scores.f1_50, scores.f1_mean) == (0,) * 5
    assert math.isnan(scores.hd95)
    assert scores.objects_found + scores.objects_true == 1


def test_a_class_that_one_side_lacks_is_named_and_one_that_both_lack_is_not():
    true = np.array([[0, 1, 1, 3]])
    found = np.array([[0, 1, 1, 0]])
    rows = compare(pair(found, true), EvaluationSettings(class_names={3: "core"}))
    assert [(row.number, row.name) for row in rows] == [(1, "class 1"), (3, "core")]
    assert [row.dice for row in rows] == [1, 0]


def test_objects_of_a_class_are_its_connected_parts():
    true = np.zeros((9, 20), int)
    true[1:4, 1:4] = true[5:8, 8:12] = 2
    found = true.copy()
    found[1:4, 15:18] = 2
    scores = only(found, true)
    assert (scores.objects_found, scores.objects_true) == (3, 2)
    assert scores.f1_50 == pytest.approx(2 * 2 / 5)


def test_objects_by_number_may_touch():
    true = np.array([[1, 1, 2, 2]])
    assert only(true, true, labels="objects").objects_true == 2
    assert only(np.array([[1, 1, 1, 1]]), true, labels="objects").dice == 1
    assert only(np.array([[1, 1, 1, 1]]), true, labels="objects").f1_50 == 0


def test_the_mean_f1_is_over_thresholds_from_050_to_090_in_steps_of_005():
    assert F1_IOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
    true = np.ones((1, 100), int)
    found = true.copy()
    found[0, :33] = 0  # IoU 0.67: found at 0.50 to 0.65
    scores = only(found, true, labels="objects")
    assert scores.f1_mean == pytest.approx(4 / 9)
    means = np.mean([object_f1(found, true, iou) for iou in F1_IOUS])
    assert scores.f1_mean == pytest.approx(float(means))


def test_labels_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(EvaluationError, match=r"2 × 3 pixels and the truth is 3 × 2"):
        only(np.zeros((2, 3), int), np.zeros((3, 2), int))


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.array([[0.5, 1]]), "not whole"),
        (np.array([[np.nan, 1]]), "not whole"),
        (np.array([[-1, 1]]), "holds -1"),
        (np.array([["a", "b"]]), "dtype"),
        (np.zeros((0, 2), int), "empty"),
    ],
)
def test_what_is_no_labels_is_refused(labels, told):
    with pytest.raises(EvaluationError, match=told):
        only(labels, np.zeros(labels.shape, int))


def test_whole_floats_and_bools_are_labels():
    assert only(np.array([[0.0, 1.0]]), np.array([[False, True]])).dice == 1


def test_hundreds_of_numbers_are_no_classes():
    numbers = np.arange(400).reshape(20, 20)
    with pytest.raises(EvaluationError, match="say that the numbers are objects"):
        compare(pair(numbers, numbers), EvaluationSettings())
    assert only(numbers, numbers, labels="objects").f1_mean == 1


@pytest.mark.parametrize(
    "choices", [{"labels": "things"}, {"tolerance": -1}, {"tolerance": math.inf}]
)
def test_settings_out_of_range_are_refused(choices):
    with pytest.raises(SettingsError):
        EvaluationSettings(**choices)


def test_it_stops_when_asked_to():
    full = np.ones((5, 5), int)
    with pytest.raises(CancelledError):
        compare(pair(full, full), EvaluationSettings(), lambda: True)
    with pytest.raises(CancelledError):
        surface_distances(full > 0, full > 0, (1, 1), lambda: True)


def test_nothing_is_warned_of_where_classes_are_absent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(pair(np.eye(3, dtype=int), np.zeros((3, 3), int)), EvaluationSettings())
