"""The real engine keeps the model loaded last, and loads anew when its folder has changed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_rwkv_seg.controllers import engine as engine_module
from napari_rwkv_seg.controllers.engine import InferenceEngine
from napari_rwkv_seg.inference import loading
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.zoo.store import ModelEntry

from .conftest import make_card


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the weights' digests in the order in which they are loaded."""
    digests: list[str] = []

    def load_model(folder: Path, device: str) -> Model:
        card = engine_module.find_model(folder.name).card
        digests.append(card.weights_sha256)
        return Model(card, network=object(), device=device, folder=folder)

    monkeypatch.setattr(loading, "load_model", load_model)
    return digests


def listed(monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    """Make every name a model whose weights have `digest`."""
    card = make_card(weights_sha256=digest * 64)
    monkeypatch.setattr(engine_module, "find_model", lambda name: ModelEntry(Path(str(name)), card))


def test_a_model_is_loaded_once(monkeypatch, loads) -> None:
    listed(monkeypatch, "a")
    engine = InferenceEngine()

    assert engine.load("one", "cpu").network is engine.load("one", "cpu").network
    assert len(loads) == 1


def test_a_model_looks_as_often_as_is_wished_without_being_loaded_again(monkeypatch, loads):
    listed(monkeypatch, "a")
    engine = InferenceEngine()

    assert [engine.load("one", "cpu", views).views for views in (1, 8, 4)] == [1, 8, 4]
    assert len(loads) == 1


@pytest.mark.parametrize("other", [("two", "cpu"), ("one", "cuda")])
def test_another_model_or_device_is_loaded_anew(monkeypatch, loads, other) -> None:
    listed(monkeypatch, "a")
    engine = InferenceEngine()
    engine.load("one", "cpu")

    engine.load(*other)

    assert len(loads) == 2


def test_a_model_whose_card_was_changed_is_loaded_anew(monkeypatch, loads) -> None:
    listed(monkeypatch, "a")
    engine = InferenceEngine()
    assert engine.load("one", "cpu", 8).views == 8
    card = make_card(weights_sha256="a" * 64, orientation="fixed")
    monkeypatch.setattr(engine_module, "find_model", lambda name: ModelEntry(Path(str(name)), card))

    assert engine.load("one", "cpu", 8).views == 1


def test_a_model_whose_weights_were_replaced_is_loaded_anew(monkeypatch, loads) -> None:
    engine = InferenceEngine()
    listed(monkeypatch, "a")
    engine.load("one", "cpu")
    listed(monkeypatch, "b")

    engine.load("one", "cpu")

    assert loads == ["a" * 64, "b" * 64]


def test_the_line_about_the_device_names_threads_and_kernels() -> None:
    where, reason = InferenceEngine().running_on(
        SimpleNamespace(device="cpu", backend="cpu", backend_reason="")
    )

    assert where.startswith("CPU, ")
    assert where.endswith("compiled kernels")
    assert reason == ""


def test_the_line_about_a_fallback_comes_with_its_reason() -> None:
    where, reason = InferenceEngine().running_on(
        SimpleNamespace(device="cpu", backend="reference", backend_reason="No compiled kernels.")
    )

    assert where.endswith("plain PyTorch")
    assert reason == "No compiled kernels."
