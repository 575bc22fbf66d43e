"""Models and encoders as lines of text."""

from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.encoders import EncoderEntry
from napari_rwkv_seg.zoo.manage import Entry, is_shipped, size_of
from napari_rwkv_seg.zoo.pretrained import Pretrained, is_here
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, ModelEntry


def model_line(entry: ModelEntry) -> str:
    """Return name, purpose, classes, licence and test scores, or what is wrong with the model."""
    name = f"{entry.name} (default)" if entry.name == DEFAULT_MODEL else entry.name
    card = entry.card
    if card is None or entry.problem:
        return f"{name}: cannot be used: {entry.problem}"
    classes = ", ".join(each.name for each in card.classes[1:])
    return " | ".join(
        [
            f"{name}: {card.purpose}",
            f"classes: {classes}",
            f"licence: {card.license}",
            f"test: {'untrained' if card.untrained else _scores(card) or 'no scores'}",
        ]
    )


def encoder_line(entry: EncoderEntry) -> str:
    """Return name, kind and licence of a pretrained encoder, or what is wrong with it."""
    if entry.card is None:
        return f"{entry.name}: cannot be used: {entry.problem}"
    return f"{entry.name}: pretrained encoder {entry.card.title} | licence: {entry.card.license}"


def pretrained_line(pretrained: Pretrained) -> str:
    """Return what can be fetched, from where, how much it is, and on what terms."""
    return " | ".join(
        [
            f"{pretrained.name}: {pretrained.title}, trained on {pretrained.trained_on}",
            f"{pretrained.megabytes:g} MB",
            f"licence: {pretrained.license}",
            f"cite: {pretrained.citation}",
            pretrained.url,
            "is here" if is_here(pretrained) else "not fetched",
        ]
    )


def facts_of(entry: Entry) -> list[tuple[str, str]]:
    """Return all that the card says, and where the folder is, as names and values."""
    card = entry.card
    facts = {"name": entry.name, "folder": str(entry.folder), "size": _megabytes(size_of(entry))}
    if isinstance(card, ModelCard):
        facts |= _model_facts(card)
        facts["changeable"] = "no: it comes with the package" if is_shipped(entry) else "yes"
    elif card is not None:
        facts |= {
            "kind": f"pretrained encoder, {card.title}",
            "channels": str(card.input_channels),
            "source": card.source,
            "licence": card.license,
            "citation": card.citation,
        }
    return [(key, value) for key, value in facts.items() if value]


def _model_facts(card: ModelCard) -> dict[str, str]:
    settings = ", ".join(f"{key} {value}" for key, value in card.config.items())
    return {
        "title": card.title,
        "purpose": card.purpose,
        "network": f"{card.architecture} {card.variant} {settings}".strip(),
        "channels": str(card.input_channels),
        "classes": ", ".join(f"{each.name} ({each.color})" for each in card.classes),
        "pixel size": f"{card.pixel_size_um:g} µm" if card.pixel_size_um else "",
        "trained": "no: fine-tune it first" if card.untrained else card.trained_by or "yes",
        "training data": card.training_data,
        "test": _scores(card),
        "parent": card.parent or "",
        "licence": card.license,
        "citation": card.citation,
        "note": card.note,
    }


def _scores(card: ModelCard) -> str:
    return ", ".join(f"{score} {value:.3f}" for score, value in card.test_scores.items())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
