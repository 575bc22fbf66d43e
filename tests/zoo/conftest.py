"""A model small enough for tests, with floats, an integer buffer and a head."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from napari_rwkv_seg import networks
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard, read_card, write_card
from napari_rwkv_seg.zoo.store import read_entry, read_network, write_model
from napari_rwkv_seg.zoo.weights import WEIGHTS_FILE


class TinyNetwork(nn.Module):
    """Stem, norm and head, 5 channels wide."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.stem(images)))


def build_tiny(architecture: str, variant: str, *, encoder: str = "", **_: object) -> TinyNetwork:
    """Stand in for `networks.build_network`."""
    if architecture != "med_urwkv":
        raise ValueError(f"There is no architecture {architecture!r}; known: 'med_urwkv'.")
    return TinyNetwork()


@pytest.fixture
def tiny_network() -> type[TinyNetwork]:
    """Return the class of the tiny network."""
    return TinyNetwork


@pytest.fixture
def real_card() -> ModelCard:
    """Return a card, with the real architectures behind it."""
    return ModelCard(
        name="tiny",
        title="Tiny",
        purpose="Tests",
        architecture="med_urwkv",
        variant="T",
        classes=[ClassCard(name=name, color="#000000") for name in ("background", "cell")],
        license="CC0-1.0",
        training_data="none",
    )


@pytest.fixture
def card(real_card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    """Return a card; whatever it names, the tiny network is built."""
    monkeypatch.setattr(networks, "build_network", build_tiny)
    return real_card


@pytest.fixture
def model(tmp_path: Path, card: ModelCard) -> Path:
    """Return the folder of a good model."""
    write_model(tmp_path / "tiny", TinyNetwork(), card, "For tests.")
    return tmp_path / "tiny"


@pytest.fixture
def put_weights() -> Callable[[Path, bytes], None]:
    """Return what gives a model other weights, with a card that vouches for them."""

    def put(folder: Path, content: bytes) -> None:
        (folder / WEIGHTS_FILE).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        write_card(folder, read_card(folder).model_copy(update={"weights_sha256": digest}))

    return put


@pytest.fixture
def state_of() -> Callable[[Path], dict[str, Tensor]]:
    """Return what reads the tensors of a model folder."""
    return lambda folder: read_network(read_entry(folder)).state_dict()


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes something as a checkpoint of PyTorch and gives its path."""

    def write(content: object, name: str = "net.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def stand_ins(architecture: str, variant: str, **settings: object) -> dict[str, Tensor]:
    """Return the right names and shapes, but of one number each, so that files are small."""
    with torch.device("meta"):
        expected = build_network(architecture, variant, **settings).state_dict()
    return {
        key: torch.full((), 0.5 if value.is_floating_point() else 0, dtype=value.dtype).expand(
            value.shape
        )
        for key, value in expected.items()
    }


@pytest.fixture(name="stand_ins")
def give_stand_ins() -> Callable[..., dict[str, Tensor]]:
    """Return the maker of states without weight."""
    return stand_ins


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's data folder, for this test alone; it is not there yet."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "data")
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: tmp_path / "config")
    return tmp_path / "data"
