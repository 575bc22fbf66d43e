"""What a model says about itself: the content of `model.toml`, checked.

A card is data, never code: unknown keys, numbers out of range and texts that
could disturb a terminal or a window are refused or cleaned when it is read.
Knows no torch and no weights; pixel sizes are in micrometres, lengths in pixels.
"""

import math
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_rwkv_seg.errors import ModelError, SettingsError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically

CARD_FILE = "model.toml"
FORMAT = 1  # of the cards that are written; a later one is read by a later version only
CARD_LIMIT = 1_000_000  # bytes; a card is a page of text

_BACKGROUND = "#000000"
_COLORS = (  # Okabe and Ito's
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
_COLOR = re.compile("#[0-9a-fA-F]{6}")
_RESERVED = {"architecture", "variant", "in_channels", "classes"}  # build_network's own arguments


def plain_text(text: str, length: int = 2000) -> str:
    """Return `text` on one line, without control and format characters, cut to `length`.

    Escape sequences of terminals and writing-direction marks go; `<` and `&`
    stay, since a card holds plain text and must be shown as such.
    """
    spaced = re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text))
    kept = "".join(sign for sign in spaced if unicodedata.category(sign)[0] != "C").strip()
    return kept if len(kept) <= length else kept[: length - 1] + "…"


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _hex_digest(text: str) -> str:
    digest = text.strip().lower()
    if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("must be a SHA-256 of 64 hexadecimal digits")
    return digest


