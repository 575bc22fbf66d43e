from types import SimpleNamespace

import numpy as np
import pytest

from napari_rwkv_seg.errors import TrainingDataError
from napari_rwkv_seg.training.pairs import TrainingPair, check_pairs, class_map, summary
from napari_rwkv_seg.zoo.card import ClassCard

CLASSES = [ClassCard(name=name, color="#000000") for name in ("background", "nucleus", "membrane")]
AS_CLASSES = SimpleNamespace(labels="classes", classes=CLASSES)
AS_OBJECTS = SimpleNamespace(labels="objects", classes=CLASSES[:2])


def pair(labels, image=None, checked=None, name="cells.tif") -> TrainingPair:
    labels = np.asarray(labels)
    image = np.zeros(labels.shape, np.uint8) if image is None else image
    checked = np.ones(labels.shape, bool) if checked is None else checked
    return TrainingPair(name, image, labels, checked)


def test_only_checked_pixels_are_counted():
    checked = np.array([[True, True, True], [False, False, True]])
    facts = summary(pair([[0, 1, 2], [1, 1, 2]], checked=checked), "classes", CLASSES)
    assert facts.pixels == {"background": 1, "nucleus": 1, "membrane": 2}
    assert (facts.checked, facts.labelled, facts.objects, facts.problem) == (4, 3, None, "")


def test_objects_are_counted_and_all_belong_to_the_first_class():
    facts = summary(pair([[0, 7, 255], [100_000, 7, 0]]), "objects", CLASSES[:2])
    assert facts.pixels == {"background": 2, "nucleus": 4}
    assert facts.objects == 3


def test_bool_labels_are_one_class_and_one_object():
    assert summary(pair(np.array([[True, False]])), "classes", CLASSES).pixels["nucleus"] == 1
    assert summary(pair(np.array([[True, False]])), "objects", CLASSES).objects == 1


def test_the_largest_unsigned_number_is_an_object():
    labels = np.array([[0, np.iinfo(np.uint64).max]], np.uint64)
    assert summary(pair(labels), "objects", CLASSES).pixels["nucleus"] == 1


def test_what_is_not_checked_is_background_in_the_class_map():
    checked = np.array([[True, False]])
    assert class_map(pair([[5, 5]], checked=checked), "objects").tolist() == [[1, 0]]
    assert class_map(pair([[2, 2]], checked=checked), "classes").tolist() == [[2, 0]]


@pytest.mark.parametrize(
    ("labels", "image", "said"),
    [
        (np.zeros((3, 4), int), np.zeros((4, 3)), "3 × 4 pixels and the image is 4 × 3"),
        (np.zeros((3, 4)), np.zeros((3, 4)), "dtype float64"),
        (np.full((3, 4), -1), np.zeros((3, 4)), "hold -1"),
        (np.zeros((3, 4), int), np.zeros((3, 4), complex), "complex"),
        (np.zeros((3, 4), int), np.zeros((2, 2, 3, 4)), r"shape \(2, 2, 3, 4\)"),
        (np.full((3, 4), 9), np.zeros((3, 4)), "hold 9, but the classes are 0 to 2"),
    ],
)
def test_a_faulty_pair_is_refused_by_name_with_its_fault(labels, image, said):
    faulty = pair(labels, image)
    assert summary(faulty, "classes", CLASSES).problem
    with pytest.raises(TrainingDataError, match=rf"'cells\.tif'.*{said}"):
        check_pairs([pair([[0, 1]]), faulty], AS_CLASSES)


def test_a_checked_part_of_another_shape_is_refused():
    with pytest.raises(TrainingDataError, match="What is checked of 'cells"):
        check_pairs([pair([[0, 1]], checked=np.ones((1, 1), bool))], AS_CLASSES)


def test_no_pair_nothing_checked_and_nothing_labelled_are_refused_each_in_its_own_words():
    with pytest.raises(TrainingDataError, match="at least one image"):
        check_pairs([], AS_CLASSES)
    with pytest.raises(TrainingDataError, match="No pixel is checked"):
        check_pairs([pair([[1]], checked=np.zeros((1, 1), bool))], AS_CLASSES)
    with pytest.raises(TrainingDataError, match="Nothing is labelled"):
        check_pairs([pair([[0, 0]])], AS_OBJECTS)


def test_labels_without_background_and_classes_without_labels_are_warned_of():
    warnings = check_pairs([pair([[1, 1]])], AS_CLASSES)
    assert "No background is confirmed" in warnings[0]
    assert "'membrane'" in warnings[1]
    assert check_pairs([pair([[0, 1, 2]])], AS_CLASSES) == ()


def test_the_classes_of_the_base_serve_where_the_settings_name_none():
    settings = SimpleNamespace(labels="classes", classes=[])
    with pytest.raises(TrainingDataError, match="hold 2"):
        check_pairs([pair([[0, 2]])], settings, CLASSES[:2])


def test_one_image_under_two_names_is_warned_of():
    image = np.arange(800).reshape(20, 40)
    labels = np.zeros((20, 40), int)
    labels[3:6] = 1
    other = image.copy()
    other[3, 3] = 7  # between the lines that are compared first
    pairs = [pair(labels, each, name=name) for name, each in
             (("a", image), ("b", other), ("c", image.copy()))]  # fmt: skip
    twice, alike = (w for w in check_pairs(pairs, AS_CLASSES) if "'a' and" in w)
    assert "twice: 'a' and 'c'. Both" in twice
    assert "look alike: 'a' and 'b', 'b' and 'c'. If" in alike
