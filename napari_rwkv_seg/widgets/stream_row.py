"""What the dock says of an image that will be streamed, and what can be done about it."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from .layouts import column_of, row_of
from .texts import WARNING, Line, describe


class StreamRow(QWidget):
    """A sentence and two buttons; takes no room for images that are run whole.

    Signals
    -------
    folder_chosen : str
        The folder that is to hold results.
    copy_wanted
        The user wants to paint on what is in view.
    """

    folder_chosen = Signal(str)
    copy_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._forecast = Line("How this image is run", WARNING)
        self.folder = QPushButton("Keep results elsewhere …")
        self.copy = QPushButton("Editable copy of the view")
        describe(
            (
                self.folder,
                "Keep results elsewhere",
                "Choose the folder that streamed results are kept in.",
            ),
            (
                self.copy,
                "Editable copy of the view",
                "Copy what is in view of streamed labels into a layer that can be painted on.",
            ),
        )
        self.setLayout(column_of(self._forecast, row_of(self.folder, self.copy)))
        self.folder.clicked.connect(self._choose)
        self.copy.clicked.connect(self.copy_wanted.emit)
        self.show_forecast("")
        self.show_copy(False)

    @property
    def text(self) -> str:
        """What is said."""
        return self._forecast.text()

    def show_forecast(self, sentence: str) -> None:
        """Say how the image will be streamed; "" if it will not be."""
        self._forecast.say(sentence)
        self.folder.setVisible(bool(sentence))

    def show_copy(self, wanted: bool) -> None:
        """Offer a copy, if there is something to copy from."""
        self.copy.setVisible(wanted)

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Keep streamed results in")
        if folder:
            self.folder_chosen.emit(folder)
