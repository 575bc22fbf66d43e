"""The shipped model of the hippocampus finds the same, however a volume is stored."""

import numpy as np
import pytest

from napari_rwkv_seg import load_model, segment
from napari_rwkv_seg.images import read_image
from tests.images.nifti_files import save_stored_as

NAME = "hippocampus_019.nii.gz"  # of those that were held out
pytestmark = pytest.mark.shared


def test_the_hippocampus_is_found_whichever_way_round_a_file_is(tmp_path, shared):
    folder = shared / "data" / "msd_hippocampus"
    model = load_model("rwkv_unet_t_hippocampus", "cpu")
    found = []
    for codes in ("RAS", "LPS", "ASR"):
        image, truth = (
            read_image(save_stored_as(folder / kind / NAME, tmp_path / f"{kind}.nii", codes))
            for kind in ("images", "masks")
        )
        labels = segment(image.data, model, axes=image.axes).labels
        found.append(labels)
        for number in (1, 2):
            ours, theirs = labels == number, truth.data == number
            assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.8
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
