"""What the tests of faults share."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def make_cells():
    """Return what draws cells, as in the tests of training."""
    path = Path(__file__).parents[1] / "training" / "conftest.py"
    spec = importlib.util.spec_from_file_location("cells_for_faults", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cells
