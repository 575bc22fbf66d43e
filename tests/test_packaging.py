"""What is in a wheel and in a source distribution, and what napari finds once it is installed."""

import inspect
import os
import subprocess
import sys
import tarfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import entry_points, version
from pathlib import Path
from pkgutil import resolve_name
from zipfile import ZipFile

import pytest
from napari._app_model.constants import MenuId
from npe2 import PluginManifest
from qtpy.QtWidgets import QWidget

from napari_rwkv_seg.ops._cuda_plan import HEADERS, SOURCE

ROOT = Path(__file__).resolve().parents[1]
MODELS = sorted(path.parent for path in (ROOT / "models").glob("*/model.toml"))
LIBRARIES = {"librwkv_kernels.so", "librwkv_kernels.dylib", "rwkv_kernels.dll"}
WHEEL_LIMIT = 100_000_000  # bytes; the Python Package Index takes no larger file by default
WEIGHTS_LIMIT = 20_000_000


def run(*arguments: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, timeout=280, check=False,
        env={**os.environ, "PYTHONSAFEPATH": "1", "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel as an installer would, in folders of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-build-isolation", "--no-deps", "--quiet", "--no-cache-dir"]
    settings = ["--config-settings", f"build-dir={folder / 'build'}"]
    run("-m", "pip", "wheel", *options, *settings, "--wheel-dir", folder, ROOT)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an empty folder."""
    target = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel)
    return target


def run_installed(installed: Path, code: str) -> str:
    """Run code with the package from the wheel, not with the sources of an editable install."""
    only_wheel = (
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'ScikitBuild' not in type(f).__name__]\n"
        f"sys.path.insert(0, {str(installed)!r})\n"
    )
    return run("-c", only_wheel + code, cwd=installed).strip()


def test_one_wheel_serves_every_python_of_a_platform(wheel: Path) -> None:
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl"), "the kernels were not compiled"


def test_the_wheel_holds_the_compiled_kernels(names: set[str]) -> None:
    assert len(names & {f"napari_rwkv_seg/ops/{library}" for library in LIBRARIES}) == 1


def test_the_wheel_holds_every_file_of_the_package(names: set[str]) -> None:
    package = ROOT / "napari_rwkv_seg"
    kept = {".py", ".png", ".md", ".typed"}
    files = {p.relative_to(ROOT).as_posix() for p in package.rglob("*") if p.suffix in kept}
    files.add("napari_rwkv_seg/py.typed")
    assert files - names == set()


def test_the_wheel_holds_the_manifest(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        assert archive.read("napari_rwkv_seg/napari.yaml") == (ROOT / "napari.yaml").read_bytes()


def test_the_wheel_holds_nothing_but_the_package(names: set[str]) -> None:
    top = {name.partition("/")[0] for name in names}
    assert top == {"napari_rwkv_seg", f"napari_rwkv_seg-{version('napari-rwkv-seg')}.dist-info"}
    assert {name for name in names if "/tests/" in name} == set()


def test_the_wheel_holds_the_sources_of_the_cuda_kernels_and_no_others(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if "/csrc/" in name}
        assert inside == {f"napari_rwkv_seg/csrc/{name}" for name in (SOURCE, *HEADERS)}
        for name in inside:
            assert archive.read(name) == (ROOT / name.removeprefix("napari_rwkv_seg/")).read_bytes()


def test_there_is_a_model_to_ship() -> None:
    assert "med_urwkv_t_nuclei" in {folder.name for folder in MODELS}


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_the_wheel_holds_a_model_whole(wheel: Path, folder: Path) -> None:
    with ZipFile(wheel) as archive:
        for name in ("model.toml", "README.md", "weights.safetensors"):
            inside = archive.read(f"napari_rwkv_seg/models/{folder.name}/{name}")
            assert inside == (folder / name).read_bytes()


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_the_weights_of_a_model_are_weights_and_no_pointer_to_them(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    with weights.open("rb") as file:
        assert not file.read(64).startswith(b"version https://git-lfs")
    assert 1_000_000 < weights.stat().st_size < WEIGHTS_LIMIT


def test_the_wheel_is_small_enough_to_be_published(wheel: Path) -> None:
    assert wheel.stat().st_size < WHEEL_LIMIT


def test_the_wheel_is_found_by_napari_and_its_hub(metadata: Message) -> None:
    assert "Framework :: napari" in metadata.get_all("Classifier", [])
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_a_wheel_installed_elsewhere_runs_its_own_kernels(installed: Path) -> None:
    code = "from napari_rwkv_seg.ops import backend_status as s; sys.stdout.write(str(s().library))"
    library = Path(run_installed(installed, code))
    assert library.name in LIBRARIES
    assert library.resolve().is_relative_to(installed.resolve())


def test_a_wheel_installed_elsewhere_finds_its_cuda_sources(installed: Path) -> None:
    code = (
        "from napari_rwkv_seg.ops import _cuda\n"
        "source, headers = _cuda.sources()\n"
        "sys.stdout.write(f'{len(source)} {len(headers)}')"
    )
    length = len((ROOT / "csrc" / SOURCE).read_text(encoding="utf-8"))
    assert run_installed(installed, code) == f"{length} {len(HEADERS)}"


def test_a_wheel_installed_elsewhere_lists_its_models_without_a_problem(installed: Path) -> None:
    code = (
        "from napari_rwkv_seg.zoo.store import list_models, shipped_folder\n"
        "shipped = [e for e in list_models() if e.folder.parent == shipped_folder()]\n"
        "sys.stdout.write(' '.join(f'{e.name}:{e.problem}' for e in shipped))"
    )
    found = run_installed(installed, code).split()
    assert found == [f"{folder.name}:" for folder in MODELS]


def test_the_source_distribution_holds_all_that_a_build_needs(tmp_path: Path) -> None:
    code = "import sys; from scikit_build_core.build import build_sdist as b; b(sys.argv[1])"
    run("-c", code, tmp_path)
    [path] = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob("*") if p.is_file()}
    weights = {f"models/{folder.name}/weights.safetensors" for folder in MODELS}
    needed = {
        "pyproject.toml",
        "napari.yaml",
        "README.md",
        "LICENSE",
        "napari_rwkv_seg/__init__.py",
    }
    assert (needed | sources | weights) - names == set()
    assert {name for name in names if name.startswith((".venv", "build/", ".git/"))} == set()


def test_the_installed_package_declares_its_manifest_and_its_command() -> None:
    [manifest] = entry_points(group="napari.manifest", name="napari-rwkv-seg")
    [command] = entry_points(group="console_scripts", name="napari-rwkv-seg")
    assert manifest.value == "napari_rwkv_seg:napari.yaml"
    assert callable(command.load())


def test_npe2_finds_no_fault_in_the_installed_manifest() -> None:
    run("-c", "from npe2.cli import main; main()", "validate", "napari-rwkv-seg", "--imports")


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-rwkv-seg")


def test_the_manifest_has_the_name_of_the_distribution(manifest: PluginManifest) -> None:
    assert manifest.name == "napari-rwkv-seg"


def test_everything_in_the_manifest_names_a_command_that_is_there(
    manifest: PluginManifest,
) -> None:
    contributed = manifest.contributions
    there = {command.id for command in contributed.commands or []}
    named = {each.command for each in [*(contributed.widgets or []), *(contributed.readers or [])]}
    named |= {each.command for each in contributed.writers or []}
    named |= {sample.command for sample in contributed.sample_data or []}
    named |= {item.command for items in (contributed.menus or {}).values() for item in items}
    assert named - there == set()
    assert there - named == set(), "a command that nothing offers"


def test_every_menu_in_the_manifest_is_one_that_napari_lets_plugins_fill(
    manifest: PluginManifest,
) -> None:
    open_to_plugins = {menu.value for menu in MenuId.contributables()}
    assert set(manifest.contributions.menus or {}) - open_to_plugins == set()


def test_a_dock_takes_the_viewer_by_the_name_that_napari_fills_in(
    manifest: PluginManifest,
) -> None:
    """Napari hands the viewer to a QWidget subclass whose parameter is called napari_viewer."""
    docks = {each.command for each in manifest.contributions.widgets or []}
    commands = [each for each in manifest.contributions.commands or [] if each.id in docks]
    assert len(commands) == len(docks)
    for command in commands:
        dock = resolve_name(str(command.python_name))
        parameters = inspect.signature(dock).parameters.values()
        needed = {each.name for each in parameters if each.default is inspect.Parameter.empty}
        assert issubclass(dock, QWidget)
        assert needed <= {"napari_viewer"}, command.id
