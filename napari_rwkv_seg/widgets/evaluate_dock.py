"""The dock "Evaluate": what is compared, how, and the scores, in one column.

Shows an `EvaluateController` and an `EvaluateLink`; decides nothing itself.
"""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.layers import Labels
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit, QMessageBox, QPushButton

from napari_rwkv_seg.controllers.evaluate import (
    MEANINGS,
    SAME_LAYER,
    WHATS,
    EvaluateController,
    Evaluated,
    EvaluateJob,
    table_path,
)
from napari_rwkv_seg.controllers.evaluate_layers import STACKS

from .closing import ClosingDock, Ending
from .controls import chosen_layer, combo_of
from .evaluate_link import EvaluateLink, facts_of
from .evaluate_result import EvaluateResult
from .evaluate_row import EvaluateRow
from .layouts import STYLE_SPACING, column_of, form_of, group, scrolling, widget_of
from .texts import describe, tooltip

_NAMES = {
    "layers": "Two layers",
    "folders": "Two folders of files",
    "classes": "Classes",
    "objects": "Separate objects",
    "body": "One body in 3-D",
    "planes": "Each plane on its own",
}
_HINTS = {
    "Compare": "Layers that are open, or folders whose files are matched by name.",
    "Prediction": "The labels that are to be judged.",
    "Truth": "The labels that are right.",
    "Numbers are": "Classes: one number a class. Separate objects: one number an object.",
    "Stacks": "A volume is one body: distances also go across planes. "
    "Frames over time are compared plane by plane.",
    "Tolerance": "How far a surface may be off for the surface Dice, such as 1.5 mm or 2 µm. "
    "Empty: one pixel.",
}


