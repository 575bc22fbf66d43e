"""Models and encoders as lines of text."""

from napari_rwkv_seg.zoo.encoders import EncoderEntry
from napari_rwkv_seg.zoo.facts import megabytes, scores
from napari_rwkv_seg.zoo.manage import Deleted, size_of
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
            f"test: {'untrained' if card.untrained else scores(card) or 'no scores'}",
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


def deleted_line(deleted: Deleted) -> str:
    """Return what lies in the trash, since when, and how much it is."""
    kind = "pretrained encoder" if deleted.kind == "encoders" else "model"
    when = deleted.time.astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{deleted.name}: {kind}, deleted {when} | {megabytes(size_of(deleted))}"
