"""The dock "Segment with Med-URWKV": image, model, run, adjust, in one column.

Shows a `SegmentController` and a `ViewerLink`; decides nothing itself. Wishes
go down as calls, news comes up as signals, all on the main thread.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_rwkv_seg.controllers.segment import Job, Outcome, SegmentController
from napari_rwkv_seg.controllers.sentences import streamed_summary, summary
from napari_rwkv_seg.controllers.settings import OUTPUT_NAMES, OUTPUTS, SCOPES, recommended_labels
from napari_rwkv_seg.zoo.store import ModelEntry

from .closing import ClosingDock
from .controls import views_combo
from .image_picker import ImagePicker
from .job_row import JobRow
from .label_controls import LabelControls
from .layouts import STYLE_SPACING, column_of, form_of, group, scrolling
from .model_picker import ModelPicker
from .stream_row import StreamRow
from .texts import describe
from .viewer_link import ViewerLink

_HINTS = {
    "Run on": "The whole layer, or a part of the slice that is shown: all of it, "
    "what is in view, or the selected shapes of a Shapes layer.",
    "Output": "Classes: one number a class. Separate objects: one number an object.",
}


class SegmentDock(ClosingDock):
    """The dock's widgets and their wiring.

    Parameters
    ----------
    controller : SegmentController
        What is shown.
    link : ViewerLink
        Runs and cancels; closed together with the dock.
    list_models : callable
        Returns the models to choose from.
    """

    def __init__(
        self,
        controller: SegmentController,
        link: ViewerLink,
        list_models: Callable[[], Sequence[ModelEntry]],
    ) -> None:
        super().__init__()
        self._controller = controller
        self._link = link
        self._list_models = list_models
        self._picked = False
        self.image = ImagePicker(link.choice, controller)
        self.model = ModelPicker()
        self.scope = _choice("Run on", SCOPES, [one.capitalize() for one in SCOPES])
        self.output = _choice("Output", OUTPUTS, [OUTPUT_NAMES[one] for one in OUTPUTS])
        self.views = views_combo()
        self.stream = StreamRow()
        self.job = JobRow()
        self.labels = LabelControls(controller)
        self._lay_out()
        self._wire()
        self.reload_models()
        self._show_layers()
        self.destroyed.connect(link.close)  # the viewer's layers may outlive its window

    def reload_models(self) -> None:
        """List the models anew, and choose one if the chosen one is not there."""
        self.use_model(self._controller.settings.model)

    def use_model(self, name: str) -> None:
        """List the models anew, and choose `name`, or another if that is not there."""
        self.model.show_models(self._list_models())
        entry = self.model.first_usable(name)
        if entry is not None:
            self._pick_model(entry)
        self._show_settings()

    def close_link(self) -> None:
        """Cancel what runs and let go of the viewer; the dock is not used again."""
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections.clear()
        self._link.close()

    def end(self) -> None:
        """End the job; the dock can be used again where the window is."""
        self._link.stop()

    def on_shown(self) -> None:
        """List the models anew: one may have been added or taken away meanwhile."""
        self.reload_models()

    def on_removed(self) -> None:
        """Let go of the viewer; napari lets go of the dock, but does not delete it."""
        self.close_link()
        self.deleteLater()

    def _lay_out(self) -> None:
        form = form_of(("Run on", self.scope), ("Output", self.output), ("Views", self.views))
        area = scrolling(
            group("1  Image", self.image),
            group("2  Model", self.model),
            group("3  Run", form, self.stream, self.job),
            group("Adjust result", self.labels),
        )
        self.setLayout(column_of(area, spacing=STYLE_SPACING))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _wire(self) -> None:
        controller, link = self._controller, self._link
        # the user's wishes -> controller and link
        self.model.picked.connect(self._pick_model)
        self.scope.activated.connect(lambda i: controller.choose(scope=self.scope.itemData(i)))
        self.output.activated.connect(lambda i: controller.choose(output=self.output.itemData(i)))
        self.views.activated.connect(lambda i: controller.choose(views=self.views.itemData(i)))
        self.job.run_wanted.connect(link.run)
        self.job.cancel_wanted.connect(self._cancel)
        self.stream.folder_chosen.connect(lambda folder: controller.choose(store=folder))
        self.stream.copy_wanted.connect(link.copy_view)
        self.labels.probabilities_wanted.connect(link.show_probabilities)
        # news -> what is shown
        self._connections: list[tuple[Any, Callable[..., object]]] = [
            (controller.settings_changed, self._show_settings),
            (controller.started, self._show_started),
            (controller.progressed, self.job.show_progress),
            (controller.segmented, self._show_segmented),
            (controller.streamed, self._show_streamed),
            (controller.relabelled, self._show_relabelled),
            (controller.cancelled, self._show_cancelled),
            (controller.failed, self._show_failed),
            (link.choice.layers_changed, self._show_layers),
            (link.choice.chosen, self._show_layers),
        ]
        for signal, slot in self._connections:
            signal.connect(slot)

    def _pick_model(self, entry: ModelEntry) -> None:
        key = self.model.key(entry)
        if entry.card is not None and (key != self._controller.settings.model or not self._picked):
            if self._picked and self.model.is_renamed(entry):
                self._controller.choose(model=key)
                return
            self._picked = True
            kept = self._controller.kept
            labels = recommended_labels(entry.card)
            if kept is not None and kept.segmentation and kept.job.settings.model == key:
                labels = kept.segmentation.settings  # the last result stays as it was adjusted
            self._controller.choose(model=key, labels=labels)

    def _cancel(self) -> None:
        self.job.show_cancelling()
        self._controller.stop()

    def _show_layers(self) -> None:
        self.image.show_layers()
        self._show_settings()

    def _show_settings(self, _: object = None) -> None:
        settings = self._controller.settings
        facts = self._link.choice.facts()
        self.image.show_facts(facts)
        self.model.show_choice(settings.model)
        self.scope.setCurrentIndex(SCOPES.index(settings.scope))
        self.output.setCurrentIndex(OUTPUTS.index(settings.labels.output))
        self.views.setCurrentIndex(self.views.findData(settings.views))
        self.labels.show_settings(settings)
        self._show_kept()
        self.stream.show_forecast(self._link.forecast())
        self.stream.show_copy(self._link.has_streamed)
        self.job.name_start("Segment")
        self.job.show_problem(facts.problem or self.model.problem(settings.model))

    def _show_kept(self) -> None:
        """Say which result the controls of the labels act on."""
        kept, chosen = self._controller.kept, self._controller.settings
        if kept is None:
            self.labels.say_of()
            return
        made = kept.job.settings
        self.labels.say_of(
            Path(made.model).name if made.model != chosen.model else "",
            made.axes if made.axes != chosen.axes else "",
        )

    def _show_started(self, _: Job) -> None:
        self.watch()  # only now it is sure which window the dock is in
        self.job.show_running()

    def _show_segmented(self, outcome: Outcome) -> None:
        notes = outcome.segmentation.notes if outcome.segmentation else ()
        notes = [note for note in notes if note != outcome.running_on[1]]  # shown there already
        self._show_kept()
        self.job.show_device(outcome)
        self.job.show_end(self._summary(outcome), "\n".join(notes))

    def _show_streamed(self, outcome: Outcome) -> None:
        self._show_kept()
        self.job.show_device(outcome)
        if outcome.streamed is not None:
            self.job.show_end(streamed_summary(outcome.streamed), "\n".join(outcome.streamed.notes))
        self.stream.show_copy(True)

    def _show_relabelled(self, outcome: Outcome) -> None:
        self.job.show_summary(self._summary(outcome))

    def _summary(self, outcome: Outcome) -> str:
        return summary(outcome.segmentation, self._link.mask_of(outcome))

    def _show_cancelled(self, job: Job) -> None:
        folder = self._link.store if job.plan is not None else None
        if folder is None:
            self.job.show_end("Cancelled; your layers are as they were.")
            return
        self.job.show_end(f"Cancelled; what is done is kept in {folder}. Continue goes on there.")
        self.job.name_start("Continue")

    def _show_failed(self, sentence: str) -> None:
        is_running = self._controller.running is not None  # something else has failed
        (self.job.show_aside if is_running else self.job.show_end)("", sentence)
        show_error(sentence)


def _choice(name: str, values: Sequence[str], texts: Sequence[str]) -> QComboBox:
    """Return a list of fixed values."""
    combo = QComboBox()
    for value, text in zip(values, texts, strict=True):
        combo.addItem(text, value)
    describe((combo, name, _HINTS[name]))
    return combo
