"""The dock "Fine-tune on my labels": pairs, classes, model and time, run, result.

Shows a `FinetuneController`; decides nothing itself. Wishes go down as calls, news
comes up as signals, all on the main thread. Lists are drawn anew at most once an
event loop, however much has changed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from napari.utils.notifications import show_error, show_info
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QMessageBox, QSizePolicy, QWidget

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_runs import (
    KeptRun,
    command_line,
    discard_run,
    suggested_title,
)
from napari_rwkv_seg.controllers.finetune_sentences import (
    CANCEL,
    CLOSE,
    REMOVED,
    interrupted_line,
)
from napari_rwkv_seg.controllers.finetune_story import Ended
from napari_rwkv_seg.controllers.finetune_work import Attempt, Plan
from napari_rwkv_seg.zoo.store import ModelEntry

from .closing import ClosingDock, Ending
from .finetune_budget import Budget
from .finetune_classes import ClassTable
from .finetune_interrupted import Interrupted
from .finetune_link import FinetuneLink
from .finetune_pairs_panel import PairsPanel
from .finetune_result import ResultPanel
from .finetune_run import RunPanel
from .finetune_runner import FinetuneRunner
from .layouts import STYLE_SPACING, column_of, group, scrolling
from .model_news import ModelNews
from .model_picker import ModelPicker


class FinetuneDock(ClosingDock):
    """The dock's widgets and their wiring.

    Parameters
    ----------
    controller : FinetuneController
        What is shown.
    link : FinetuneLink
        Has the layers; closed together with the dock.
    news : ModelNews
        Is told of new models, and tells of them.
    list_models : callable
        Returns the models to start from.
    """

    def __init__(
        self,
        controller: FinetuneController,
        link: FinetuneLink,
        news: ModelNews,
        list_models: Callable[[], Sequence[ModelEntry]],
    ) -> None:
        super().__init__()
        self._controller, self._link, self._news = controller, link, news
        self._list_models = list_models
        self._runner = FinetuneRunner(link, controller)
        self.ask: Callable[[str], bool] = self._ask
        self.interrupted = Interrupted()
        self.pairs = PairsPanel(controller, link)
        self.classes = ClassTable(controller)
        self.model = ModelPicker()
        self.budget = Budget(controller)
        self.run = RunPanel(self._theme)
        self.result = ResultPanel()
        self._runs: list[KeptRun] = []
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._show_all)
        self._revealed: QWidget = self.run
        self._scroll = QTimer(self)
        self._scroll.setSingleShot(True)
        self._scroll.setInterval(50)
        self._scroll.timeout.connect(lambda: self._area.ensureWidgetVisible(self._revealed, 0, 4))
        self._lay_out()
        self._wire()
        self.reload_models()
        self._show_theme()
        self._show_all()
        self._runner.find()
        self.destroyed.connect(self._ending.close)  # the viewer's layers may outlive its window

    def reload_models(self, _: object = None) -> None:
        """List the models anew, and choose one if the chosen one is not there."""
        models = self._list_models()
        self.model.show_models(models)
        entry = self.model.first_usable(self._controller.choices.model)
        if entry is not None:
            self._controller.choose_model(self.model.key(entry), models, picked=False)
        self.model.show_choice(self._controller.choices.model)

    # What ClosingDock asks for.

    def may_close(self) -> bool:
        """Ask before a training ends because napari closes."""
        return not self._controller.is_busy or self.ask(CLOSE)

    def on_shown(self) -> None:
        """Look for models and runs that were added or taken away meanwhile."""
        self.reload_models()
        self._runner.find()

    def on_removed(self) -> None:
        """End the training that is under way; ask what is to become of it."""
        if self._controller.is_busy:
            QTimer.singleShot(0, self._leave)  # not within napari's own taking apart
        else:
            super().on_removed()

    def end(self) -> None:
        """End all work, wait for it, and let go of the viewer; the dock is not used again."""
        self._soon.stop()
        self._scroll.stop()
        self._ending.close()

    def _leave(self) -> None:
        """Ask what is to become of the training whose dock napari has taken out."""
        is_kept = not self._controller.is_busy or self.ask(REMOVED)
        folder = self._controller.folder if self._controller.state == "training" else None
        if not is_kept:
            self._controller.cancel()
        super().on_removed()
        if not is_kept and folder is not None:
            discard_run(folder)

    def _ask(self, question: str) -> bool:
        answer = QMessageBox.question(self, "Fine-tune on my labels", question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _theme(self) -> Any:
        viewer = self._link.viewer
        return get_theme(viewer.theme if viewer is not None else "dark")

    # Wishes and news.

    def _wire(self) -> None:
        controller, runner = self._controller, self._runner
        self.model.picked.connect(self._pick_model)
        self.pairs.failed.connect(self._show_failed)
        self.interrupted.resume_wanted.connect(lambda run: controller.resume(run.folder))
        self.interrupted.discard_wanted.connect(self._discard)
        self.run.run_wanted.connect(runner.run)
        self.run.stop_wanted.connect(self._stop)
        self.run.cancel_wanted.connect(self._cancel)
        self.run.preview_wanted.connect(runner.preview)
        self.run.command_wanted.connect(self._copy_command)
        self.result.use_wanted.connect(self._use)
        self.result.keep_wanted.connect(runner.keep)
        self.result.differences_wanted.connect(runner.differences)
        self._ending = Ending(self._runner, self._link)
        self._ending.connect(
            (controller.choices_changed, self._show_soon),
            (controller.rows.changed, self._show_soon),
            (self._link.layers_changed, self._show_soon),
            (controller.state_changed, self._show_state),
            (controller.heard, self.run.show_story),
            (controller.ended, self._show_ended),
            (controller.failed, self._show_failed),
            (self._link.planned, self._show_plan),
            (runner.found, self._show_runs),
            (runner.adopted, self._show_adopted),
            (self._news.adopted, self.reload_models),
            (self._link.viewer.events.theme, self._show_theme),
        )

    def _pick_model(self, entry: ModelEntry) -> None:
        self._controller.choose_model(self.model.key(entry), self._list_models())
        self._show_soon()

    def _discard(self, run: KeptRun) -> None:
        if run.is_undecided or self.ask(f"{interrupted_line(run)} Discard it?"):
            self._runner.discard(run)

    def _stop(self) -> None:
        self._controller.stop()
        self.run.show_stopping()

    def _cancel(self) -> None:
        if self.ask(CANCEL.format(steps=self._controller.story.step)):
            self._controller.cancel()

    def _copy_command(self) -> None:
        folder = self._controller.folder
        clipboard: Any = QGuiApplication.clipboard()
        if folder is not None:
            clipboard.setText(command_line(folder))
            show_info("The command that repeats this run was copied.")

    def _use(self, title: str) -> None:
        self.result.allow(False)
        self._runner.use(title)

    def _show_soon(self, _: object = None) -> None:
        self._soon.start()

    def _show_all(self) -> None:
        """Show choices and pairs as they are now."""
        choices = self._controller.choices
        self.model.show_choice(choices.model)
        self.pairs.show_rows()
        self.pairs.show_layers()
        self.classes.show_choices()
        self.budget.show_choices(choices)
        problem = self._controller.problem()
        self.run.show_problem(problem)

    def _show_state(self, state: str) -> None:
        busy = self._controller.is_busy
        self.watch()
        if state == "preparing":
            self.run.show_preparing()
            self._reveal(self.run)
        elif state == "training":
            self.run.show_preparing()
            self.run.show_story(self._controller.story)
            self._reveal(self.run)
        elif state == "idle":
            self.run.show_end("")
        self._result_group.setVisible(state == "ended")
        self.run.show_command(state in ("training", "ended"))
        self.interrupted.show_runs(self._runs, busy, self._controller.folder)

    def _show_plan(self, outcome: Attempt[Plan]) -> None:
        plan = outcome.value
        if plan is not None:
            self.run.show_plan(plan.sentence, "\n".join(plan.warnings))
        else:
            self.run.show_plan("", outcome.sentence)

    def _show_ended(self, ended: Ended) -> None:
        if ended.how == "finished":
            self.run.show_end("Done: the scores are beneath.")
            self.result.show_result(ended.result, suggested_title(ended.folder))
            self.result.focus_first()
            self._reveal(self._result_group)
        elif ended.how == "cancelled":
            self.run.show_end("Cancelled; nothing of the run was kept.")
        else:
            self.run.show_end("", ended.sentence)
            show_error(ended.sentence)

    def _show_adopted(self, outcome: Attempt[str]) -> None:
        if outcome.value is None:
            self.result.allow(True)
            self.result.problem.say(outcome.sentence)
            return
        self._controller.dismiss()
        self._news.adopt(outcome.value)
        self.run.show_end(f"{outcome.value!r} is among your models, and chosen for segmenting.")
        self._runner.find()

    def _show_failed(self, sentence: str) -> None:
        show_error(sentence)
        if not self._controller.is_busy:
            self.run.show_end("", sentence)

    def _show_runs(self, waiting: list[KeptRun], finished: list[KeptRun]) -> None:
        self._runs, controller = waiting, self._controller
        self.interrupted.show_runs(waiting, controller.is_busy, controller.folder)
        self.pairs.add.show_runs(finished)

    def _reveal(self, widget: QWidget) -> None:
        """Scroll to a widget, when it has got its place."""
        self._revealed = widget
        self._scroll.start()

    def _show_theme(self, _: object = None) -> None:
        self.run.show_theme()
        self.pairs.list.show_theme(self._theme())

    def _lay_out(self) -> None:
        self._result_group = group("4  Result", self.result)
        self._result_group.hide()
        self._area = scrolling(
            self.interrupted,
            group("1  Images and labels", self.pairs),
            group("2  Classes", self.classes),
            group("3  Model and training", self.model, self.budget, self.run),
            self._result_group,
            width=330,
        )
        self.setLayout(column_of(self._area, spacing=STYLE_SPACING))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
