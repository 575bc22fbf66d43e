"""Pretrained encoders as folders: what new models start from.

An encoder is a folder with `encoder.toml` (its card) and `weights.safetensors`,
in full precision, in the folder `encoders` beside the user's models. It segments
nothing by itself. torch is imported only to read or write one.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_rwkv_seg.errors import ModelError, RwkvSegError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically

from .building import build_checked, read_checked
from .card import CARD_LIMIT, Digest, Line, Text, check_format, plain_text
from .folders import check_name, make_home, write_folder
from .store import model_folders, user_folder
from .weights import ENCODER_LIMIT, WEIGHTS_FILE, digest, load_weights, pack_weights

if TYPE_CHECKING:
    from torch import nn

ENCODER_FILE = "encoder.toml"


class EncoderCard(BaseModel):
    """All that is known of a pretrained encoder but its weights.

    `source` is where the checkpoint came from and `source_sha256` what it was;
    `weights_sha256` and `library_version` are filled in by `write_encoder`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    title: Line
    architecture: Literal["vrwkv", "vrwkv_adapter", "rwkv_unet_encoder"]
    variant: Line
    config: dict[str, str | int | float | bool] = Field(default={}, max_length=32)
    input_channels: int = Field(default=3, ge=1, le=64)
    license: Line
    citation: Text = ""
    source: Text
    source_sha256: Digest = ""
    notes: list[Text] = Field(default=[], max_length=32)
    weights_sha256: Digest = ""
    library_version: Line = ""


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder folder as it was found; `card` is None where `problem` says why not."""

    folder: Path
    card: EncoderCard | None
    problem: str = ""

    @property
    def name(self) -> str:
        """The folder's name, by which the encoder is chosen."""
        return self.folder.name


def encoders_folder() -> Path:
    """Return the folder of the pretrained encoders; it need not exist."""
    return user_folder().parent / "encoders"


def list_encoders() -> list[EncoderEntry]:
    """Return the encoders that are here, sorted by name; never raises."""
    return [_read_entry(folder) for folder in model_folders(encoders_folder())]


def find_encoder(name_or_folder: str | Path) -> EncoderEntry:
    """Return the usable encoder of that name, or in that folder.

    Raises
    ------
    ModelError
        If there is none (the text lists those that there are), or it cannot be used.
    """
    entries = list_encoders()
    entry = next((each for each in entries if each.name == str(name_or_folder)), None)
    if entry is None and Path(name_or_folder).is_dir():
        entry = _read_entry(Path(name_or_folder).resolve())
    if entry is None:
        names = ", ".join(each.name for each in entries if not each.problem)
        here = f"Here are: {names}" if names else "None is here yet"
        raise ModelError(
            f"There is no pretrained encoder {str(name_or_folder)!r}. {here}; "
            "import a checkpoint, or download one (`napari-rwkv-seg models get`)."
        )
    if entry.problem:
        raise ModelError(entry.problem)
    return entry


def _read_entry(folder: Path) -> EncoderEntry:
    try:
        card = read_encoder_card(folder)
        if not (folder / WEIGHTS_FILE).is_file():
            raise ModelError(f"{str(folder)!r} holds no {WEIGHTS_FILE}; get the encoder again.")
        if not card.weights_sha256:
            raise ModelError(f"{str(folder / ENCODER_FILE)!r} does not state weights_sha256.")
    except (RwkvSegError, OSError) as error:
        return EncoderEntry(folder, None, str(error))
    return EncoderEntry(folder, card)


def read_encoder_card(folder: Path) -> EncoderCard:
    """Return the card in `folder`; ModelError if it is missing or says what is not allowed."""
    path = folder / ENCODER_FILE
    try:
        told = tomllib.loads(read_bytes(path, CARD_LIMIT).decode())
        check_format(path, told)
        return EncoderCard.model_validate(told)
    except UnreadableFileError as error:
        raise ModelError(f"{str(folder)!r} is not a usable encoder: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or nested without end
        reason = str(error)
    raise ModelError(
        f"The card {str(path)!r} cannot be used: {plain_text(reason, 300)}. "
        "Correct it, or get the encoder again from where it came."
    )


def read_encoder(entry: EncoderEntry) -> "nn.Module":
    """Return the network of an encoder in float32 and eval mode.

    Raises
    ------
    ModelError
        If the weights cannot be used; see `building.read_checked`.
    """
    card = entry.card
    if card is None:
        raise ModelError(entry.problem)
    network, _ = read_checked(
        entry.folder, lambda: _build(card), card.weights_sha256, ENCODER_LIMIT, "encoder"
    )
    return network


def write_encoder(
    network: "nn.Module", card: EncoderCard, *, overwrite: bool = False
) -> EncoderEntry:
    """Write an encoder folder among the user's; it appears complete or not at all.

    Parameters
    ----------
    network : nn.Module
        The encoder that `card` describes.
    card : EncoderCard
        Its name is the folder's.
    overwrite : bool
        Replace an encoder of that name.

    Raises
    ------
    OutputError
        If there is such an encoder already, or it cannot be written.
    ModelError
        If a weight is NaN or infinite, or the card describes another network.
    """
    from napari_rwkv_seg import __version__

    content = pack_weights(network, half=False)
    load_weights(_build(card), content)  # what cannot be read back is not written
    card = card.model_copy(
        update={"weights_sha256": digest(content), "library_version": __version__}
    )
    folder = make_home(encoders_folder()) / check_name(card.name)

    def fill(made: Path) -> None:
        write_atomically(made / WEIGHTS_FILE, lambda file: file.write(content))
        write_encoder_card(made, card)

    write_folder(folder, fill, what="encoder", overwrite=overwrite)
    return EncoderEntry(folder, card)


def write_encoder_card(folder: Path, card: EncoderCard) -> None:
    """Write `card` as `encoder.toml` into `folder`; OutputError if that cannot be done."""
    import tomli_w

    text = tomli_w.dumps(card.model_dump(mode="json", exclude_none=True))
    write_atomically(folder / ENCODER_FILE, lambda file: file.write(text.encode("utf-8")))


def _build(card: EncoderCard) -> "nn.Module":
    return build_checked(
        card.architecture, card.variant, in_channels=card.input_channels, **card.config
    )
