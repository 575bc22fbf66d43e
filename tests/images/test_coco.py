"""COCO files are read by pycocotools, mask by mask."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools.coco import COCO

from napari_rwkv_seg.images import ImageFile, save_labels

# of pycocotools, which gives NumPy 2 an array in the old way
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
PLANES = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)
)
SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(path):
    coco = COCO(str(path))
    return coco, coco.loadAnns(coco.getAnnIds())


def objects(annotations, coco, shape):
    """Return the labels that annotations show, numbered in their order."""
    found = np.zeros(shape, int)
    for number, one in enumerate(annotations, 1):
        found[coco.annToMask(one) > 0] = number
    return found


def test_every_object_is_an_annotation(tmp_path):
    labels = np.zeros((20, 30), np.int32)
    labels[2:5, 3:9], labels[10:12, 20:30], labels[19, 29] = 7, 70_000, 3
    image = ImageFile(labels, "YX", None, tmp_path / "folder" / "a.tif")

    save_labels(tmp_path / "a.json", labels, image, provenance={"model": "m"})

    coco, annotations = read(tmp_path / "a.json")
    found = objects(annotations, coco, labels.shape)
    np.testing.assert_array_equal(found > 0, labels > 0)
    assert sorted(one["area"] for one in annotations) == [1, 18, 20]
    assert [3, 2, 6, 3] in [one["bbox"] for one in annotations]
    assert coco.loadImgs([1])[0]["file_name"] == "a.tif"
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "object", "supercategory": ""}]
    assert json.loads((tmp_path / "a.json").read_text())["info"]["model"] == "m"


def test_areas_of_a_class_are_annotations_of_its_category(tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[2:5, 3:9], labels[10:12, 20:30], labels[15, 15] = 1, 1, 2

    save_labels(tmp_path / "a.json", labels, classes=["background", "liver", "spleen"])

    coco, annotations = read(tmp_path / "a.json")
    assert [one["category_id"] for one in annotations] == [1, 1, 2]
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == ["liver", "spleen"]


def test_every_plane_of_a_stack_is_an_image(tmp_path):
    labels = np.zeros((3, 20, 30), np.uint8)
    labels[1:, 2:5, 3:9] = 1

    save_labels(tmp_path / "a.json", labels)

    coco, annotations = read(tmp_path / "a.json")
    assert [each["plane"] for each in coco.loadImgs(coco.getImgIds())] == [[0], [1], [2]]
    assert [one["image_id"] for one in annotations] == [2, 3]


def test_no_object_is_a_file_without_annotations(tmp_path):
    save_labels(tmp_path / "a.json", np.zeros((20, 30), np.uint8))

    assert read(tmp_path / "a.json")[1] == []


def test_a_class_without_a_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="names for 0 to 1"):
        save_labels(tmp_path / "a.json", np.full((5, 5), 2), classes=["background", "liver"])


@SETTINGS
@given(PLANES)
def test_any_labels_come_back_from_pycocotools(tmp_path, labels):
    save_labels(tmp_path / "a.json", labels)

    coco, annotations = read(tmp_path / "a.json")
    found = objects(annotations, coco, labels.shape)
    numbers = np.unique(labels[labels > 0])
    assert len(annotations) == len(numbers)
    for number, place in zip(numbers, range(1, 9), strict=False):
        np.testing.assert_array_equal(found == place, labels == number)
    for one in annotations:
        assert one["area"] == coco.annToMask(one).sum()
        x, y, wide, high = (int(v) for v in one["bbox"])
        assert coco.annToMask(one)[y : y + high, x : x + wide].sum() == one["area"]
