"""What is shown of models and encoders: rows of a list, cards, and what can be fetched.

Pure functions on what the zoo says, without torch. All texts are plain text, never
markup: a card is written by others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.encoders import list_encoders
from napari_rwkv_seg.zoo.facts import facts_of, megabytes, page_of
from napari_rwkv_seg.zoo.manage import Deleted, Entry, is_shipped, size_of
from napari_rwkv_seg.zoo.pretrained import PRETRAINED, Pretrained, bytes_here, first_seen_sha256
from napari_rwkv_seg.zoo.store import ModelEntry, list_models

Kind = Literal["shipped", "yours", "encoder"]
COLUMNS = ("Name", "Kind", "Purpose", "Classes", "Size", "Licence", "Parent", "Test scores")
UNSTATED = "not stated by its authors; that of your first download is kept and held against others"


@dataclass(frozen=True)
class ModelRow:
    """A model or an encoder, as it is listed.

    Parameters
    ----------
    entry : ModelEntry or EncoderEntry
        What it is.
    kind : "shipped", "yours" or "encoder"
        Shipped ones cannot be changed.
    cells : tuple of str
        One text for each of `COLUMNS`.
    nbytes : int
        On the disk.
    """

    entry: Entry
    kind: Kind
    cells: tuple[str, ...]
    nbytes: int

    @property
    def key(self) -> str:
        """What tells it from all others: its folder."""
        return str(self.entry.folder)

    @property
    def is_model(self) -> bool:
        """Whether it segments."""
        return isinstance(self.entry, ModelEntry)

    @property
    def sort_keys(self) -> tuple[str | float, ...]:
        """What each column is sorted by: numbers as numbers, words without regard to case."""
        keys: list[str | float] = [text.casefold() for text in self.cells]
        keys[COLUMNS.index("Size")] = float(self.nbytes)
        card = self.entry.card
        scores = list(card.test_scores.values()) if isinstance(card, ModelCard) else []
        keys[COLUMNS.index("Test scores")] = scores[0] if scores else -1.0
        return tuple(keys)


def list_rows() -> list[ModelRow]:
    """Return the shipped models, the user's, then the encoders, usable or not; never raises."""
    entries: list[Entry] = [*list_models(), *list_encoders()]
    return [row_of(entry) for entry in entries]


def row_of(entry: Entry) -> ModelRow:
    """Return how an entry is listed."""
    is_model = isinstance(entry, ModelEntry)
    kind: Kind = "encoder" if not is_model else "shipped" if is_shipped(entry) else "yours"
    card, nbytes = entry.card, size_of(entry)
    size = megabytes(nbytes)
    if card is None:
        cells = (entry.name, kind, f"Cannot be used: {entry.problem}", "", size, "", "", "")
    elif isinstance(card, ModelCard):
        cells = (
            entry.name,
            kind,
            card.purpose or card.title,
            ", ".join(each.name for each in card.classes[1:]),
            size,
            card.license,
            card.parent or "",
            "not trained yet" if card.untrained else _scores(card),
        )
    else:
        purpose = f"Pretrained {card.title}: new models start from it"
        cells = (entry.name, kind, purpose, "", size, card.license, "", "")
    return ModelRow(entry, kind, cells, nbytes)


def key_of(row: ModelRow, rows: Sequence[ModelRow]) -> str:
    """Return what other docks know a model by: its name, or its folder if that is taken."""
    first = next(each for each in rows if each.entry.name == row.entry.name)
    return row.entry.name if first.key == row.key else row.key


def card_of(row: ModelRow) -> tuple[list[tuple[str, str]], str]:
    """Return the whole card: the facts as names and values, and the page of the folder."""
    facts = [(f"{name[:1].upper()}{name[1:]}", value) for name, value in facts_of(row.entry)]
    return facts, page_of(row.entry)


def deleted_line(deleted: Deleted) -> str:
    """Return what lies in the trash, since when, and how much it is."""
    when = deleted.time.astimezone().strftime("%Y-%m-%d %H:%M")
    kind = "encoder" if deleted.kind == "encoders" else "model"
    return f"{deleted.name} ({kind}, {megabytes(size_of(deleted))}, {when})"


@dataclass(frozen=True)
class Offer:
    """A pretrained encoder that can be fetched, and how much of it is here."""

    pretrained: Pretrained
    is_here: bool
    nbytes_here: int

    @property
    def state(self) -> str:
        """How far it is, in a few words."""
        if self.is_here:
            return "here"
        return f"{megabytes(self.nbytes_here)} here" if self.nbytes_here else "not fetched"


def list_offers() -> list[Offer]:
    """Return what can be fetched; asks no server."""
    here = {each.name for each in list_encoders() if not each.problem}
    return [Offer(each, each.name in here, bytes_here(each)) for each in PRETRAINED]


def offer_text(offer: Offer, mirror: str) -> str:
    """Return all that is known of what can be fetched, a line each."""
    one = offer.pretrained
    recorded = first_seen_sha256(one)
    lines = [
        f"{one.title}, trained on {one.trained_on}",
        f"Size: {one.megabytes:g} MB",
        f"Licence: {one.license}",
        f"Please cite: {one.citation}",
        f"Address: {one.url_at(mirror)}",
        f"SHA-256: {one.sha256 or UNSTATED}",
    ]
    if not one.sha256 and recorded:
        lines.append(f"SHA-256 of your first download: {recorded}")
    return "\n".join(lines)


def _scores(card: ModelCard) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in card.test_scores.items())
