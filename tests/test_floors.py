"""Who may import whom, and what may not be loaded before it is needed."""

import os
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]

LIGHT = [
    "napari_rwkv_seg",
    "napari_rwkv_seg.cli",
    "napari_rwkv_seg.controllers.batch",
    "napari_rwkv_seg.controllers.batch_cluster",
    "napari_rwkv_seg.controllers.batch_control",
    "napari_rwkv_seg.controllers.doctor",
    "napari_rwkv_seg.controllers.finetune",
    "napari_rwkv_seg.controllers.journal",
    "napari_rwkv_seg.controllers.models",
    "napari_rwkv_seg.controllers.models_choices",
    "napari_rwkv_seg.controllers.segment",
    "napari_rwkv_seg.evaluation",
    "napari_rwkv_seg.images.samples",
    "napari_rwkv_seg.inference",
    "napari_rwkv_seg.inference.labels",
    "napari_rwkv_seg.inference.settings",
    "napari_rwkv_seg.training.api",
    "napari_rwkv_seg.training.events",
    "napari_rwkv_seg.training.process",
    "napari_rwkv_seg.training.run_folder",
    "napari_rwkv_seg.training.run_settings",
    "napari_rwkv_seg.widgets",
    "napari_rwkv_seg.zoo.card",
    "napari_rwkv_seg.zoo.exchange",
    "napari_rwkv_seg.zoo.store",
]
HEAVY = {"torch", "monai", "torchvision"}
WINDOWS = {"napari", "qtpy", "PyQt6", "PySide6", "magicgui", "superqt", "vispy"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # PYTHONSAFEPATH: the installed package is looked at, not the folder that tests start in.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120, check=False,
    )  # fmt: skip


def loaded_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh Python holds after running `code`."""
    done = run("-c", f"{code}\nimport sys\nsys.stdout.write(' '.join(sys.modules))")
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Return who imports whom in the sources; the editable install shows them twice."""
    with pytest.MonkeyPatch.context() as patch:
        finders = [each for each in sys.meta_path if "ScikitBuild" not in type(each).__name__]
        patch.setattr(sys, "meta_path", finders)
        patch.syspath_prepend(str(ROOT))
        patch.delitem(sys.modules, "napari_rwkv_seg", raising=False)
        found = grimp.build_graph("napari_rwkv_seg", cache_dir=None)
    return found


def test_imports_lead_down_as_the_contracts_in_pyproject_say() -> None:
    done = run("scripts/check_floors.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_import_graph_holds_every_file_of_the_package(graph: grimp.ImportGraph) -> None:
    files = (ROOT / "napari_rwkv_seg").rglob("*.py")
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    expected = {name.removesuffix(".__init__") for name in names}
    assert graph.modules == expected


def test_imports_between_floors_are_absolute_and_within_a_folder_relative(
    graph: grimp.ImportGraph,
) -> None:
    wrong = []
    for importer in graph.modules - {"napari_rwkv_seg"}:
        for imported in graph.find_modules_directly_imported_by(importer):
            same_folder = importer.split(".")[:2] == imported.split(".")[:2]
            for detail in graph.get_import_details(importer=importer, imported=imported):
                relative = detail["line_contents"].startswith("from .")
                if relative != same_folder and "." in imported:
                    wrong.append(f"{importer}:{detail['line_number']}: {detail['line_contents']}")
    assert wrong == []


def test_floors_take_nothing_but_the_version_from_the_face(graph: grimp.ImportGraph) -> None:
    """The contracts do not follow the face, which re-exports functions of upper floors."""
    taken = {
        detail["line_contents"].partition("#")[0].strip()
        for importer in graph.find_modules_that_directly_import("napari_rwkv_seg")
        for detail in graph.get_import_details(importer=importer, imported="napari_rwkv_seg")
    }
    assert taken - {"from napari_rwkv_seg import __version__"} == set()


@pytest.mark.parametrize("module", LIGHT)
def test_a_module_that_the_window_needs_is_imported_without_torch(module: str) -> None:
    assert loaded_after(f"import {module}") & HEAVY == set()


@pytest.mark.parametrize(
    "command", ["--help", "segment --help", "evaluate --help", "finetune --help", "models"]
)
def test_a_command_that_runs_no_network_loads_neither_torch_nor_a_window(command: str) -> None:
    code = f"""
import sys
from napari_rwkv_seg.cli import main
sys.argv = ['napari-rwkv-seg', *{command.split()!r}]
stdout, sys.stdout = sys.stdout, sys.stderr
try:
    main()
except SystemExit:
    pass
sys.stdout = stdout
"""
    assert loaded_after(code) & (HEAVY | WINDOWS) == set()


def test_segmenting_loads_no_window() -> None:
    code = "import napari_rwkv_seg\nnapari_rwkv_seg.segment\nnapari_rwkv_seg.load_model"
    assert loaded_after(code) & WINDOWS == set()
