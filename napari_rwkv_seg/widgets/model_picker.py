"""Choose a model: a list, and beneath it what the chosen one is for.

Models that cannot be used are listed, greyed out, with the reason as a tooltip.
"""

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QStandardItem, QStandardItemModel
from qtpy.QtWidgets import QComboBox, QWidget

from napari_rwkv_seg.controllers.sentences import (
    NO_MODEL,
    license_warning,
    model_facts,
    model_line,
    model_tooltip,
)
from napari_rwkv_seg.zoo.store import ModelEntry

from .controls import keep_narrow
from .layouts import column_of
from .texts import HINT, WARNING, Line, tooltip


class ModelPicker(QWidget):
    """Shows the models and says which one the user picks.

    Signals
    -------
    picked : ModelEntry
        The user picked a model.
    """

    picked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entries: list[ModelEntry] = []
        self._chosen = ("", "")  # the name that was chosen, and the digest of its weights
        self.combo = QComboBox()
        self.combo.setAccessibleName("Model")
        keep_narrow(self.combo, 12)
        self._purpose = Line("What the model is for")
        self._facts = Line("Licence and test scores of the model", HINT)
        self._warning = Line("Warning about the model", WARNING)
        self.setLayout(column_of(self.combo, self._purpose, self._facts, self._warning))
        self.combo.activated.connect(self._on_activated)

    def show_models(self, entries: Sequence[ModelEntry]) -> None:
        """List `entries`, those that can be used and those that cannot."""
        self._entries = list(entries)
        model = QStandardItemModel(self.combo)
        for entry in self._entries:
            item = QStandardItem(
                entry.card.title if entry.card else f"{entry.name} (cannot be used)"
            )
            item.setData(tooltip(model_tooltip(entry)), Qt.ItemDataRole.ToolTipRole)
            item.setEnabled(entry.card is not None)
            model.appendRow(item)
        self.combo.setModel(model)
        self.combo.setCurrentIndex(-1)
        self.combo.setEnabled(bool(self._entries))

    def show_choice(self, name: str) -> None:
        """Show which model is chosen, and what it is for."""
        index = self._index(name)
        self.combo.setCurrentIndex(index)
        entry = self._entries[index] if index >= 0 else None
        card = entry.card if entry else None
        if card is not None and card.weights_sha256:
            self._chosen = (name, card.weights_sha256)
        self.combo.setToolTip(tooltip(model_tooltip(entry)) if entry else "")
        self._purpose.say(model_line(card) if card else "")
        self._facts.say(model_facts(card) if card else "")
        self._warning.say(license_warning(card.license) if card else self.problem(name))

    def problem(self, name: str) -> str:
        """Return why the model `name` cannot be run, or ""."""
        if not self._entries:
            return NO_MODEL
        index = self._index(name)
        if index < 0:
            return f"There is no model {name!r} any more; pick another one."
        return "" if self._entries[index].card else self._entries[index].problem

    def key(self, entry: ModelEntry) -> str:
        """Return what tells a model from the others: its name, or its folder if that is taken."""
        is_first = self._entries[self._index(entry.name)] is entry
        return entry.name if is_first else str(entry.folder)

    def first_usable(self, wanted: str) -> ModelEntry | None:
        """Return the model `wanted` if it can be used, by its new name if it was renamed.

        Else it is the first that can be used.
        """
        usable = [(entry, entry.card) for entry in self._entries if entry.card is not None]
        named = [one for one, _ in usable if wanted in (one.name, str(one.folder))]
        renamed = [one for one, _ in usable if wanted == self._chosen[0] and self.is_renamed(one)]
        return next(iter([*named, *renamed, *(one for one, _ in usable)]), None)

    def is_renamed(self, entry: ModelEntry) -> bool:
        """Return whether this is the model that was chosen, under a new name."""
        name, weights = self._chosen
        is_same = entry.card is not None and entry.card.weights_sha256 == weights
        return is_same and self._index(name) < 0

    def _index(self, name: str) -> int:
        keys = [(entry.name, str(entry.folder)) for entry in self._entries]
        by_folder = (i for i, key in enumerate(keys) if key[1] == name)
        by_name = (i for i, key in enumerate(keys) if key[0] == name)
        return next(by_folder, next(by_name, -1))

    def _on_activated(self, index: int) -> None:
        self.picked.emit(self._entries[index])
