"""Models as folders: list them, find one, read its network, write a new one.

A model is a folder with `model.toml` (the card), `weights.safetensors` and a
`README.md` for people. Shipped models come with the package; the user's own lie
in the platform's data folder in the same form. torch is imported only to read
or write a network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rwkv_seg.errors import ModelError, RwkvSegError
from napari_rwkv_seg.files import write_atomically

from .building import build_checked, read_checked
from .card import CARD_FILE, ModelCard, checked_card, plain_text, read_card, write_card
from .folders import write_folder
from .weights import WEIGHTS_FILE, WEIGHTS_LIMIT, digest, load_weights, pack_weights

if TYPE_CHECKING:
    from torch import nn

DEFAULT_MODEL = "med_urwkv_t_nuclei"
PACKAGE = "napari-rwkv-seg"
UNTRAINED = "This model is untrained: fine-tune it before you use its labels."


@dataclass(frozen=True)
class ModelEntry:
    """A model folder as it was found.

    Parameters
    ----------
    folder : Path
        Where it lies.
    card : ModelCard or None
        What it says of itself; None if it cannot be used.
    problem : str
        Why it cannot be used, in a sentence; "" if it can.
    """

    folder: Path
    card: ModelCard | None
    problem: str = ""

    @property
    def name(self) -> str:
        """The folder's name, by which the model is chosen."""
        return self.folder.name


def shipped_folder() -> Path | None:
    """Return the folder of the models that came with the package, or None if there is none."""
    # A file is asked for: in an editable install a folder may be several at once.
    guide = Path(str(resources.files("napari_rwkv_seg") / "models" / "README.md"))
    return guide.parent if guide.is_file() else None


def user_folder() -> Path:
    """Return the folder of the user's own models; it need not exist."""
    import platformdirs

    return platformdirs.user_data_path(PACKAGE, appauthor=False) / "models"


def list_models() -> list[ModelEntry]:
    """Return the shipped models, then the user's, each sorted by name; never raises.

    A folder that cannot be used is listed with its problem.
    """
    homes = [home for home in (shipped_folder(), user_folder()) if home is not None]
    return [read_entry(folder) for home in homes for folder in model_folders(home)]


def model_folders(home: Path) -> Iterator[Path]:
    """Yield the folders in `home` that are meant to be models."""
    try:
        folders = sorted(item for item in home.iterdir() if item.is_dir())
    except OSError:
        return  # no such folder, or not ours to read: no models there
    yield from (folder for folder in folders if not folder.name.startswith((".", "_")))


def read_entry(folder: Path) -> ModelEntry:
    """Return what is in `folder`; a fault becomes the entry's problem, weights are not read."""
    try:
        card = read_card(folder)
        if not (folder / WEIGHTS_FILE).is_file():
            raise ModelError(f"{str(folder)!r} holds no {WEIGHTS_FILE}; get the model again.")
        if not card.weights_sha256:
            raise ModelError(f"{str(folder / CARD_FILE)!r} does not state weights_sha256.")
    except (RwkvSegError, OSError) as error:
        return ModelEntry(folder, None, str(error))
    return ModelEntry(folder, card)


def find_model(name_or_folder: str | Path) -> ModelEntry:
    """Return the usable model of that name, or in that folder.

    Raises
    ------
    ModelError
        If there is none (the text lists the models that there are), or it cannot be used.
    """
    entries = list_models()
    named = [entry for entry in entries if entry.name == str(name_or_folder)]
    folder = Path(name_or_folder)
    if named:
        entry = named[0]
    elif folder.is_dir():
        entry = read_entry(folder.resolve())
    else:
        names = [entry.name for entry in entries if not entry.problem]
        choice = f"Choose one of: {', '.join(names)}" if names else "No model is installed here"
        raise ModelError(
            f"There is no model {str(name_or_folder)!r}. {choice}; or give the path of a model "
            f"folder. Your own models belong in {str(user_folder())!r}."
        )
    if entry.problem:
        raise ModelError(entry.problem)
    return entry


def read_network(entry: ModelEntry) -> "nn.Module":
    """Return the network of a model in float32 and eval mode; see `read_network_with_notes`."""
    return read_network_with_notes(entry)[0]


def read_network_with_notes(entry: ModelEntry) -> tuple["nn.Module", tuple[str, ...]]:
    """Return the network of a model in float32 and eval mode, and what is unusual about it.

    Raises
    ------
    ModelError
        If the weights cannot be used; see `building.read_checked`.
    """
    card = entry.card
    if card is None:
        raise ModelError(entry.problem)
    network, notes = read_checked(
        entry.folder, lambda: _build(card), card.weights_sha256, WEIGHTS_LIMIT, "model"
    )
    return network, (UNTRAINED, *notes) if card.untrained else notes


def _build(card: ModelCard) -> "nn.Module":
    return build_checked(
        card.architecture,
        card.variant,
        in_channels=card.input_channels,
        classes=len(card.classes),
        **card.config,
    )


def write_model(
    folder: Path,
    network: "nn.Module",
    card: ModelCard,
    description: str,
    *,
    overwrite: bool = False,
    half: bool = True,
) -> ModelCard:
    """Write a model folder; it appears complete or not at all.

    Parameters
    ----------
    folder : Path
        The folder to make; the folder above it must exist.
    network : nn.Module
        The network that `card` describes.
    card : ModelCard
        Its `weights_sha256` and `library_version` are filled in here.
    description : str
        Markdown for people: what the model is for, how it was made, its limits.
    overwrite : bool
        Replace a folder that is there.
    half : bool
        Store floats in half precision where they fit; else as they are.

    Returns
    -------
    ModelCard
        The card as written.

    Raises
    ------
    OutputError
        If the folder is there already, or cannot be written.
    ModelError
        If a weight is NaN or infinite, the card describes another network, or says
        something that is not allowed.
    """
    from napari_rwkv_seg import __version__

    folder = Path(folder)
    card = checked_card(card)
    content = pack_weights(network, half=half)
    load_weights(_build(card), content)  # what cannot be read back is not written
    card = card.model_copy(
        update={"weights_sha256": digest(content), "library_version": __version__}
    )
    write_folder(
        folder,
        lambda made: _fill(made, content, card, description),
        what="model",
        overwrite=overwrite,
    )
    return card


def _fill(folder: Path, content: bytes, card: ModelCard, description: str) -> None:
    """Write the three files of a model into `folder`."""
    write_atomically(folder / WEIGHTS_FILE, lambda file: file.write(content))
    write_card(folder, card)
    readme = f"# {plain_text(card.title, 80)}\n\n{description.strip()}\n"
    write_atomically(folder / "README.md", lambda file: file.write(readme.encode("utf-8")))