Finite = Annotated[float, AfterValidator(_finite)]
Line = Annotated[str, AfterValidator(lambda text: plain_text(text, 80))]
Text = Annotated[str, AfterValidator(lambda text: plain_text(text))]
Digest = Annotated[str, AfterValidator(_hex_digest)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassCard(_Strict):
    """One class: its name, and its colour as `#rrggbb`."""

    name: Line
    color: str = Field(pattern=f"^{_COLOR.pattern}$")


class Normalization(_Strict):
    """How pixels become the network's input, per channel.

    `percentile`: clip to the `low` and `high` percentiles of the finite pixels
    of the plane, scale to [0, 1], then `(x - mean) / std`. `fixed`:
    `(x / scale - mean) / std`. `mean` and `std` hold one number, or one a channel.
    """

    kind: Literal["percentile", "fixed"] = "percentile"
    low: float = Field(default=0.5, ge=0, le=100)
    high: float = Field(default=99.5, ge=0, le=100)
    scale: Annotated[float, Field(gt=0), AfterValidator(_finite)] = 255.0
    mean: list[Finite] = Field(default=[0.5], min_length=1, max_length=64)
    std: list[Annotated[float, Field(gt=0), AfterValidator(_finite)]] = Field(
        default=[0.25], min_length=1, max_length=64
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("normalization.low must be smaller than normalization.high")
        return self


class ObjectDefaults(_Strict):
    """How probabilities become labels unless the user chooses otherwise (lengths in pixels)."""

    threshold: float = Field(default=0.5, ge=0, le=1)
    smallest_object: int = Field(default=0, ge=0, le=10**9)
    fill_holes: bool = True
    split: bool = True
    split_distance: int = Field(default=7, ge=1, le=1000)


class ModelCard(_Strict):
    """All that is known of a model but its weights; `classes[0]` is the background.

    `weights_sha256` and `library_version` are filled in by `zoo.store.write_model`.
    `untrained` says that the head is as it was made; `note` is the user's own; `orientation`
    is "fixed" if the side tells classes apart, so that mirrored images mean something else.
    """

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    title: Line
    purpose: Text
    architecture: Line
    variant: Line
    config: dict[str, str | int | float | bool] = Field(default={}, max_length=32)
    input_channels: int = Field(default=3, ge=1, le=64)
    normalization: Normalization = Normalization()
    orientation: Literal["any", "fixed"] = "any"
    pixel_size_um: float | None = Field(default=None, gt=0, le=1e6)
    tile_size: int = Field(default=512, ge=64, le=4096)
    classes: list[ClassCard] = Field(min_length=2, max_length=256)
    objects: ObjectDefaults = ObjectDefaults()
    parent: Line | None = None
    license: Line
    training_data: Text
    citation: Text = ""
    trained_by: Text = ""
    untrained: bool = False
    note: Text = ""
    test_scores: dict[Line, Finite] = Field(default={}, max_length=300)  # one a class, and more
    weights_sha256: Digest = ""
    library_version: Line = ""

    @model_validator(mode="before")
    @classmethod
    def _name_classes(cls, data: object) -> object:
        """Give empty class names a name, and repeated ones a number."""
        if not isinstance(data, dict) or not isinstance(data.get("classes"), list):
            return data
        taken: set[str] = set()
        return data | {"classes": [_named(*item, taken) for item in enumerate(data["classes"])]}

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for label, values in (("mean", self.normalization.mean), ("std", self.normalization.std)):
            if len(values) not in (1, self.input_channels):
                raise ValueError(
                    f"normalization.{label} holds {len(values)} numbers "
                    f"for {self.input_channels} channels"
                )
        wrong = sorted(key for key in self.config if key in _RESERVED or not key.isidentifier())
        if wrong:
            raise ValueError(f"config may not contain {wrong[0]!r}")
        return self


def _named(index: int, item: object, taken: set[str]) -> object:
    """Return class `index` with a name that is not empty and not in `taken`, and take it."""
    if isinstance(item, ClassCard):
        item = item.model_dump()
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return item  # the field's own check will say what is wrong
    base = plain_text(item["name"], 80) or f"class {index}"
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base[:72]} {count}"
    taken.add(name)
    return item | {"name": name}


def class_cards(names: Sequence[str]) -> list[ClassCard]:
    """Return classes of these names, with colours that also colour-blind people tell apart.

    A background comes first, unless the first name says that it is one.
    """
    listed = list(names)
    if not listed or listed[0].strip().lower() != "background":
        listed.insert(0, "background")
    colors = [_BACKGROUND, *(_COLORS[index % len(_COLORS)] for index in range(len(listed) - 1))]
    return [ClassCard(name=n, color=c) for n, c in zip(listed, colors, strict=True)]


def colored_classes(pairs: Sequence[tuple[str, str]]) -> list[ClassCard]:
    """Return classes of these names and colours; "" gives one that is told apart from others.

    A background comes first, unless the first name says that it is one.

    Raises
    ------
    SettingsError
        If there is no class besides the background, or more than 255; if one has no
        name, or a colour is not `#rrggbb`.
    """
    names = [plain_text(name, 80) for name, _ in pairs]
    wrong = next((color for _, color in pairs if color and not _COLOR.fullmatch(color)), None)
    if wrong is not None:
        raise SettingsError(f"{wrong[:40]!r} is no colour: write it as #rrggbb, such as #e69f00.")
    cards = class_cards(names)
    if not all(names) or not 2 <= len(cards) <= 256:
        raise SettingsError("A model needs 1 to 255 classes besides the background, each named.")
    colors = ["", *(color for _, color in pairs)][-len(cards) :]
    return [
        card.model_copy(update={"color": color or card.color})
        for card, color in zip(cards, colors, strict=True)
    ]


def check_format(path: Path, told: Mapping[str, object]) -> None:
    """Refuse a card of a later format before anything else about it is found wrong.

    Raises
    ------
    ModelError
        If the card says so; the text names the file and says what reads it.
    """
    version = told.get("format_version")
    if isinstance(version, int) and version > FORMAT:
        raise ModelError(
            f"The card {str(path)!r} is of format {plain_text(str(version), 20)}, and this version "
            f"of the plugin reads format {FORMAT}: a newer version reads it. Update the plugin "
            "(pip install -U napari-rwkv-seg)."
        )


def read_card(folder: Path) -> ModelCard:
    """Return the card in `folder`.

    Raises
    ------
    ModelError
        If `model.toml` is missing, is no TOML, is of a later format, or says something
        that is not allowed; the text names the file and the first such entry.
    """
    path = folder / CARD_FILE
    try:
        told = tomllib.loads(read_bytes(path, CARD_LIMIT).decode("utf-8"))
        check_format(path, told)
        return ModelCard.model_validate(told)
    except UnreadableFileError as error:
        raise ModelError(f"{str(folder)!r} is not a usable model: {error}") from error
    except ValidationError as error:
        reason = _first_fault(error)
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or nested without end
        reason = str(error)
    raise ModelError(
        f"The card {str(path)!r} cannot be used: {plain_text(reason, 300)}. "
        "Correct it, or get the model again from where it came."
    )


def checked_card(card: ModelCard) -> ModelCard:
    """Return a card as it will be read again; one made by `model_copy` may not be allowed.

    Raises
    ------
    ModelError
        If it could not be read; the text names the first such entry.
    """
    try:
        return ModelCard.model_validate(card.model_dump(warnings=False))
    except ValidationError as error:
        raise ModelError(
            f"Model {card.name!r} cannot be written: its card is not allowed "
            f"({plain_text(_first_fault(error), 300)}). Change that entry."
        ) from error


def _first_fault(error: ValidationError) -> str:
    """Return the first entry of a card that is not allowed, and why."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def write_card(folder: Path, card: ModelCard) -> None:
    """Write `card` as `model.toml` into `folder`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import tomli_w

    text = tomli_w.dumps(card.model_dump(mode="json", exclude_none=True))
    write_atomically(folder / CARD_FILE, lambda file: file.write(text.encode("utf-8")))
