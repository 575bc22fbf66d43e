"""Reading the fixtures: numbers that the authors' modules gave, and the weights that gave them."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

Numbers = dict[str, Tensor]


@pytest.fixture(scope="session")
def fixtures(shared: Path) -> Path:
    return shared / "fixtures"


@pytest.fixture(scope="session")
def numbers(fixtures: Path) -> Callable[[str], Numbers]:
    """Return a reader of one ``.npz`` file as tensors."""

    def read(name: str) -> Numbers:
        with np.load(fixtures / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    return read


@pytest.fixture(scope="session")
def key_shapes(fixtures: Path) -> Callable[[str], dict[str, list[int]]]:
    """Return a reader of the authors' state-dict keys and shapes."""
    return lambda name: json.loads((fixtures / f"{name}.keys.json").read_text())


@pytest.fixture(scope="session")
def seeded(fixtures: Path) -> Callable[[str], Numbers]:
    """Return a maker of the authors' state dict with reproducible values."""
    spec = importlib.util.spec_from_file_location("seeded", fixtures / "seeded_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda name: module.seeded_state_dict(fixtures / f"{name}.keys.json")


def relative_error(got: Tensor, want: Tensor) -> float:
    """Relative L2, the measure of the fixtures' README."""
    difference = (got.detach().double() - want.double()).norm()
    return float(difference / want.double().norm())


@pytest.fixture
def assert_close() -> Callable[[Tensor, Tensor, float, str], None]:
    def check(got: Tensor, want: Tensor, tolerance: float, what: str) -> None:
        assert got.shape == want.shape, what
        error = relative_error(got, want)
        assert error <= tolerance, f"{what}: relative error {error:.2g} > {tolerance:.2g}"

    return check


@pytest.fixture
def assert_part_agrees(
    numbers: Callable[[str], Numbers], assert_close: Callable[[Tensor, Tensor, float, str], None]
) -> Callable[..., None]:
    """Return a check of a part: outputs, input gradients and every parameter's gradient.

    `dead` names the beginnings of weights that the authors' part holds but never uses.
    """

    def check(
        name: str, part: nn.Module, grid: tuple[int, ...] = (), dead: tuple[str, ...] = ()
    ) -> None:
        known = numbers(f"mini/{name}")
        weights = {key[3:]: value for key, value in known.items() if key.startswith("w__")}
        used = {key: value for key, value in weights.items() if not key.startswith(dead)}
        part.load_state_dict(used, strict=True)
        inputs = [known[key].requires_grad_() for key in sorted(known) if key.startswith("x")]
        result = part(*inputs, *grid)
        outputs = result if isinstance(result, list) else [result]
        assert len(outputs) == sum(key.startswith("y") for key in known)
        loss = torch.zeros(())
        for index, y in enumerate(outputs):
            assert_close(y, known[f"y{index}"], 1e-5, f"{name} output {index}")
            loss = loss + (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum()
        loss.backward()
        for index, x in enumerate(inputs):
            assert x.grad is not None
            assert_close(x.grad, known[f"gx{index}"], 1e-4, f"{name} gradient of input {index}")
        for key, parameter in part.named_parameters():
            assert parameter.grad is not None, key
            assert_close(parameter.grad, known[f"grad__{key}"], 1e-4, f"{name} gradient of {key}")

    return check
