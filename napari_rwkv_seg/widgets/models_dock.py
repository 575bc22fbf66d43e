"""The dock "Models": all models and encoders, the card of one, and what can be done with it.

Shows a `ModelsController`; decides nothing itself. Wishes go down as calls, news
comes up as signals, all on the main thread. What takes long is a process that a
worker thread listens to, so the window stays usable and the dock can go at any time.
"""

from collections.abc import Callable
from pathlib import Path

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QMessageBox, QSizePolicy, QSplitter, QVBoxLayout

from napari_rwkv_seg.controllers.models import ModelsController, made_folder
from napari_rwkv_seg.controllers.models_jobs import Arrived, JobEnd, Wish, empty_trash_wish
from napari_rwkv_seg.controllers.models_rows import ModelRow, card_of, key_of
from napari_rwkv_seg.controllers.models_sentences import EMPTY_TRASH, GONE, NOTHING_CHOSEN, end_line
from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.zoo.manage import Deleted

from .closing import ClosingDock, Ending
from .job_runner import JobRunner
from .layouts import column_of, group, widget_of
from .model_news import ModelNews
from .models_buttons import ComingButtons, DoingButtons
from .models_card import CardView
from .models_job_row import ModelsJobRow
from .models_questions import Questions
from .models_table import ModelTable
from .models_trash import TrashList, UndoRow

_MB = 10**6  # bytes


