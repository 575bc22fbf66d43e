"""What the tests of this folder share; it lets them import each other's helpers too."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from wkv_cases import instruction_sets

from napari_rwkv_seg.ops import _library


@pytest.fixture(params=instruction_sets())
def instruction_set(request):
    """Run with one instruction set's kernels, and put the best back afterwards."""
    before = _library.instruction_set()
    _library.use_instruction_set(request.param)
    yield request.param
    _library.use_instruction_set(before)
