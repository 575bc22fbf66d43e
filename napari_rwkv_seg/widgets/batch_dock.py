"""The dock "Segment many images": images, model, results, and a table of how each fares.

Shows a `BatchController`; decides nothing itself. Wishes go down as calls, news
comes up as signals, all on the main thread.
"""

from collections.abc import Callable, Sequence
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QComboBox, QProgressBar, QSizePolicy, QWidget

from napari_rwkv_seg.controllers.batch_control import BatchController, BatchOutcome
from napari_rwkv_seg.controllers.batch_rows import Row
from napari_rwkv_seg.controllers.sentences import progress_line
from napari_rwkv_seg.controllers.settings import OUTPUT_NAMES, OUTPUTS, recommended_labels
from napari_rwkv_seg.zoo.store import ModelEntry

from .batch_choices import BatchOutput, BatchSource
from .batch_link import BatchLink
from .batch_table import BatchTable
from .closing import ClosingDock, Ending
from .controls import button_of, views_combo
from .folding import Folding
from .label_controls import LabelControls
from .layouts import STYLE_SPACING, column_of, form_of, group, row_of, scrolling, widget_of
from .model_picker import ModelPicker
from .texts import WARNING, Line


class BatchDock(ClosingDock):
    """The dock's widgets and their wiring.

    Parameters
    ----------
    controller : BatchController
        What is shown.
    link : BatchLink
        Runs the batch, and opens results; closed together with the dock.
    list_models : callable
        Returns the models to choose from.
    """

    def __init__(
        self,
        controller: BatchController,
        link: BatchLink,
        list_models: Callable[[], Sequence[ModelEntry]],
    ) -> None:
        super().__init__()
        self._controller, self._link, self._list_models = controller, link, list_models
        self._picked = False
        self.source = BatchSource(controller)
        self.model = ModelPicker()
        self.output = QComboBox()
        self.output.setAccessibleName("Output")
        for value in OUTPUTS:
            self.output.addItem(OUTPUT_NAMES[value], value)
        self.views = views_combo()
        self.labels = LabelControls(controller.settings, is_live=False)
        self.results = BatchOutput(controller)
        self._inputs = (
            self.source, self.model, self.output, self.views, self.labels, self.results
        )  # fmt: skip
        self.run = BatchRun()
        self.table = BatchTable()
        self.note = Line("What happened to the chosen image")
        self._lay_out()
        self._wire()
        self.reload_models()
        self._show_wishes()
        self.destroyed.connect(self._ending.close)  # the viewer's layers may outlive its window

    def reload_models(self) -> None:
        """List the models anew, and choose one if the chosen one is not there."""
        self.model.show_models(self._list_models())
        entry = self.model.first_usable(self._controller.settings.settings.model)
        if entry is not None:
            self._pick_model(entry)
        self._show_settings()

    # What ClosingDock asks for.

    def on_shown(self) -> None:
        """Look for models that were added or taken away meanwhile."""
        self.reload_models()

    def end(self) -> None:
        """End the batch after its present tile, and let go of the viewer."""
        self._ending.close()

    def _lay_out(self) -> None:
        settings = widget_of(form_of(("Output", self.output), ("Views", self.views)))
        area = scrolling(
            group("1  Images", self.source),
            group("2  Model", self.model, settings, Folding("Settings", self.labels)),
            group("3  Results", self.results),
            group("4  Run", self.run, self.table, self.note),
            width=340,
        )
        self.setLayout(column_of(area, spacing=STYLE_SPACING))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _wire(self) -> None:
        controller, link = self._controller, self._link
        self.model.picked.connect(self._pick_model)
        self.output.activated.connect(
            lambda i: controller.settings.choose(output=self.output.itemData(i))
        )
        self.views.activated.connect(
            lambda i: controller.settings.choose(views=self.views.itemData(i))
        )
        self.run.start.clicked.connect(link.run)
        self.run.cancel.clicked.connect(self._cancel)
        self.run.open.clicked.connect(self._open)
        self.run.copy.clicked.connect(self._copy)
        self.table.open_wanted.connect(link.open)
        self.table.selectionModel().currentRowChanged.connect(lambda *_: self._show_buttons())
        self._ending = Ending(link)
        self._ending.connect(
            (controller.changed, self._show_wishes),
            (controller.settings.settings_changed, self._show_settings),
            (controller.started, self._show_started),
            (controller.rows_changed, self._show_rows),
            (controller.progressed, self._show_progress),
            (controller.noted, show_info),
            (controller.ended, self._show_ended),
            (link.layers_changed, self._show_wishes),
            (link.failed, self._show_failed),
        )

    def _pick_model(self, entry: ModelEntry) -> None:
        key, settings = self.model.key(entry), self._controller.settings
        if entry.card is not None and (key != settings.settings.model or not self._picked):
            is_renamed = self._picked and self.model.is_renamed(entry)
            self._picked = True
            labels = settings.settings.labels if is_renamed else recommended_labels(entry.card)
            settings.choose(model=key, labels=labels)

    def _cancel(self) -> None:
        self.run.cancel.setEnabled(False)
        self.run.status.say("Cancelling after the present tile …")
        self._controller.stop()

    def _open(self) -> None:
        row = self.table.chosen()
        if row is not None:
            self._link.open(row)

    def _copy(self) -> None:
        clipboard: Any = QGuiApplication.clipboard()
        clipboard.setText(self._controller.command())
        show_info("The command that does the same was copied.")

    def _show_settings(self, _: object = None) -> None:
        settings = self._controller.settings.settings
        self.model.show_choice(settings.model)
        self.output.setCurrentIndex(OUTPUTS.index(settings.labels.output))
        self.views.setCurrentIndex(self.views.findData(settings.views))
        self.labels.show_settings(settings)
        self._show_buttons()

    def _show_wishes(self) -> None:
        self.source.show_wishes(len(self._link.layers()))
        self.results.show_wishes()
        self._show_buttons()

    def _show_buttons(self) -> None:
        """Allow what can be done now, and say what is missing."""
        controller = self._controller
        problem = controller.problem(len(self._link.layers()))
        problem = problem or self.model.problem(controller.settings.settings.model)
        row = self.table.chosen()
        self.run.show_state(
            problem,
            is_running=controller.running is not None,
            can_continue=controller.can_continue,
        )
        self.note.say(f"{row.image}: {row.note}" if row is not None and row.note else "")
        self.run.open.setEnabled(row is not None and bool(row.labels))
        self.run.copy.setEnabled(bool(controller.command()))

    def _show_started(self) -> None:
        self.watch()  # only now it is sure which window the dock is in
        for part in self._inputs:
            part.setEnabled(False)
        self.run.bar.setRange(0, 0)
        self.run.status.say("Looking for images …")
        self._show_buttons()

    def _show_rows(self, rows: tuple[Row, ...]) -> None:
        table = self._controller.table
        if len(self.table.model_.rows) != len(table.rows) or len(rows) > 1:
            self.table.model_.show_rows(table.rows)
        else:
            for row in rows:
                self.table.model_.show_row(row)
        waiting = table.count("waiting") + table.count("running")
        self.run.bar.setRange(0, max(1, len(table.rows)))
        self.run.bar.setValue(len(table.rows) - waiting)
        self.run.count.say(table.sentence() if table.rows else "")
        self._show_buttons()

    def _show_progress(self, progress: Any) -> None:
        running = next((row for row in self._controller.table.rows if row.state == "running"), None)
        name = f"{running.image}: " if running is not None else ""
        self.run.status.say(name + progress_line(progress))

    def _show_ended(self, outcome: BatchOutcome) -> None:
        for part in self._inputs:
            part.setEnabled(True)
        self.run.status.say("Done." if outcome.table is not None else "Cancelled.")
        self._show_buttons()
        if outcome.sentence:
            self.run.status.say("")
            self._show_failed(outcome.sentence)

    def _show_failed(self, sentence: str) -> None:
        self.run.problem.say(sentence)
        show_error(sentence)