class ModelsDock(ClosingDock):
    """The dock's widgets and their wiring.

    Parameters
    ----------
    controller : ModelsController
        What is shown.
    news : ModelNews
        Is told of new models and of the one to use, and tells of them.
    """

    def __init__(self, controller: ModelsController, news: ModelNews) -> None:
        super().__init__()
        self._controller, self._news = controller, news
        self._busy = ""
        self._runner = JobRunner("Models", on_cancel=controller.cancel)
        self.ask: Callable[[str], bool] = self._ask
        self.open_folder: Callable[[Path], bool] = _open_folder
        self.coming = ComingButtons()
        self.table = ModelTable()
        self.doing = DoingButtons()
        self.undo = UndoRow()
        self.job = ModelsJobRow()
        self.card = CardView()
        self.trash = TrashList()
        self.questions = Questions(controller, self.begin, self.table.choose, self)
        self._lay_out()
        self._wire()
        self.refresh()
        self._show_all()
        self.destroyed.connect(self._ending.close)

    def refresh(self, _: object = None) -> None:
        """Look at the folders anew."""
        self._controller.refresh()

    # What ClosingDock asks for.

    def on_shown(self) -> None:
        """Look for models that were added or taken away meanwhile."""
        self.refresh()

    def end(self) -> None:
        """End the job, wait until nothing is left of it, and let go of all signals."""
        self._ending.close()

    # Wishes.

    def begin(self, wish: Wish) -> None:
        """Have a worker thread drive a job; RwkvSegError if it cannot begin."""
        job = self._controller.begin(wish)
        self.watch()
        self._runner.start(job.steps, self._controller.heard, self._controller.finish)

    def _press(self, word: str) -> None:
        """Do what a button says, with what is chosen."""
        row = self._controller.row(self.table.key)
        if word == "refresh":
            self.refresh()
        elif word == "use" and row is not None:
            self._news.adopt(key_of(row, self._controller.rows))
            self.job.say(f"{row.entry.name!r} is chosen for segmenting and fine-tuning.")
        elif word == "reveal" and row is not None:
            self._reveal(row)
        elif word == "delete" and row is not None:
            key = row.key
            self._try(lambda: self._controller.delete(key))
        else:
            self.questions.ask(word, row)

    def _on_key(self, word: str) -> None:
        if self.doing.buttons[word].isEnabled():
            self._press(word)

    def _reveal(self, row: ModelRow) -> None:
        folder = row.entry.folder
        if not folder.is_dir():
            self.refresh()
            self.job.say("", GONE)
        elif self.open_folder(folder):
            self.job.say(f"Shown: {folder}")
        else:
            self.job.say("", f"No file manager could be opened; the folder is {folder}")

    def _undo(self) -> None:
        deleted = self._controller.undoable
        if deleted is not None:
            self._restore(deleted)

    def _restore(self, deleted: Deleted) -> None:
        self._try(lambda: self.table.choose(self._controller.restore(deleted)))

    def _empty_trash(self) -> None:
        names = ", ".join(each.name for each in self._controller.trash)
        if names and self.ask(EMPTY_TRASH.format(names=names)):
            self._try(lambda: self.begin(empty_trash_wish()))

    def _try(self, act: Callable[[], object]) -> None:
        """Do something at once, or say why it cannot be done."""
        try:
            act()
            if not self._busy:
                self.job.say("")
        except RwkvSegError as error:
            self.refresh()
            show_error(str(error))
            if not self._busy:
                self.job.say("", str(error))

    def _ask(self, question: str) -> bool:
        answer = QMessageBox.question(self, "Models", question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    # News.

    def _show_listed(self) -> None:
        self._show_all()
        self._news.changed.emit()

    def _show_all(self) -> None:
        """Show the list, the chosen one, and the trash, as they are now."""
        controller = self._controller
        self.table.show_rows(controller.rows)
        self.undo.show_deleted(controller.undoable)
        self.trash.show_trash(controller.trash, self._busy)
        self.coming.show_busy(self._busy)

    def _show_chosen(self, key: str) -> None:
        row = self._controller.row(key)
        self.doing.show_row(row, self._busy)
        self.card.show_card(*(card_of(row) if row is not None else ([], NOTHING_CHOSEN)))

    def _show_started(self, wish: Wish) -> None:
        self._busy = wish.title
        self.job.show_started(wish)
        self._show_all()

    def _show_progress(self, arrived: Arrived) -> None:
        self.job.show_progress(arrived)
        self._runner.show(arrived.done // _MB, arrived.total // _MB)  # Qt counts in 32 bits

    def _show_ended(self, end: JobEnd) -> None:
        self._busy = ""
        self.job.show_end(end_line(end), end.sentence, end.misfits)
        self._show_all()
        folder = made_folder(end)
        if folder is not None:
            self.table.choose(str(folder))
        if end.sentence:
            show_error(end.sentence)

    # How it is put together.

    def _wire(self) -> None:
        controller = self._controller
        self.coming.pressed.connect(self._press)
        self.doing.pressed.connect(self._press)
        self.table.chosen.connect(self._show_chosen)
        self.table.wanted.connect(self._on_key)
        self.undo.undo_wanted.connect(self._undo)
        self.trash.restore_wanted.connect(self._restore)
        self.trash.empty_wanted.connect(self._empty_trash)
        self.job.cancel_wanted.connect(controller.cancel)
        self._ending = Ending(_Jobs(controller, self._runner))
        self._ending.connect(
            (controller.listed, self._show_listed),
            (controller.started, self._show_started),
            (controller.progressed, self._show_progress),
            (controller.ended, self._show_ended),
            (self._news.adopted, self.refresh),
        )

    def _lay_out(self) -> None:
        upper = column_of(self.coming, self.table, self.doing, self.undo, self.job, spacing=6)
        upper.setStretchFactor(self.table, 1)
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(widget_of(upper))
        splitter.addWidget(group("Card", self.card))
        splitter.setSizes([1, 1])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(splitter, 1)
        layout.addWidget(self.trash)
        self.setMinimumWidth(380)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)


class _Jobs:
    """Ends the job of a controller; no QObject, so that it can be done when the dock is gone."""

    def __init__(self, controller: ModelsController, runner: JobRunner) -> None:
        self._controller, self._runner = controller, runner

    def close(self) -> None:
        """End the job, and wait until nothing is left of it."""
        self._controller.cancel()
        self._runner.wait()
        self._controller.finish(None)


def _open_folder(folder: Path) -> bool:
    """Open a folder in the system's file manager."""
    return bool(QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))))
