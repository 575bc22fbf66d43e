"""The buttons of the models dock: how models come, and what is done with the chosen one."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_rwkv_seg.controllers.models_rows import ModelRow
from napari_rwkv_seg.controllers.models_sentences import Action, refusal, waiting

from .texts import describe, tooltip

_COMING = (
    ("import", "Import…", "Keep a checkpoint, the zip file of a model or a model folder."),
    ("get", "Get encoder…", "Pretrained encoders to download; nothing is fetched before you say."),
    ("new", "New model…", "Make a model for your classes and channels, to be fine-tuned."),
    ("refresh", "Refresh", "Look at the folders anew."),
)
_DOING: tuple[tuple[Action, str, str], ...] = (
    ("use", "Use to segment", "Choose it in 'Segment with Med-URWKV' and where you fine-tune."),
    ("export", "Export…", "Write it as a folder, zip file, bioimage.io package or graph."),
    ("reveal", "Show folder", "Open its folder in the system's file manager."),
    ("rename", "Rename…", "Give it another name."),
    ("note", "Note…", "Put a note of yours on its card."),
    ("delete", "Delete", "Put it into the trash; Undo takes it back."),
)


class _Buttons(QWidget):
    """Buttons in rows of three or four; says which one was pressed.

    Signals
    -------
    pressed : str
        The word of the button.
    """

    pressed = Signal(str)

    def __init__(self, wanted: tuple[tuple[str, str, str], ...], columns: int) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for number, (word, text, hint) in enumerate(wanted):
            button = QPushButton(text)
            describe((button, text, hint))
            button.clicked.connect(lambda _=False, word=word: self.pressed.emit(word))
            layout.addWidget(button, number // columns, number % columns)
            self.buttons[word] = button

    def _allow(self, word: str, why_not: str, hint: str) -> None:
        self.buttons[word].setEnabled(not why_not)
        self.buttons[word].setToolTip(tooltip(why_not or hint))


class ComingButtons(_Buttons):
    """Import, get, new, refresh."""

    def __init__(self) -> None:
        super().__init__(_COMING, columns=4)

    def show_busy(self, busy: str) -> None:
        """Allow another job, or say that `busy` is under way."""
        for word, _, hint in _COMING:
            self._allow(word, waiting(busy) if word != "refresh" else "", hint)


class DoingButtons(_Buttons):
    """What can be done with the chosen model."""

    def __init__(self) -> None:
        super().__init__(_DOING, columns=3)

    def show_row(self, row: ModelRow | None, busy: str) -> None:
        """Allow what can be done with `row`; the others say why not."""
        for action, _, hint in _DOING:
            self._allow(action, refusal(action, row, busy), hint)
