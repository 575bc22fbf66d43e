"""Rows L: labels that nobody planned for."""

import numpy as np
import pytest
from napari.components import ViewerModel
from skimage.measure import label

from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.training.preparation import unchecked_classes
from napari_rwkv_seg.training.split import split_pairs
from napari_rwkv_seg.zoo.card import ClassCard

from .result_of import result_of


def probabilities(mask):
    return np.stack([~mask, mask]).astype(np.float32)


@pytest.mark.timeout(60)
def test_tens_of_thousands_of_touching_objects_are_split_in_seconds():
    many = np.kron(np.ones((256, 256), dtype=bool), np.pad(np.ones((3, 3), bool), (0, 1)))
    assert label_probabilities(probabilities(many), LabelSettings("objects")).max() == 2**16


@pytest.mark.parametrize("seed", range(8))
def test_objects_that_touch_at_a_corner_are_one_as_in_scikit_image(seed):
    mask = np.random.default_rng(seed).random((64, 71)) > 0.7  # holes, diagonals, single pixels
    ours = label_probabilities(
        probabilities(mask), LabelSettings("objects", fill_holes=False, split=False)
    )
    theirs = label(mask, connectivity=2)
    assert ours.max() == theirs.max()
    assert len(np.unique(np.stack([ours, theirs]).reshape(2, -1), axis=1).T) == ours.max() + 1


@pytest.mark.parametrize("setting", ["preserve_labels", "n_edit_dimensions", "contiguous"])
def test_settings_of_the_brush_change_no_result_and_its_undo_is_exact(setting):
    model = ViewerModel()
    image = model.add_image(np.zeros((5, 9, 13)))
    show = result_of(model, image)
    first, second = np.random.default_rng(0).integers(0, 5, (2, 5, 9, 13)).astype(np.int32)
    layer = show(first)
    setattr(layer, setting, {"preserve_labels": True, "n_edit_dimensions": 3}.get(setting, False))
    assert show(second) is layer
    np.testing.assert_array_equal(layer.data, second)
    layer.undo()
    np.testing.assert_array_equal(layer.data, first)


def test_a_class_that_nothing_is_held_out_of_is_named(make_cells):
    pairs = [make_cells(seed=seed, name=str(seed)) for seed in range(3)]
    for number, pair in enumerate(pairs):
        pair.labels[pair.labels > 0] = 1
        if number == 1:
            pair.labels[pair.labels.nonzero()[0].max()] = 2
    classes = [ClassCard(name=name, color="#102030") for name in ("background", "cell", "rare")]
    split = split_pairs(pairs, "classes", 3, 64, seed=0)
    assert not split.validation[1].any()
    (warning,) = unchecked_classes(pairs, split, "classes", classes)
    assert "'rare'" in warning
    assert "'cell'" not in warning
