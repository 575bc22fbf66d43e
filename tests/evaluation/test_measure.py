"""Measurements of images whose answer is known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_rwkv_seg.evaluation.measure import Spacing, measure
from napari_rwkv_seg.inference.segment import Segmentation
from napari_rwkv_seg.inference.settings import LabelSettings

UM = Spacing({"Z": 2.0, "Y": 0.5, "X": 0.25}, "um")


def segmentation(
    labels: Any, axes: str, output: str = "objects", classes: int = 2, probabilities: Any = None
) -> Segmentation:
    card: Any = SimpleNamespace(
        classes=[SimpleNamespace(name=f"class {n}") for n in range(classes)]
    )
    if probabilities is None:
        probabilities = np.zeros((classes, *labels.shape), np.float32)
    settings = LabelSettings(output=output)
    return Segmentation(labels, probabilities, card, settings, axes, (), {})


def two_squares() -> np.ndarray:
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 3:11] = 1  # 4 × 8
    labels[10:13, 20:23] = 2  # 3 × 3
    return labels


def test_area_centre_box_and_intensity_of_objects_are_right_in_the_files_unit() -> None:
    labels = two_squares()
    image = labels * 10.0
    made = measure(segmentation(labels, "YX"), image, UM)
    assert made.objects["label"] == [1, 2]
    assert made.objects["class"] == ["class 1", "class 1"]
    assert made.objects["area_px"] == [32, 9]
    assert made.objects["area_um2"] == pytest.approx([32 * 0.125, 9 * 0.125])
    assert made.objects["centroid_y_px"] == pytest.approx([3.5, 11])
    assert made.objects["centroid_x_um"] == pytest.approx([6.5 * 0.25, 21 * 0.25])
    assert made.objects["bbox_x_from"] == [3, 20]
    assert made.objects["bbox_x_to"] == [11, 23]
    assert made.objects["mean_channel_0"] == pytest.approx([10, 20])
    assert made.objects["eccentricity"][0] == pytest.approx(0.25, abs=0.3)
    assert set(made.objects) >= {"major_axis_um", "minor_axis_um", "diameter_um"}


def test_a_square_of_pixels_that_are_twice_as_high_is_longer_than_wide() -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[5:25, 5:25] = 1
    made = measure(segmentation(labels, "YX"), labels, Spacing({"Y": 2.0, "X": 1.0}))
    ratio = made.objects["major_axis_um"][0] / made.objects["minor_axis_um"][0]
    assert ratio == pytest.approx(2, rel=0.01)
    assert made.objects["eccentricity"][0] == pytest.approx(np.sqrt(0.75), rel=0.01)


def test_without_a_spacing_all_is_in_pixels() -> None:
    made = measure(segmentation(two_squares(), "YX"), two_squares(), Spacing())
    assert made.objects["area_px"] == [32, 9]
    assert not [name for name in made.objects if name.endswith(("_um", "_um2"))]
    assert made.classes[0]["size_unit"] == "px"
    assert made.classes[0]["size"] == 41


def test_every_channel_has_its_columns() -> None:
    labels = two_squares()
    image = np.stack([labels, labels + 100], axis=-1).astype(np.uint8)
    made = measure(segmentation(labels, "YXC"), image, Spacing())
    assert made.objects["mean_channel_1"] == [101, 102]
    first = measure(segmentation(labels, "CYX"), np.moveaxis(image, -1, 0), Spacing())
    assert first.objects == made.objects


def test_of_class_labels_the_connected_regions_are_measured() -> None:
    labels = np.minimum(two_squares(), 1).astype(np.uint8)
    labels[18, 2:5] = 2
    made = measure(segmentation(labels, "YX", "classes", 4), labels, UM)
    assert made.objects["class"] == ["class 1", "class 1", "class 2"]
    assert made.objects["label"] == [1, 2, 1]
    assert [(row["class"], row["objects"], row["pixels"]) for row in made.classes] == [
        ("class 1", 2, 41),
        ("class 2", 1, 3),
        ("class 3", 0, 0),
    ]
    assert made.classes[0]["size"] == pytest.approx(41 * 0.125)
    assert made.classes[0]["size_unit"] == "um2"
    assert made.classes[0]["share"] == pytest.approx(41 / 600)
    assert made.classes[2]["mean_object_size"] is None


def test_an_object_has_the_class_of_most_of_its_pixels() -> None:
    labels = two_squares()
    probabilities = np.zeros((3, *labels.shape), np.float32)
    probabilities[1], probabilities[2] = 0.5, 0.1
    probabilities[2, 9:12] = 0.9  # two of the three rows of the second square
    made = measure(segmentation(labels, "YX", "objects", 3, probabilities), labels, UM)
    assert dict(zip(made.objects["label"], made.objects["class"], strict=True)) == {
        1: "class 1",
        2: "class 2",
    }


def test_planes_are_measured_one_by_one_and_sizes_added_to_a_volume() -> None:
    labels = np.stack([two_squares(), np.where(two_squares(), two_squares() + 2, 0)])
    made = measure(segmentation(labels, "ZYX"), labels, UM)
    assert made.objects["z"] == [0, 0, 1, 1]
    assert made.objects["label"] == [1, 2, 3, 4]
    assert "area_um2" in made.objects
    assert made.classes[0]["size_unit"] == "um3"
    assert made.classes[0]["size"] == pytest.approx(82 * 0.25)


def test_objects_that_go_on_along_z_are_bodies_with_a_volume() -> None:
    labels = np.stack([two_squares(), two_squares(), np.zeros((20, 30), np.int32)])
    made = measure(segmentation(labels, "ZYX"), labels, UM)
    assert made.objects["label"] == [1, 2]
    assert made.objects["volume_px"] == [64, 18]
    assert made.objects["volume_um3"] == pytest.approx([16, 4.5])
    assert made.objects["centroid_z_um"] == pytest.approx([1, 1])


def test_time_is_kept_apart() -> None:
    labels = np.stack([two_squares(), two_squares()])
    labels[1][labels[1] == 2] = 0
    made = measure(segmentation(labels, "TYX"), labels, UM)
    assert made.objects["t"] == [0, 0, 1]
    assert [(row["t"], row["objects"], row["pixels"]) for row in made.classes] == [
        (0, 2, 41),
        (1, 1, 32),
    ]


def test_a_volume_without_a_known_depth_is_counted_in_pixels() -> None:
    labels = two_squares()[None]
    made = measure(segmentation(labels, "ZYX"), labels, Spacing({"Y": 0.5, "X": 0.5}))
    assert made.classes[0]["size_unit"] == "px"
    assert "area_um2" in made.objects


def test_an_image_without_objects_has_columns_but_no_rows() -> None:
    labels = np.zeros((9, 11), np.int32)
    made = measure(segmentation(labels, "YX"), labels, UM)
    assert made.objects["area_um2"] == []
    assert made.classes[0]["objects"] == 0


def test_masked_and_boolean_images_are_measured() -> None:
    labels = two_squares()
    masked = np.ma.masked_array(labels.astype(float), mask=labels == 2)
    means = measure(segmentation(labels, "YX"), masked, UM).objects["mean_channel_0"]
    assert means[0] == 1
    assert np.isnan(means[1])
    assert measure(segmentation(labels, "YX"), labels > 0, UM).objects["mean_channel_0"] == [1, 1]
