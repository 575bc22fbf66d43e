"""Looking at a tile mirrored and turned as well, and taking the mean."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_rwkv_seg import load_model, segment
from napari_rwkv_seg.controllers.batch_choices import BatchChoices
from napari_rwkv_seg.controllers.settings import SegmentSettings
from napari_rwkv_seg.errors import RunError, SettingsError
from napari_rwkv_seg.inference import running
from napari_rwkv_seg.inference.loading import with_views
from napari_rwkv_seg.inference.steps import drained

from .conftest import GreedyNetwork, PixelNetwork


@pytest.fixture
def lopsided(make_model):
    """Return a model that sees left and right, up and down with different eyes."""
    torch.manual_seed(0)
    return make_model(nn.Conv2d(3, 2, 5, padding=2).eval())


@pytest.fixture
def tile():
    return np.random.default_rng(0).random((3, 14, 21), dtype=np.float32)


def said_of(model, tile, turns, is_mirrored):
    """Return what a model says of a tile that was mirrored and turned, turned back again."""
    seen = np.rot90(np.flip(tile, 2) if is_mirrored else tile, turns, (1, 2))
    said = np.rot90(running.run_tile(model, np.ascontiguousarray(seen)), -turns, (1, 2))
    return np.flip(said, 2) if is_mirrored else said


@pytest.mark.parametrize(("views", "turns"), [(4, (0, 2)), (8, (0, 1, 2, 3))])
def test_the_mean_of_all_views_is_taken(lopsided, tile, views, turns):
    wanted = np.mean([said_of(lopsided, tile, t, m) for t in turns for m in (False, True)], 0)

    got = running.run_tile(replace(lopsided, views=views), tile)

    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert np.abs(got - running.run_tile(lopsided, tile)).max() > 0.01


def test_one_view_is_what_the_network_says(lopsided, tile):
    np.testing.assert_array_equal(
        running.run_tile(replace(lopsided, views=1), tile), said_of(lopsided, tile, 0, False)
    )


def test_the_number_of_views_is_in_the_provenance(lopsided, tile):
    image = np.moveaxis(tile, 0, -1)
    assert segment(image, lopsided, axes="YXC").provenance["views"] == 1
    assert segment(image, replace(lopsided, views=8), axes="YXC").provenance["views"] == 8


def test_a_loaded_model_looks_as_often_as_this_call_wishes(lopsided, tile):
    image, many = np.moveaxis(tile, 0, -1), replace(lopsided, views=8)
    assert segment(image, lopsided, axes="YXC", views=4).provenance["views"] == 4
    assert segment(image, many, axes="YXC", views=1).provenance["views"] == 1
    with pytest.raises(SettingsError, match="Views is"):
        segment(image, lopsided, axes="YXC", views=5)


def test_when_memory_runs_out_tiles_are_halved_as_ever(make_model, tile):
    network = GreedyNetwork(130, MemoryError, "")
    model = replace(make_model(network), views=8)
    found = segment(np.tile(tile[0], (8, 8)), model, axes="YX")

    assert found.provenance["tile_size"] == 128
    assert {max(size) for size in network.sizes} == {128, 112}


def test_a_store_of_one_view_is_not_gone_on_with_by_eight(make_model, tile, tmp_path):
    streaming = pytest.importorskip("napari_rwkv_seg.inference.streaming")
    model, folder = make_model(PixelNetwork()), tmp_path / "labels.ome.zarr"
    drained(streaming.segment_to_store_steps(tile[0], model, folder, axes="YX"))

    with pytest.raises(RunError, match="another run"):
        drained(
            streaming.segment_to_store_steps(tile[0], replace(model, views=8), folder, axes="YX")
        )


def test_a_model_to_which_sides_matter_looks_once_and_says_so(lopsided):
    card = lopsided.card.model_copy(update={"orientation": "fixed"})
    model = with_views(replace(lopsided, card=card), 8)

    assert model.views == 1
    assert model.notes == ("'fake' tells sides apart, so it looks at no mirrored tiles.",)
    assert with_views(model, 4).notes == model.notes  # said once, however often it is asked
    assert with_views(replace(lopsided, card=card), 1).notes == ()
    assert load_model("rwkv_unet_t_hippocampus", "cpu", 4).views == 1


def test_a_store_of_before_there_were_views_is_gone_on_with(make_model, tile, tmp_path):
    streaming = pytest.importorskip("napari_rwkv_seg.inference.streaming")
    model, folder = make_model(PixelNetwork()), tmp_path / "labels.ome.zarr"
    drained(streaming.segment_to_store_steps(tile[0], model, folder, axes="YX"))
    [progress] = [path for path in folder.glob("*.json") if '"run"' in path.read_text()]
    content = json.loads(progress.read_text())
    del content["run"]["views"]
    progress.write_text(json.dumps(content))

    again = drained(streaming.segment_to_store_steps(tile[0], model, folder, axes="YX"))

    assert again.folder == folder


@pytest.mark.parametrize("wrong", [0, 2, 16, True, "4", 4.0])
def test_other_numbers_of_views_are_refused(wrong):
    for refuse in (
        lambda: load_model(device="cpu", views=wrong),
        lambda: segment(np.zeros((8, 8)), device="cpu", views=wrong),
        lambda: SegmentSettings(views=wrong),
        lambda: BatchChoices(views=wrong),
    ):
        with pytest.raises(SettingsError, match="Views is 1, 4 or 8"):
            refuse()
