"""Model and encoder folders for tests, written without torch: good, broken, hostile."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from napari_rwkv_seg.zoo.card import ModelCard, class_cards, write_card
from napari_rwkv_seg.zoo.encoders import EncoderCard, write_encoder_card

SHIPPED = sorted(
    card.parent.name for card in (Path(__file__).parents[2] / "models").glob("*/model.toml")
)
"""Names of the models that come with the package, as its sources have them."""


def weights() -> bytes:
    """Return a file of safetensors with one number in it."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def put_model(home: Path, name: str, page: str = "For tests.", **changes: Any) -> Path:
    """Write a model folder that can be listed, and return it."""
    facts: dict[str, Any] = {
        "name": name,
        "title": name.capitalize(),
        "purpose": "Tests",
        "architecture": "med_urwkv",
        "variant": "T",
        "classes": class_cards(["cell"]),
        "license": "CC0-1.0",
        "training_data": "none",
        "weights_sha256": hashlib.sha256(weights()).hexdigest(),
    }
    folder = home / "models" / name
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(weights())
    (folder / "README.md").write_text(page, encoding="utf-8")
    write_card(folder, ModelCard(**(facts | changes)))
    return folder


def put_encoder(home: Path, name: str, architecture: str = "vrwkv") -> Path:
    """Write an encoder folder that can be listed, and return it."""
    card = EncoderCard(
        name=name,
        title="VRWKV S",
        architecture=architecture,  # type: ignore[arg-type]
        variant="S",
        license="Apache-2.0",
        source="somewhere",
        source_sha256="ab" * 32,
        weights_sha256=hashlib.sha256(weights()).hexdigest(),
    )
    folder = home / "encoders" / name
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(weights())
    write_encoder_card(folder, card)
    return folder


def put_broken(home: Path, name: str) -> Path:
    """Write a folder that cannot be used as a model, and return it."""
    folder = home / "models" / name
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text("<b>torn", encoding="utf-8")
    return folder


def hostile_zip(path: Path) -> Path:
    """Write a model's zip file with an entry that would leave the folder, and return it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/model.toml", "x")
        archive.writestr("../../escaped.txt", "x")
    return path
