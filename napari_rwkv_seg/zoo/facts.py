"""What is known of a model or an encoder, as names and values for people; no torch."""

from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.files import read_bytes

from .card import ModelCard
from .encoders import EncoderCard
from .manage import Entry, is_shipped, size_of

PAGE_FILE = "README.md"
_PAGE_LIMIT = 1_000_000  # bytes


def facts_of(entry: Entry) -> list[tuple[str, str]]:
    """Return all that the card says, and where the folder is, as names and values."""
    card = entry.card
    facts = {"name": entry.name}
    if isinstance(card, ModelCard):
        facts |= _model_facts(card)
        facts["changeable"] = "no: it comes with the package" if is_shipped(entry) else "yes"
    elif card is not None:
        facts |= _encoder_facts(card)
    else:
        facts["problem"] = entry.problem
    facts |= {"size": megabytes(size_of(entry)), "folder": str(entry.folder)}
    return [(key, value) for key, value in facts.items() if value]


def page_of(entry: Entry) -> str:
    """Return the page for people in a model's folder, or "" if there is none to read."""
    try:
        text = read_bytes(entry.folder / PAGE_FILE, _PAGE_LIMIT).decode("utf-8", "replace")
    except RwkvSegError:
        return ""
    return "".join(sign for sign in text if sign in "\n\t" or sign.isprintable()).strip()


def scores(card: ModelCard) -> str:
    """Return the test scores in one line."""
    return ", ".join(f"{score} {value:.3f}" for score, value in card.test_scores.items())


def megabytes(size: int) -> str:
    """Return a number of bytes in units of 10^6."""
    return f"{size / 1e6:.1f} MB"


def _model_facts(card: ModelCard) -> dict[str, str]:
    settings = ", ".join(f"{key} {value}" for key, value in card.config.items())
    return {
        "title": card.title,
        "purpose": card.purpose,
        "network": f"{card.architecture} {card.variant} {settings}".strip(),
        "channels": str(card.input_channels),
        "classes": ", ".join(f"{each.name} ({each.color})" for each in card.classes),
        "orientation": "fixed: which side is which matters" if card.orientation == "fixed" else "",
        "pixel size": f"{card.pixel_size_um:g} µm" if card.pixel_size_um else "",
        "trained": "no: fine-tune it first" if card.untrained else card.trained_by or "yes",
        "training data": card.training_data,
        "test": scores(card),
        "parent": card.parent or "",
        "licence": card.license,
        "citation": card.citation,
        "note": card.note,
    }


def _encoder_facts(card: EncoderCard) -> dict[str, str]:
    return {
        "kind": f"pretrained encoder, {card.title}",
        "channels": str(card.input_channels),
        "source": card.source,
        "SHA-256": card.source_sha256,
        "notes": " ".join(card.notes),
        "licence": card.license,
        "citation": card.citation,
    }
