"""The bundled images are whole, have masks, and say where they come from."""

import imageio.v3 as imageio
import numpy as np
import pytest

from napari_rwkv_seg.errors import UnreadableFileError
from napari_rwkv_seg.images.samples import SAMPLES, sample_layers, sample_mask_path, sample_path


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_has_a_mask_of_its_height_and_width(name):
    image, mask = imageio.imread(sample_path(name)), imageio.imread(sample_mask_path(name))

    assert mask.shape == image.shape[:2]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_nuclei_of_a_mask_are_counted_without_gaps(name):
    mask = imageio.imread(sample_mask_path(name))

    np.testing.assert_array_equal(np.unique(mask), np.arange(mask.max() + 1))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_one_image_layer_with_its_licence(name):
    ((data, keywords, kind),) = sample_layers(name)

    assert kind == "image"
    assert keywords["rgb"] == (data.ndim == 3)
    assert keywords["metadata"]["licence"] == "CC0 1.0"


def test_the_source_names_every_sample_licence_and_citation():
    text = (sample_path("nuclei_field").parent / "SOURCE.md").read_text(encoding="utf-8")

    assert all(name in text for name in SAMPLES)
    assert "CC0" in text
    assert "Nature Methods" in text


def test_an_unknown_sample_is_refused_with_the_names_that_there_are():
    with pytest.raises(UnreadableFileError, match="nuclei_field"):
        sample_path("../secret")
