"""Questions that the models dock asks: a form, a line for what is wrong, OK and Cancel.

A question stays open until what it is to do could be done or begun, and says why not.
It never waits in an event loop of its own.
"""

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_rwkv_seg.controllers.models_choices import split_names
from napari_rwkv_seg.controllers.models_jobs import Wish, import_wish
from napari_rwkv_seg.errors import RwkvSegError, SettingsError

from .layouts import beside, form_of
from .texts import HINT, WARNING, Line, describe

Act = Callable[[Wish], object]
_FILES = "Checkpoints and models (*.pth *.pt *.safetensors *.zip);;All files (*)"


class Asking(QDialog):
    """A form with OK and Cancel; what inherits it says in `act` what OK does.

    Parameters
    ----------
    title : str
        Of the window.
    ok : str
        The word on the button.
    parent : QWidget
        The dock.
    """

    def __init__(self, title: str, ok: str, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(420)
        self.form = form_of()
        self.problem = Line("What is wrong", WARNING)
        self.ok = QPushButton(ok)
        self.ok.setAccessibleName(ok)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.buttons.addButton(self.ok, QDialogButtonBox.ButtonRole.AcceptRole)
        self.column = QVBoxLayout(self)
        self.column.addLayout(self.form)
        self.column.addWidget(self.problem)
        self.column.addWidget(self.buttons)
        self.buttons.accepted.connect(self._on_ok)
        self.buttons.rejected.connect(self.reject)

    def act(self) -> None:
        """Do or begin what was asked for; raises RwkvSegError if that cannot be."""

    def _on_ok(self) -> None:
        try:
            self.act()
        except RwkvSegError as error:
            self.problem.say(str(error))
            return
        self.accept()


class TextQuestion(Asking):
    """Asks for one line of text.

    Parameters
    ----------
    title, label : str
        Of the window, and of the line.
    text : str
        What stands there at first.
    do : callable
        Is given the text.
    """

    def __init__(
        self,
        title: str,
        label: str,
        text: str,
        do: Callable[[str], object],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(title, "OK", parent)
        self._do = do
        self.text = QLineEdit(text)
        self.text.setAccessibleName(label)
        self.text.selectAll()
        self.form.addRow(label, self.text)

    def act(self) -> None:
        """Hand the text over."""
        self._do(self.text.text().strip())


class ImportQuestion(Asking):
    """Asks what is to be imported, and under which name.

    Parameters
    ----------
    begin : callable
        Is given the wish.
    """

    def __init__(self, begin: Act, parent: QWidget | None = None) -> None:
        super().__init__("Import a model or a checkpoint", "Import", parent)
        self._begin = begin
        self.path = QLineEdit()
        self.file = QPushButton("File…")
        self.folder = QPushButton("Folder…")
        self.name = QLineEdit()
        self.name.setPlaceholderText("as the file")
        self.classes = QLineEdit()
        self.classes.setPlaceholderText("nucleus, membrane (only for a whole network)")
        self.form.addRow("What", beside(self.path, self.file, self.folder))
        self.form.addRow("Name", self.name)
        self.form.addRow("Classes", self.classes)
        hint = Line("What can be imported", HINT)
        hint.say(
            "Checkpoints of VRWKV and RWKV-UNet (.pth, .pt, .safetensors), recognised by their "
            "content; the zip file or the folder of a model. Nothing in a file is run."
        )
        self.form.addRow(hint)
        describe(
            (self.path, "File or folder to import", "A file or a folder."),
            (self.file, "Choose a file", "Choose a file."),
            (self.folder, "Choose a folder", "Choose the folder of a model or an encoder."),
            (self.name, "Name", "What to call it; numbered if the file's name is taken."),
            (
                self.classes,
                "Classes",
                "Names of the classes that a whole network tells apart, with commas.",
            ),
        )
        for button in (self.file, self.folder):
            button.setAutoDefault(False)
        self.file.clicked.connect(self._choose_file)
        self.folder.clicked.connect(self._choose_folder)

    def act(self) -> None:
        """Begin the import."""
        text = self.path.text().strip()
        if not text:
            raise SettingsError("Choose a file or a folder.")
        classes = split_names(self.classes.text())
        self._begin(import_wish(Path(text).expanduser(), self.name.text().strip(), classes))

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import", self.path.text(), _FILES)
        self.path.setText(path or self.path.text())

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Import", self.path.text())
        self.path.setText(path or self.path.text())
