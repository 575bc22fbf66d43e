"""Fine-tuning in a real window with the shipped model and the real training process."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import platformdirs
import pytest
from napari.layers import Labels

# Seconds, as a guard against a hang: a busy machine takes many times the usual time
pytestmark = [pytest.mark.gui, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).parents[2] / "scripts" / "screenshots.py"


@pytest.fixture
def script(tmp_path, monkeypatch) -> ModuleType:
    """Return scripts/screenshots.py, with a user's data folder of its own."""
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path)
    spec = importlib.util.spec_from_file_location("screenshots", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_segment_paint_finetune_stop_use_and_segment_again(
    script, make_napari_viewer, qtbot, tmp_path, children
):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 900)
    wait = lambda condition: qtbot.waitUntil(condition, timeout=1000 * script.PATIENCE_S)  # noqa: E731
    walk = script.FinetuneWalk(
        viewer, wait, lambda name: None, script.SMALL_SAMPLE, script.SMALL_STROKE
    )
    walk.open_sample()
    labels = walk.segment()
    walk.paint(labels)
    painted = labels.data.copy()

    dock = walk.open_finetune()
    assert f"{int(painted.max())} objects" in dock.pairs.list.item(0).text()
    walk.train(dock, 0)
    assert len(dock.run.curves.loss.getData()[0]) > 2
    assert dock.run.curves.base.isVisible()
    labels.data_setitem((np.array([0]), np.array([0])), 1)  # the user goes on painting
    preview = walk.preview(dock)
    assert preview.data.max() > 0

    walk.stop(dock)
    result = dock._controller.story.result
    assert result["before"]["mean"] > 0.5
    assert "Dice on held-out regions" in dock.result.line.text()
    assert dock.result.use.isDefault() == result["recommended"]
    differences = walk.differences(dock)
    assert differences.data.shape == painted.shape

    walk.use(dock)
    again = walk.segment()
    assert isinstance(again, Labels)
    assert again.name.endswith("med_urwkv_t_nuclei-tuned")
    assert (tmp_path / "models" / "med_urwkv_t_nuclei-tuned" / "model.toml").is_file()
    assert children() == []
