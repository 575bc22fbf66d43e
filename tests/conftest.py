"""What all tests share: the folder of reference material and the device."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests marked ``shared`` say that users do not have the material that they need."""
    if SHARED.is_dir():
        return
    reason = "needs ../shared (fixtures and data of the project's developers and CI)"
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with fixtures and data beside the project."""
    return SHARED


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
