"""Where the fuzzers work: in memory if there is such a disk, as each example writes files."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


def load_targets() -> ModuleType:
    """Return targets.py, which is no package's."""
    path = Path(__file__).with_name("targets.py")
    spec = importlib.util.spec_from_file_location("fuzz_targets", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def targets() -> ModuleType:
    return load_targets()


@pytest.fixture
def workplace() -> Iterator[Path]:
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as made:
        yield Path(made)