class BatchRun(QWidget):
    """The buttons of "4 Run", a bar, and lines beneath."""

    def __init__(self) -> None:
        super().__init__()
        self.start = button_of("Start", "Segment all images that have no result yet.")
        self.start.setMinimumHeight(32)
        self.start.setStyleSheet("font-weight: bold;")
        self.cancel = button_of("Cancel", "Stop after the present tile; what is done is kept.")
        self.open = button_of("Open result", "Add the image and its labels to the viewer.")
        self.copy = button_of("Copy as command", "Copy the command that does the same.")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Images that are done")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.status = Line("Status")
        self.count = Line("How many images are done")
        self.problem = Line("What is missing or went wrong", WARNING)
        first, second = row_of(self.start, self.cancel), row_of(self.open, self.copy)
        lines = (self.status, self.count, self.problem)
        self.setLayout(column_of(first, second, self.bar, *lines))
        self.bar.hide()

    def show_state(self, problem: str, *, is_running: bool, can_continue: bool) -> None:
        """Show what can be pressed, and why not."""
        name = "Continue" if can_continue and not is_running else "Start"
        self.start.setText(name)
        self.start.setAccessibleName(name)
        self.start.setEnabled(not problem and not is_running)
        self.cancel.setEnabled(is_running)
        self.bar.setVisible(is_running)
        self.problem.say("" if is_running else problem)
