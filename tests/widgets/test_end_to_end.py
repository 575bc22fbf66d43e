"""The main job in a real window with the shipped model: the walk that the README shows."""

import importlib.util
from pathlib import Path
from types import ModuleType

import imageio.v3 as imageio
import numpy as np
import pytest
from napari.layers import Labels

from napari_rwkv_seg.evaluation import dice, object_f1
from napari_rwkv_seg.images.samples import sample_mask_path

pytestmark = pytest.mark.gui

SCRIPT = Path(__file__).parents[2] / "scripts" / "screenshots.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return scripts/screenshots.py, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("screenshots", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def walk(script, make_napari_viewer, qtbot):
    """Return the walk in a viewer that is shown."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    snaps = []
    wait = lambda condition: qtbot.waitUntil(condition, timeout=1000 * script.PATIENCE_S)  # noqa: E731
    walk = script.Walk(viewer, wait, snaps.append)
    walk.snaps = snaps
    return walk


def test_sample_segment_paint_undo_and_cancel_in_a_real_window(walk, script):
    image = walk.open_sample()
    labels = walk.segment()
    assert isinstance(labels, Labels)
    assert labels.name == f"{image.name} · med_urwkv_t_nuclei"
    np.testing.assert_array_equal(labels.extent.world, image.extent.world)
    made = labels.data.copy()
    assert made.max() > 0

    walk.paint(labels)
    assert labels.data[script.STROKE[0]] == made.max() + 1
    assert labels.data[script.STROKE[-1]] == made.max() + 1

    walk.undo()
    np.testing.assert_array_equal(labels.data, made)

    walk.cancel_a_second_run()
    np.testing.assert_array_equal(labels.data, made)
    assert len(walk.viewer.layers) == 2
    assert "Cancelled" in walk.dock.job.status.text()

    walk.adjust()
    assert "probability" in walk.viewer.layers[1].name
    assert (labels.data > 0).sum() < (made > 0).sum()
    assert walk.snaps == sorted(walk.snaps)


def test_the_shipped_model_finds_the_nuclei_of_the_sample(walk, script):
    walk.open_sample()
    labels = walk.segment()

    truth = imageio.imread(sample_mask_path(script.SAMPLE))

    assert dice(labels.data, truth) > 0.88
    assert object_f1(labels.data, truth) > 0.75
