"""One picture under two names: found if it was stored, scaled or lit otherwise."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from napari_rwkv_seg.training.likeness import first_same, much_alike


def picture(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    """Return bright blobs on noise, uint8."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    blobs = ndimage.gaussian_filter(noise, 5)
    return np.clip(128 + 60 * blobs / blobs.std() + 5 * noise, 0, 255).astype(np.uint8)


def as_jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=40)
    return np.asarray(Image.open(buffer))


def darker(image: np.ndarray) -> np.ndarray:
    return 0.4 * image + 3.0


def scaled(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((301, 200)))


def in_colour(image: np.ndarray) -> np.ndarray:
    return np.stack([image, image // 2, image // 3], -1)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, ">f4", np.float64, np.complex64])
def test_the_very_same_picture_is_found_also_if_a_number_of_it_is_missing(dtype):
    image, other = picture(0).astype(dtype), picture(0).astype(dtype)
    if image.dtype.kind in "fc":
        image[3, 3] = other[3, 3] = np.nan  # between the lines that are compared first
    other[5, 5] = not other[5, 5]
    assert first_same([image, other, image.copy(), other.copy()]) == [0, 1, 0, 1]


@pytest.mark.parametrize("change", [as_jpeg, darker, scaled, in_colour], ids=lambda f: f.__name__)
def test_i31_a_picture_that_was_stored_otherwise_is_found(change):
    images = [picture(0), picture(1), change(picture(0)), picture(2)]
    assert list(much_alike(images)) == [(0, 2)]


def test_i31_other_pictures_flat_ones_and_tiny_ones_are_not_alike():
    flat = np.full((40, 40), 7, np.uint8)
    holes = picture(3).astype(float)
    holes[:10] = np.nan
    images = [picture(0), picture(1), flat, flat + 1, holes, np.zeros((3, 5)), np.eye(3)]
    assert list(much_alike(images)) == []
