"""Models as bioimage.io packages: a zip file that bioimageio.core can test and run.

The package holds the weights as a PyTorch state dict and names this package's
`build_network` as what they go into; whoever runs it needs this package. What
the card says of normalisation and classes is described in bioimage.io's terms
(model description 0.5), and a test image with the probabilities that it gives
lies beside it. Written without bioimage.io's libraries, which the tests hold it to.
"""

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically

from .card import ModelCard, Normalization
from .folders import staging
from .store import ModelEntry, read_network

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from .card import ClassCard

TEST_SIZE = 128
_FORMAT = "0.5.12"
_STEP = 32  # pixels: sides grow by this, where the networks' coarsest tokens begin
_SMALLEST = 64
_FILE_LIMIT = 4_000_000_000  # bytes
_README_LIMIT = 1_000_000
_SEED = 42
_NO_RANGE = 1e-30  # added to ranges, so that flat planes become 0; bioimageio.core 0.11 adds 1e-6
_SPDX = re.compile(r"(Apache|BSD|MIT|CC|GPL|LGPL|AGPL|MPL)[A-Za-z0-9.+-]*")


def export_bioimage_io(
    entry: ModelEntry, target: str | Path, *, size: int = TEST_SIZE, author: str = ""
) -> Path:
    """Write a model as a bioimage.io package, and return its path.

    Parameters
    ----------
    entry : ModelEntry
        The model.
    target : str or Path
        The zip file to make; it may not be there.
    size : int
        Side of the test image in pixels, a multiple of 32, at least 64.
    author : str
        Who is named; "" takes what the card says of who trained it.

    Raises
    ------
    SettingsError
        If the size cannot be used.
    ModelError
        If the model cannot be used.
    OutputError
        If the file is there already or cannot be written.
    """
    target = Path(target)
    if size < _SMALLEST or size % _STEP:
        raise SettingsError(f"The test image's side is a multiple of {_STEP} from {_SMALLEST} on.")
    if target.exists():
        raise OutputError(f"{str(target)!r} exists already; choose another name.")
    if entry.card is None:
        raise ModelError(entry.problem)
    with staging(target.parent) as folder:
        parts = _tensors(read_network(entry), entry.card, size, folder)
    parts["documentation.md"] = _documentation(entry.folder, entry.card).encode()
    description = _description(entry.card, parts, author)
    # JSON is YAML too, and needs no library.
    parts["bioimageio.yaml"] = json.dumps(description, indent=2).encode()

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content)

    write_atomically(target, write)
    return target


