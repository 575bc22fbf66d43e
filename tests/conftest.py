"""What all tests share: the folder of reference material, the device, the register of faults."""

import importlib.util
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _register() -> object:
    """Return tests/faults/register.py, which other modules here import by its name."""
    path = Path(__file__).parent / "faults" / "register.py"
    spec = importlib.util.spec_from_file_location("fault_register", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


REGISTER = _register()
FAULTS = REGISTER.rows_of_tests(REGISTER.read_rows())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Put the numbers of the faults that a test holds into its name, and mark it `fault`."""
    file = metafunc.definition.path.relative_to(Path(__file__).parent).as_posix()
    numbers = FAULTS.get(f"{file}::{metafunc.function.__name__}")
    if numbers:
        metafunc.fixturenames.append("faults_held")
        held = pytest.param(numbers, id="+".join(numbers), marks=pytest.mark.fault)
        metafunc.parametrize("faults_held", [held])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests for workers; let ``shared`` ones say that users lack what they need.

    One worker has all windows, since these share a screen, and has them first, since they take
    long; the others share the rest, file by file, for the sake of what a file sets up once.
    """
    if any(hasattr(item.config, "workerinput") for item in items[:1]):
        items.sort(key=lambda item: item.get_closest_marker("gui") is None)
        for item in items:
            name = "gui" if item.get_closest_marker("gui") else item.path.as_posix()
            item.add_marker(pytest.mark.xdist_group(name))
    if SHARED.is_dir():
        return
    reason = "needs ../shared (fixtures and data of the project's developers and CI)"
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make faults` ask for the results of all tests that hold a row."""
    parser.addoption("--fault-results", type=Path, help="JSON file for the results of row tests")


def pytest_configure(config: pytest.Config) -> None:
    """Gather those results if they are asked for."""
    if config.getoption("--fault-results") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(REGISTER.Gatherer(config.getoption("--fault-results")))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with fixtures and data beside the project."""
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Let no test reach another machine; servers on this one may be asked (S01, R13)."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def local_only(reach: Callable[..., object]) -> Callable[..., object]:
        def call(self: socket.socket, address: object) -> object:
            host = address[0] if isinstance(address, tuple) else "localhost"
            if host not in ("localhost", "127.0.0.1", "::1", socket.gethostname()):
                raise OSError(f"There is no network in tests: {host!r} was asked for.")
            return reach(self, address)

        return call

    socket.socket.connect, socket.socket.connect_ex = map(local_only, (connect, connect_ex))
    yield
    socket.socket.connect, socket.socket.connect_ex = connect, connect_ex


@pytest.fixture(params=["cpu"])
def device(request: pytest.FixtureRequest) -> str:
    """Return the device to test on."""
    return str(request.param)


@pytest.fixture(autouse=True)
def user_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests, and what they start, out of the user's data; return the folder in its place."""
    folder = tmp_path / "user data"
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    return folder / "napari-rwkv-seg"


@pytest.fixture
def children() -> Callable[[], list[psutil.Process]]:
    """Return what lists the descendants of this process that have come since the test began.

    Others may be there: Python's own tracker of shared resources, for one, is started by
    the first test that has a cluster and stays until the end.
    """
    before = set(psutil.Process().children(recursive=True))
    return lambda: [p for p in psutil.Process().children(recursive=True) if p not in before]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return tests/training/tiny.py: a network that the zoo builds from now on, and its runs."""
    path = Path(__file__).parent / "training" / "tiny.py"
    spec = importlib.util.spec_from_file_location("tiny_for_tests", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tiny_for_tests", module)
    spec.loader.exec_module(module)
    module.small_steps(monkeypatch.setattr)
    return module
