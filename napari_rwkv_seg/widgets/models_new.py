"""The question what a new model is to be: network, start, classes, channels."""

from qtpy.QtWidgets import QComboBox, QLineEdit, QSpinBox, QWidget

from napari_rwkv_seg.controllers.models_choices import (
    ARCHITECTURES,
    CHANNELS,
    MOST_CHANNELS,
    VARIANTS,
    fitting_encoders,
    listed_classes,
    suggested_name,
)
from napari_rwkv_seg.controllers.models_jobs import new_wish

from .models_asking import Act, Asking
from .models_classes import ClassesEdit
from .texts import HINT, Line, describe

_OTHER = "Another number"


class NewQuestion(Asking):
    """Asks for all that a new model needs.

    Parameters
    ----------
    begin : callable
        Is given the wish.
    encoder : str
        Key of the encoder to start from, if one was chosen; "" for random weights.
    """

    def __init__(self, begin: Act, encoder: str = "", parent: QWidget | None = None) -> None:
        super().__init__("New model", "Make the model", parent)
        self._begin = begin
        self.name = QLineEdit()
        self.architecture = QComboBox()
        for key, title in ARCHITECTURES.items():
            self.architecture.addItem(title, key)
        self.encoder = QComboBox()
        self.variant = QComboBox()
        self.channels = QComboBox()
        for title, count in CHANNELS.items():
            self.channels.addItem(title, count)
        self.channels.addItem(_OTHER, None)
        self.count = QSpinBox()
        self.count.setRange(1, MOST_CHANNELS)
        self.count.setValue(2)
        self.classes = ClassesEdit()
        self._hint = Line("What the choice means", HINT)
        self._lay_out()
        self.architecture.currentIndexChanged.connect(self._show_architecture)
        self.encoder.currentIndexChanged.connect(self._show_encoder)
        self.channels.currentIndexChanged.connect(self._show_channels)
        self.channels.setCurrentIndex(1)
        self._start_from(encoder)

    def act(self) -> None:
        """Begin to make it."""
        classes = listed_classes(self.classes.pairs())
        channels = self.channels.currentData()
        self._begin(
            new_wish(
                self.name.text().strip(),
                classes,
                encoder=self.encoder.currentData(),
                architecture=self.architecture.currentData(),
                variant=self.variant.currentText(),
                in_channels=self.count.value() if channels is None else channels,
            )
        )

    def _start_from(self, encoder: str) -> None:
        """Choose the encoder in a folder, and the network that it is a part of."""
        for index, key in enumerate(ARCHITECTURES):
            if encoder in {str(entry.folder) for entry in fitting_encoders(key)}:
                self.architecture.setCurrentIndex(index)
        self._show_architecture()
        self.encoder.setCurrentIndex(max(0, self.encoder.findData(encoder)))

    def _show_architecture(self) -> None:
        """Offer the encoders and the sizes of a network; the name follows unless it was typed."""
        architecture = self.architecture.currentData()
        if not self.name.isModified():
            self.name.setText(suggested_name(architecture))
        self.encoder.clear()
        self.encoder.addItem("Random weights", None)
        for entry in fitting_encoders(architecture):
            title = entry.card.title if entry.card is not None else ""
            self.encoder.addItem(f"{entry.name} ({title})", str(entry.folder))
        self._show_encoder()

    def _show_encoder(self) -> None:
        """Offer the sizes; an encoder has one."""
        architecture, folder = self.architecture.currentData(), self.encoder.currentData()
        found = [
            entry.card.variant
            for entry in fitting_encoders(architecture)
            if str(entry.folder) == folder and entry.card is not None
        ]
        self.variant.clear()
        self.variant.addItems(found or list(VARIANTS[architecture]))
        self.variant.setEnabled(not found)
        self._hint.say(
            "The encoder's weights are taken over, its first layer fitted to the channels; "
            "the rest begins with random numbers."
            if found
            else "All begins with random numbers: many labels and much time are needed. "
            "Better start from an encoder, or fine-tune a model that has learnt already."
        )

    def _show_channels(self) -> None:
        is_other = self.channels.currentData() is None
        self.count.setVisible(is_other)
        label = self.form.labelForField(self.count)
        if label is not None:
            label.setVisible(is_other)

    def _lay_out(self) -> None:
        for label, widget, hint in (
            ("Name", self.name, "Letters, digits, _ . -"),
            ("Network", self.architecture, "What the model is built as."),
            ("Start from", self.encoder, "A pretrained encoder that is here, or random weights."),
            ("Size", self.variant, "T is the smallest and fastest."),
            ("Channels", self.channels, "Of the images that it is for."),
            ("How many", self.count, "How many channels the images have."),
            ("Classes", self.classes, "What it is to tell apart, besides the background."),
        ):
            describe((widget, label, hint))
            self.form.addRow(label, widget)
        self.form.addRow(self._hint)
