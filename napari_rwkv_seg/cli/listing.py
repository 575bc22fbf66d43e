"""A model as one line of text."""

from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, ModelEntry


def model_line(entry: ModelEntry) -> str:
    """Return name, purpose, classes, licence and test scores, or what is wrong with the model."""
    name = f"{entry.name} (default)" if entry.name == DEFAULT_MODEL else entry.name
    card = entry.card
    if card is None or entry.problem:
        return f"{name}: cannot be used: {entry.problem}"
    classes = ", ".join(each.name for each in card.classes[1:])
    scores = ", ".join(f"{score} {value:.3f}" for score, value in card.test_scores.items())
    return " | ".join(
        [
            f"{name}: {card.purpose}",
            f"classes: {classes}",
            f"licence: {card.license}",
            f"test: {scores or 'no scores'}",
        ]
    )
