"""The question how and where to a model is exported."""

from pathlib import Path

from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit, QPushButton, QSpinBox, QWidget

from napari_rwkv_seg.controllers.models_choices import (
    ENDINGS,
    FORMATS,
    SIZE,
    SIZED,
    formats_of,
    lacking,
)
from napari_rwkv_seg.controllers.models_jobs import export_wish
from napari_rwkv_seg.controllers.models_rows import ModelRow
from napari_rwkv_seg.errors import SettingsError

from .layouts import beside
from .models_asking import Act, Asking
from .texts import describe


class ExportQuestion(Asking):
    """Asks for a format and a place.

    Parameters
    ----------
    row : ModelRow
        What is exported.
    begin : callable
        Is given the wish.
    """

    def __init__(self, row: ModelRow, begin: Act, parent: QWidget | None = None) -> None:
        super().__init__(f"Export {row.entry.name}", "Export", parent)
        self._row, self._begin = row, begin
        self.format = QComboBox()
        for form in formats_of(row):
            self.format.addItem(FORMATS[form], form)
        self.size = QSpinBox()
        self.size.setRange(64, 2048)
        self.size.setSingleStep(32)
        self.size.setValue(SIZE)
        self.size.setSuffix(" pixels")
        self.target = QLineEdit()
        self.choose = QPushButton("Choose…")
        self.choose.setAutoDefault(False)
        self.form.addRow("Format", self.format)
        self.form.addRow("Image side", self.size)
        self.form.addRow("To", beside(self.target, self.choose))
        describe(
            (self.format, "Format", "Encoders go out as folders only."),
            (
                self.size,
                "Side of the image",
                "A graph takes images of this one size; bioimage.io's test image has it.",
            ),
            (self.target, "File or folder to write", "What is there already is not replaced."),
            (self.choose, "Choose where to write", "Choose where to write."),
        )
        self.format.currentIndexChanged.connect(self._show_format)
        self.choose.clicked.connect(self._choose)
        self._show_format()

    def act(self) -> None:
        """Begin the export."""
        text = self.target.text().strip()
        if not text:
            raise SettingsError("Choose where to write it.")
        form = self.format.currentData()
        folder = self._row.entry.folder
        self._begin(export_wish(folder, Path(text).expanduser(), form, self.size.value()))

    def _show_format(self) -> None:
        form = self.format.currentData()
        self.size.setVisible(form in SIZED)
        self.form.labelForField(self.size).setVisible(form in SIZED)
        missing = lacking(form)
        self.problem.say(missing)
        self.ok.setEnabled(not missing)
        if not self.target.isModified():  # not the user's own words yet
            self.target.setText(str(Path.home() / f"{self._row.entry.name}{ENDINGS[form]}"))

    def _choose(self) -> None:
        if self.format.currentData() == "folder":
            path = QFileDialog.getExistingDirectory(self, "Export into", self.target.text())
        else:
            # The dialog would offer to replace a file, which an export never does.
            plain = QFileDialog.Option.DontConfirmOverwrite
            path, _ = QFileDialog.getSaveFileName(self, "Export", self.target.text(), options=plain)
        if path:
            self.target.setText(path)
            self.target.setModified(True)
