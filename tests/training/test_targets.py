import numpy as np

from napari_rwkv_seg.training.targets import separated_target


def test_touching_objects_are_parted_by_background_that_counts_more():
    objects = np.zeros((7, 9), np.int32)
    objects[1:6, 1:4], objects[1:6, 4:8] = 3, 9
    target, weight = separated_target(objects, gap_weight=5)
    assert target[3].tolist() == [0, 1, 1, 0, 0, 1, 1, 1, 0]
    assert weight[3].tolist() == [1, 1, 1, 5, 5, 1, 1, 1, 1]


def test_an_object_alone_keeps_all_its_pixels():
    objects = np.zeros((6, 6), np.int32)
    objects[0:3, 2:6] = 4
    target, weight = separated_target(objects)
    assert np.array_equal(target, objects > 0)
    assert (weight == 1).all()


def test_the_true_labels_are_not_changed():
    objects = np.array([[1, 2], [1, 2]], np.int32)
    separated_target(objects)
    assert objects.tolist() == [[1, 2], [1, 2]]
