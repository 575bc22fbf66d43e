"""Buttons and lists with a name and a hint, as all docks have them."""

from collections.abc import Iterable
from typing import Any

from qtpy.QtWidgets import QComboBox, QPushButton

from napari_rwkv_seg.controllers.settings import VIEW_NAMES

from .texts import describe


def button_of(text: str, hint: str) -> QPushButton:
    """Return a button."""
    button = QPushButton(text)
    describe((button, text, hint))
    return button


def combo_of(name: str, hint: str, items: Iterable[tuple[str, Any]] = ()) -> QComboBox:
    """Return a list of texts, each with its value, that does not grow with its longest entry."""
    combo = QComboBox()
    describe((combo, name, hint))
    keep_narrow(combo)
    for text, value in items:
        combo.addItem(text, value)
    return combo


def views_combo() -> QComboBox:
    """Return the list of how often each tile is looked at."""
    hint = (
        "Look at every tile as it is, or mirrored and turned as well, and take the mean: often "
        "better, and so many times slower."
    )
    return combo_of("Views", hint, ((name, views) for views, name in VIEW_NAMES.items()))


def keep_narrow(combo: QComboBox, letters: int = 8) -> None:
    """Let a list be no wider than some letters ask for, however long its entries are."""
    combo.setMinimumContentsLength(letters)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)


def chosen_layer(combo: QComboBox) -> Any:
    """Return the layer whose weak reference is chosen, or None if it is gone."""
    reference = combo.currentData()
    return reference() if reference is not None else None
