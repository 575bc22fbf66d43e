"""Which question the models dock asks for which button; one at a time, and none is waited for."""

from collections.abc import Callable

from qtpy.QtWidgets import QWidget

from napari_rwkv_seg.controllers.models import ModelsController
from napari_rwkv_seg.controllers.models_rows import ModelRow
from napari_rwkv_seg.zoo.card import ModelCard

from .models_asking import Act, Asking, ImportQuestion, TextQuestion
from .models_export import ExportQuestion
from .models_get import GetQuestion
from .models_new import NewQuestion


class Questions:
    """Asks, and hands the answers on.

    Parameters
    ----------
    controller : ModelsController
        Renames and annotates.
    begin : callable
        Begins a job; raises RwkvSegError if it cannot.
    choose : callable
        Is given the key of a model that has another name.
    parent : QWidget
        The dock.
    """

    def __init__(
        self,
        controller: ModelsController,
        begin: Act,
        choose: Callable[[str], object],
        parent: QWidget,
    ) -> None:
        self.asked: Asking | None = None
        """The question that is open."""
        self._controller, self._begin, self._choose = controller, begin, choose
        self._parent = parent

    def ask(self, word: str, row: ModelRow | None) -> None:
        """Ask what the button `word` needs to know; `row` is what is chosen."""
        question = self._coming(word, row)
        if question is None and row is not None:
            question = self._doing(word, row)
        if question is not None:
            self.asked = question
            question.finished.connect(self._forget)
            question.open()

    def _coming(self, word: str, row: ModelRow | None) -> Asking | None:
        if word == "import":
            return ImportQuestion(self._begin, self._parent)
        if word == "get":
            return GetQuestion(self._begin, self._parent)
        if word == "new":
            encoder = row.key if row is not None and not row.is_model else ""
            return NewQuestion(self._begin, encoder, self._parent)
        return None

    def _doing(self, word: str, row: ModelRow) -> Asking | None:
        name = row.entry.name
        if word == "export":
            return ExportQuestion(row, self._begin, self._parent)
        if word == "rename":
            return TextQuestion(
                f"Rename {name}", "New name", name, lambda text: self._rename(row, text),
                self._parent,
            )  # fmt: skip
        if word == "note":
            card = row.entry.card
            note = card.note if isinstance(card, ModelCard) else ""
            return TextQuestion(
                f"Note on {name}", "Note", note,
                lambda text: self._controller.set_note(row.key, text), self._parent,
            )  # fmt: skip
        return None

    def _rename(self, row: ModelRow, name: str) -> None:
        if name != row.entry.name:
            self._choose(self._controller.rename(row.key, name))

    def _forget(self, _: int = 0) -> None:
        self.asked = None