def _tensors(network: "nn.Module", card: ModelCard, size: int, folder: Path) -> dict[str, bytes]:
    """Return the files with weights, a test image, and the probabilities that it gives.

    They are written into `folder` on the way.
    """
    import numpy as np
    import torch

    noise = np.random.default_rng(_SEED)
    image = (noise.random((1, card.input_channels, size, size), np.float32) * 255).round()
    image[..., size // 4 : size // 2, size // 3 : size // 2] += 255  # something to see
    with torch.inference_mode():
        logits = network(torch.from_numpy(normalized(image, card.normalization)))
    found = logits.softmax(1).numpy()
    state = dict(network.state_dict())
    write_atomically(folder / "weights.pt", lambda file: torch.save(state, file))
    write_atomically(
        folder / "test_input.npy", lambda file: np.save(file, image, allow_pickle=False)
    )
    write_atomically(
        folder / "test_output.npy", lambda file: np.save(file, found, allow_pickle=False)
    )
    names = ("weights.pt", "test_input.npy", "test_output.npy")
    return {name: read_bytes(folder / name, _FILE_LIMIT) for name in names}


def normalized(image: "NDArray[np.float32]", how: Normalization) -> "NDArray[np.float32]":
    """Return images (B, C, Y, X) normalised as the card says, in bioimage.io's steps."""
    import numpy as np

    if how.kind == "percentile":
        numbers = image.astype(np.float64)
        low, high = np.percentile(numbers, (how.low, how.high), axis=(2, 3), keepdims=True)
        unit = np.clip((numbers - low) / (high - low + _NO_RANGE), 0, 1)
    else:
        unit = image / how.scale
    mean, std = (np.array(x)[None, :, None, None] for x in (how.mean, how.std))
    result: NDArray[np.float32] = ((unit - mean) / std).astype(np.float32)
    return result


def _documentation(folder: Path, card: ModelCard) -> str:
    try:
        text = read_bytes(folder / "README.md", _README_LIMIT).decode("utf-8", "replace")
    except UnreadableFileError:
        text = f"# {card.title}\n"
    if not re.search("#.*[vV]alidation", text):  # bioimage.io asks for such a section
        text += f"\n## Validation\n\n{_scores(card)}\n"
    return text


def _description(card: ModelCard, parts: dict[str, bytes], author: str) -> dict[str, Any]:
    """Return the package's description, as bioimage.io's format 0.5 has it."""
    named = author or card.trained_by or "unknown"
    cite = card.citation or card.training_data
    described: dict[str, Any] = {
        "type": "model",
        "format_version": _FORMAT,
        "name": re.sub(r"[^A-Za-z0-9 _+()-]", " ", card.title).strip()[:128] or card.name,
        "description": card.purpose[:1024],
        "authors": [{"name": re.sub(r"[/\\]", " ", named)[:128]}],
        "cite": [{"text": cite, "url": _link_in(cite)}],
        "documentation": _file("documentation.md", parts),
        "tags": ["segmentation", "rwkv", "napari", card.architecture.replace("_", "-")],
        "inputs": [_input(card, parts)],
        "outputs": [_output(card.classes, parts)],
        "weights": {"pytorch_state_dict": _weights(card, parts)},
    }
    if _SPDX.fullmatch(card.license):
        described["license"] = card.license
    return described


def _file(name: str, parts: dict[str, bytes]) -> dict[str, str]:
    return {"source": name, "sha256": hashlib.sha256(parts[name]).hexdigest()}


def _weights(card: ModelCard, parts: dict[str, bytes]) -> dict[str, Any]:
    import torch

    arguments = {
        "architecture": card.architecture,
        "variant": card.variant,
        "in_channels": card.input_channels,
        "classes": len(card.classes),
        **card.config,
    }
    architecture = {
        "callable": "build_network",
        "import_from": "napari_rwkv_seg.networks",
        "kwargs": arguments,
    }
    version = torch.__version__.partition("+")[0]
    return {
        **_file("weights.pt", parts),
        "architecture": architecture,
        "pytorch_version": version,
    }


def _input(card: ModelCard, parts: dict[str, bytes]) -> dict[str, Any]:
    size = {"min": _SMALLEST, "step": _STEP}
    names = [f"channel{index}" for index in range(card.input_channels)]
    return {
        "id": "image",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": names},
            {"type": "space", "id": "y", "size": size},
            {"type": "space", "id": "x", "size": size},
        ],
        "test_tensor": _file("test_input.npy", parts),
        "data": {"type": "float32"},
        "preprocessing": _preprocessing(card),
    }


def _preprocessing(card: ModelCard) -> list[dict[str, Any]]:
    """Return the card's normalisation in bioimage.io's terms."""
    how = card.normalization
    steps: list[dict[str, Any]] = []
    if how.kind == "percentile":
        window = {"axes": ["y", "x"], "min_percentile": how.low, "max_percentile": how.high}
        steps.append({"id": "scale_range", "kwargs": {**window, "eps": _NO_RANGE}})
        steps.append({"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}})
    else:
        steps.append({"id": "scale_linear", "kwargs": {"gain": 1 / how.scale, "offset": 0.0}})
    mean, std = (x * card.input_channels if len(x) == 1 else x for x in (how.mean, how.std))
    fixed = {"mean": mean, "std": std, "axis": "channel"}
    return [*steps, {"id": "fixed_zero_mean_unit_variance", "kwargs": fixed}]


def _output(classes: "list[ClassCard]", parts: dict[str, bytes]) -> dict[str, Any]:
    names = [_identifier(each.name, index) for index, each in enumerate(classes)]
    sides = [
        {"type": "space", "id": axis, "size": {"tensor_id": "image", "axis_id": axis}}
        for axis in "yx"
    ]
    return {
        "id": "probabilities",
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *sides],
        "test_tensor": _file("test_output.npy", parts),
        "data": {"type": "float32"},
        "postprocessing": [{"id": "softmax", "kwargs": {"axis": "channel"}}],
    }


def _identifier(name: str, index: int) -> str:
    """Return a class's name as an identifier, different for each class."""
    return f"class{index}_{re.sub(r'[^A-Za-z0-9]+', '_', name)}".strip("_")


def _link_in(text: str) -> str:
    """Return where to read what is cited; the paper of Med-URWKV if no address is named."""
    arxiv = re.search(r"arXiv[: ]*(\d{4}\.\d{4,5})", text)
    return f"https://arxiv.org/abs/{arxiv[1] if arxiv else '2506.10858'}"


def _scores(card: ModelCard) -> str:
    scores = ", ".join(f"{name} {value:.4g}" for name, value in card.test_scores.items())
    return f"On images that training never saw: {scores}." if scores else "Not measured."
