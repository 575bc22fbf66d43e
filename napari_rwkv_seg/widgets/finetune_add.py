"""Add pairs: two open layers, a folder of images and masks, or what an earlier run has kept."""

import weakref
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_rwkv_seg.controllers.finetune_runs import KeptRun

from .controls import chosen_layer, combo_of
from .layouts import STYLE_SPACING, column_of, form_of
from .texts import describe


class AddPairs(QWidget):
    """The widgets of "Add pairs".

    Signals
    -------
    layers_wanted : (image layer, labels layer)
        The user wants these two as a pair.
    folder_wanted
        The user wants the pairs of files in folders.
    run_wanted : KeptRun
        The user wants the pairs of an earlier run.
    """

    layers_wanted = Signal(object, object)
    folder_wanted = Signal()
    run_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = combo_of("Image layer of the pair", "The image of the pair.")
        self.labels = combo_of("Labels layer of the pair", "The labels of the pair.")
        self.add_layers = QPushButton("Add these layers")
        self.add_folder = QPushButton("Add folders of files …")
        self.run = combo_of("Earlier run", "A run whose images and labels are to be used again.")
        self.add_run = QPushButton("Add its pairs")
        for button, hint in (
            (self.add_layers, "Learn from these two layers, too."),
            (
                self.add_folder,
                "Choose a folder of images, then one of masks.\n"
                "Files belong together that have the same name, with or without "
                "_mask, _labels or _seg.",
            ),
            (
                self.add_run,
                "Learn again from the images and labels that an earlier run has kept, "
                "as they were then.",
            ),
        ):
            describe((button, button.text(), hint))
        self._lay_out()
        self.add_layers.clicked.connect(self._on_layers)
        self.add_folder.clicked.connect(self.folder_wanted.emit)
        self.add_run.clicked.connect(lambda: self.run_wanted.emit(self.run.currentData()))

    def show_layers(self, images: Sequence[Any], labels: Sequence[Any]) -> None:
        """List the layers that can be chosen; the choice stays where it can."""
        for combo, layers in ((self.image, images), (self.labels, labels)):
            chosen = chosen_layer(combo)
            combo.clear()
            for layer in layers:
                combo.addItem(layer.name, weakref.ref(layer))
                if layer is chosen:
                    combo.setCurrentIndex(combo.count() - 1)
            combo.setEnabled(bool(layers))
        self.add_layers.setEnabled(bool(images) and bool(labels))

    def show_runs(self, runs: Sequence[KeptRun]) -> None:
        """List the runs whose pairs can be used again; without any, the row is not shown."""
        self.run.clear()
        for run in runs:
            taken = ", taken into use" if run.accepted else ""
            self.run.addItem(f"{run.when:%Y-%m-%d %H:%M} · {run.name}{taken}", run)
        for widget in (self.run, self.add_run, self._form.labelForField(self.run)):
            widget.setVisible(bool(runs))

    def _on_layers(self) -> None:
        image, labels = chosen_layer(self.image), chosen_layer(self.labels)
        if image is not None and labels is not None:
            self.layers_wanted.emit(image, labels)

    def _lay_out(self) -> None:
        self._form = form_of(
            ("Image", self.image),
            ("Labels", self.labels),
            self.add_layers,
            self.add_folder,
            ("Earlier run", self.run),
            self.add_run,
        )
        self.setLayout(column_of(self._form, spacing=STYLE_SPACING))
