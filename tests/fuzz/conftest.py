"""Where the fuzzers work: in memory if there is such a disk, as each example writes files."""

import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def targets() -> Iterator[ModuleType]:
    """Return targets.py, which finds its neighbours by their names alone, as fuzz.py lets it."""
    places = [str(HERE), str(HERE.parent / "images")]
    sys.path[:0] = places
    yield importlib.import_module("targets")
    for place in places:
        sys.path.remove(place)


@pytest.fixture
def workplace() -> Iterator[Path]:
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as made:
        yield Path(made)
