"""What napari.yaml promises is there: menus, docks and sample data of the installed package."""

import subprocess
import sys

import numpy as np
import pytest
from napari._app_model.constants._menus import is_menu_contributable
from npe2 import PluginManifest
from qtpy.QtWidgets import QWidget

from napari_rwkv_seg.images.samples import SAMPLES
from napari_rwkv_seg.widgets import contributions
from napari_rwkv_seg.widgets.contributions import (
    CheckInstallation,
    Evaluate,
    FinetuneOnMyLabels,
    Models,
    SegmentManyImages,
    SegmentWithMedURWKV,
)
from napari_rwkv_seg.widgets.installation_dock import InstallationDock
from napari_rwkv_seg.widgets.model_news import news_of
from napari_rwkv_seg.zoo.store import list_models

PLUGIN = "napari-rwkv-seg"
SEGMENT = "Segment with Med-URWKV"
FINETUNE = "Fine-tune on my labels"
MODELS = "Models"
BATCH = "Segment many images"

OPEN_THE_DOCK = """
import sys
import napari
from napari._qt.qt_event_loop import get_qapp
get_qapp()
viewer = napari.Viewer(show=False)
before = set(sys.modules)
from napari_rwkv_seg.widgets.contributions import Evaluate, FinetuneOnMyLabels, Models
from napari_rwkv_seg.widgets.contributions import SegmentWithMedURWKV
viewer.window.add_dock_widget(Evaluate(viewer))
viewer.window.add_dock_widget(SegmentWithMedURWKV(viewer))
viewer.window.add_dock_widget(FinetuneOnMyLabels(viewer))
viewer.window.add_dock_widget(Models(viewer))
from napari_rwkv_seg.widgets.contributions import SegmentManyImages
viewer.window.add_dock_widget(SegmentManyImages(viewer))
heavy = {"torch", "scipy.ndimage", "skimage.segmentation", "safetensors", "monai", "tifffile"}
heavy.add("pyqtgraph")
found = heavy & (set(sys.modules) - before)
viewer.close()
sys.exit(f"imported: {sorted(found)}" if found else 0)
"""


ONE = """
import sys
from napari_rwkv_seg.widgets import contributions
contributions.Evaluate
docks = {name for name in sys.modules if name.endswith("_dock")}
sys.exit(str(docks) if docks != {"napari_rwkv_seg.widgets.evaluate_dock"} else 0)
"""


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    """Return the manifest of the installed package."""
    return PluginManifest.from_distribution(PLUGIN)


def test_the_manifest_and_all_that_it_names_are_valid():
    result = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", PLUGIN, "--imports"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_command_that_is_used_is_there(manifest):
    contributions = manifest.contributions
    commands = {command.id for command in contributions.commands}
    used = {one.command for one in (*contributions.widgets, *contributions.sample_data)}
    used |= {item.command for items in contributions.menus.values() for item in items}
    used |= {one.command for one in (*contributions.readers, *contributions.writers)}

    assert used == commands


def test_every_menu_is_one_that_napari_lets_plugins_fill(manifest):
    assert {"napari/layers/segment", "napari/layers/measure"} <= set(manifest.contributions.menus)
    assert all(is_menu_contributable(menu) for menu in manifest.contributions.menus)


def test_titles_of_samples_in_menu_and_package_agree(manifest):
    assert {one.key: one.display_name for one in manifest.contributions.sample_data} == SAMPLES


@pytest.mark.parametrize(
    "dock",
    [
        SegmentWithMedURWKV,
        FinetuneOnMyLabels,
        SegmentManyImages,
        Models,
        Evaluate,
        CheckInstallation,
    ],
)
def test_docks_are_widgets_as_napari_wants_them(dock):
    assert issubclass(dock, QWidget)


@pytest.mark.gui
def test_the_plugins_menu_has_a_submenu_with_the_dock(make_napari_viewer):
    viewer = make_napari_viewer()
    menu = viewer.window.plugins_menu
    menu.aboutToShow.emit()
    submenus = {action.text(): action.menu() for action in menu.actions() if action.menu()}

    titles = [action.text() for action in submenus["RWKV Segmentation"].actions()]

    assert any(title.startswith(SEGMENT) for title in titles)
    assert any(title.startswith(FINETUNE) for title in titles)
    assert any(title.startswith(MODELS) for title in titles)
    assert any(title.startswith(BATCH) for title in titles)


@pytest.mark.gui
def test_the_dock_opens_as_from_the_menu(make_napari_viewer):
    viewer = make_napari_viewer()

    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, SEGMENT)

    assert isinstance(dock, SegmentWithMedURWKV)
    assert "Open Sample" in dock.job.problem.text()


@pytest.mark.gui
def test_the_models_dock_opens_as_from_the_menu(make_napari_viewer):
    viewer = make_napari_viewer()

    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, MODELS)

    assert isinstance(dock, Models)
    assert dock.table.item(0, 0).text() == "med_urwkv_t_nuclei"


@pytest.mark.gui
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_opens_as_from_the_menu_and_can_be_run(make_napari_viewer, sample):
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, SEGMENT)

    (layer,) = viewer.open_sample(PLUGIN, sample)

    assert layer.name == sample
    assert layer.data.dtype == np.uint8
    assert layer.rgb == (layer.data.ndim == 3)
    assert dock.image.image.currentText() == sample
    assert dock._link.choice.facts().problem == ""


@pytest.mark.gui
def test_opening_the_docks_imports_neither_torch_nor_scipy():
    result = subprocess.run(
        [sys.executable, "-c", OPEN_THE_DOCK], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr


@pytest.mark.gui
def test_the_installation_dock_shows_facts_and_copies_them(make_napari_viewer, qtbot):
    from qtpy.QtGui import QGuiApplication

    viewer = make_napari_viewer()
    dock = InstallationDock(lambda: [("Python", "3"), ("WKV", "cpu")])
    viewer.window.add_dock_widget(dock)
    qtbot.waitUntil(lambda: "WKV: cpu" in dock.text.toPlainText(), timeout=20_000)

    dock.copy.click()

    assert QGuiApplication.clipboard().text() == "Python: 3\nWKV: cpu"


@pytest.mark.gui
def test_closing_the_installation_dock_waits_for_its_report(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    dock = InstallationDock(lambda: [("Python", "3")])
    viewer.window.add_dock_widget(dock)
    gone = []
    dock.destroyed.connect(lambda: gone.append(True))

    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: bool(gone), timeout=20_000)

    assert not dock._runner.is_busy


@pytest.mark.gui
def test_the_installation_dock_survives_a_report_that_fails(make_napari_viewer, qtbot):
    def fail() -> list[tuple[str, str]]:
        raise SystemExit(1)

    viewer = make_napari_viewer()
    dock = InstallationDock(fail)
    viewer.window.add_dock_widget(dock)

    qtbot.waitUntil(dock.again.isEnabled, timeout=20_000)

    assert "SystemExit" in dock.text.toPlainText()


def test_a_dock_brings_no_other():
    done = subprocess.run([sys.executable, "-c", ONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_dock_that_there_is_not_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="Paint"):
        contributions.Paint  # noqa: B018 - asking is what is tested


@pytest.mark.gui
@pytest.mark.parametrize("title", [SEGMENT, FINETUNE, BATCH])
def test_a_dock_that_is_open_hears_that_models_came_or_went(make_napari_viewer, monkeypatch, title):
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, title)
    monkeypatch.setattr(dock, "_list_models", lambda: list_models()[:1])

    news_of(viewer).changed.emit()

    assert dock.model.combo.count() == 1