class EvaluateDock(ClosingDock):
    """The dock's widgets and their wiring.

    Parameters
    ----------
    controller : EvaluateController
        What is shown.
    link : EvaluateLink
        Has the layers; closed together with the dock.
    """

    def __init__(self, controller: EvaluateController, link: EvaluateLink) -> None:
        super().__init__()
        self._controller, self._link = controller, link
        self._is_chosen = False  # whether the user has chosen the layers
        self.ask_folder: Callable[[str], str] = self._ask_folder
        self.ask_file: Callable[[], str] = self._ask_file
        self.what = _choice("Compare", WHATS)
        self.found, self.true = _choice("Prediction", ()), _choice("Truth", ())
        self.found_folder, self.true_folder = (
            _button(f"{name} …", _HINTS[name]) for name in ("Prediction", "Truth")
        )
        self.means, self.stack = _choice("Numbers are", MEANINGS), _choice("Stacks", STACKS)
        self.tolerance = QLineEdit()
        self.tolerance.setPlaceholderText("one pixel")
        describe((self.tolerance, "Tolerance", _HINTS["Tolerance"]))
        self.run = EvaluateRow()
        self.result = EvaluateResult()
        self._lay_out()
        self._wire()
        self._show_layers()
        self.destroyed.connect(self._ending.close)  # the viewer's layers may outlive its window

    def end(self) -> None:
        """End all work, wait for it, and let go of the viewer; the dock is not used again."""
        self._ending.close()

    def _lay_out(self) -> None:
        self._layers = widget_of(form_of(("Prediction", self.found), ("Truth", self.true)))
        folders = form_of(("Prediction", self.found_folder), ("Truth", self.true_folder))
        self._folders = widget_of(folders)
        how = form_of(
            ("Numbers are", self.means), ("Stacks", self.stack), ("Tolerance", self.tolerance)
        )
        self._how = widget_of(how)
        what = widget_of(form_of(("Compare", self.what)))
        area = scrolling(
            group("1  Compare", what, self._layers, self._folders),
            group("2  How", self._how),
            group("3  Evaluate", self.run),
            group("Result", self.result),
            width=340,
        )
        self.setLayout(column_of(area, spacing=STYLE_SPACING))

    def _wire(self) -> None:
        controller, link = self._controller, self._link
        # the user's wishes -> controller and link
        self.what.activated.connect(lambda _: controller.choose(what=self.what.currentData()))
        self.means.activated.connect(lambda _: controller.choose(labels=self.means.currentData()))
        self.stack.activated.connect(lambda _: controller.choose(stack=self.stack.currentData()))
        self.tolerance.textChanged.connect(lambda text: controller.choose(tolerance=text.strip()))
        self.found.activated.connect(self._on_layer_chosen)
        self.true.activated.connect(self._on_layer_chosen)
        self.found_folder.clicked.connect(lambda: self._choose_folder("found"))
        self.true_folder.clicked.connect(lambda: self._choose_folder("true"))
        self.run.run_wanted.connect(self._run)
        self.run.cancel_wanted.connect(self._cancel)
        self.result.save_wanted.connect(self._save)
        self.result.differences_wanted.connect(link.show_differences)
        # news -> what is shown
        self._ending = Ending(link)
        self._ending.connect(
            (controller.choices_changed, self._show_choices),
            (controller.started, self._show_started),
            (controller.progressed, self.run.show_progress),
            (controller.evaluated, self._show_evaluated),
            (controller.cancelled, self._show_cancelled),
            (controller.failed, self._show_failed),
            (link.layers_changed, self._show_layers),
            (link.edited, self._show_outdated),
            (link.saved, self._show_saved),
        )

    def _run(self) -> None:
        self.watch()
        self._link.run(chosen_layer(self.found), chosen_layer(self.true))

    def _cancel(self) -> None:
        self.run.show_cancelling()
        self._controller.stop()

    def _save(self) -> None:
        if path := self.ask_file():
            self._link.save(Path(path))

    def _choose_folder(self, which: str) -> None:
        if path := self.ask_folder(which):
            self._controller.choose(**{which: Path(path)})

    def _on_layer_chosen(self, _: int) -> None:
        """Keep the user's choice, whatever layers come and go."""
        self._is_chosen = True
        self._take_what_layers_say()
        self._show_choices()

    def _take_what_layers_say(self) -> None:
        """Take what the chosen layers say of their numbers and axes."""
        facts = [
            facts_of(one) for one in (chosen_layer(self.found), chosen_layer(self.true)) if one
        ]
        told = {one.means for one in facts if one.means}
        changes: dict[str, Any] = {"labels": told.pop()} if len(told) == 1 else {}
        if facts:
            is_series = any(one.is_series for one in facts)
            changes["stack"] = "planes" if is_series else "body"
        self._controller.choose(**changes)

    def _show_layers(self) -> None:
        """List the layers; what the user chose stays chosen, else the likeliest pair is."""
        layers = self._link.layers()
        chosen = [chosen_layer(combo) for combo in (self.found, self.true)]
        wanted: list[Labels | None] = [*chosen]
        if not self._is_chosen or any(one not in layers for one in chosen):
            self._is_chosen = False
            wanted = [*self._link.likeliest()]
        for combo, layer in zip((self.found, self.true), wanted, strict=True):
            combo.clear()
            for one in layers:
                combo.addItem(one.name, weakref.ref(one))
            combo.setCurrentIndex(layers.index(layer) if layer in layers else -1)
        if chosen != wanted:
            self._take_what_layers_say()
        self._show_choices()

    def _show_choices(self, _: object = None) -> None:
        choices = self._controller.choices
        is_layers = choices.what == "layers"
        self.what.setCurrentIndex(WHATS.index(choices.what))
        self.means.setCurrentIndex(MEANINGS.index(choices.labels))
        self.stack.setCurrentIndex(STACKS.index(choices.stack))
        self._layers.setVisible(is_layers)
        self._folders.setVisible(not is_layers)
        for button, name, folder in (
            (self.found_folder, "Prediction", choices.found),
            (self.true_folder, "Truth", choices.true),
        ):
            button.setText(f"{folder.name} …" if folder else "Choose …")
            button.setToolTip(tooltip(f"{_HINTS[name]}\n{folder or ''}"))
        found, true = chosen_layer(self.found), chosen_layer(self.true)
        is_stack = is_layers and found is not None and found.ndim > 2
        for widget in (self.stack, self._how.layout().labelForField(self.stack)):
            widget.setVisible(is_stack)
        self.run.show_problem(self._problem(found, true))
        self._show_outdated()

    def _show_outdated(self) -> None:
        """Say whether the scores that are shown are those of what is chosen."""
        controller, link, was_said = self._controller, self._link, self.result.outdated.text()
        if controller.kept is None:
            return
        is_chosen = link.is_evaluated(chosen_layer(self.found), chosen_layer(self.true))
        self.result.show_outdated(link.edited_layer, is_chosen=is_chosen)
        if self.result.outdated.text() and not was_said and controller.running is None:
            self.run.status.say("")  # that it was done is no news of what is chosen now

    def _problem(self, found: Labels | None, true: Labels | None) -> str:
        is_layers = self._controller.choices.what == "layers"
        if is_layers and found is not None and found is true:
            return SAME_LAYER
        facts = [facts_of(one) if is_layers and one is not None else None for one in (found, true)]
        return self._controller.problem(facts[0], facts[1])

    def _show_started(self, _: EvaluateJob) -> None:
        self.run.show_running()

    def _show_evaluated(self, outcome: Evaluated) -> None:
        self.run.show_end("Done.")
        self.result.show_outcome(outcome)
        self._show_outdated()

    def _show_cancelled(self, _: EvaluateJob) -> None:
        self.run.show_end("Cancelled; your layers are as they were.")

    def _show_failed(self, sentence: str) -> None:
        self.run.show_end("", sentence)
        show_error(sentence)

    def _show_saved(self, path: str, problem: str) -> None:
        is_running = self._controller.running is not None
        show = self.run.show_aside if is_running else self.run.show_end
        show(f"Saved {path}" if path else "", problem)
        if problem:
            show_error(problem)

    def _ask_folder(self, which: str) -> str:
        name = "predictions" if which == "found" else "true labels"
        return QFileDialog.getExistingDirectory(self, f"Folder of {name}")

    def _ask_file(self) -> str:
        """Ask for a file; of a name without its ending, the dialog asks about another file."""
        title, start = "Save scores", "scores.csv"
        while path := QFileDialog.getSaveFileName(self, title, start, "Tables (*.csv)")[0]:
            table = table_path(Path(path))
            if table == Path(path) or not table.exists():
                return path
            question = f"{table.name} exists already. Replace it?"
            if QMessageBox.question(self, title, question) == QMessageBox.StandardButton.Yes:
                return path
            start = str(table)
        return ""


def _choice(name: str, values: Sequence[str]) -> QComboBox:
    """Return a list that does not grow with its longest entry."""
    return combo_of(name, _HINTS[name], [(_NAMES[value], value) for value in values])


def _button(name: str, hint: str) -> QPushButton:
    button = QPushButton()
    describe((button, f"Folder: {name}", hint))
    return button
