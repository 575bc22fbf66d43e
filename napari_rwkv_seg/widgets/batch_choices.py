"""Choose the images of a batch, and where and how results are written."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QLineEdit, QPushButton, QWidget

from napari_rwkv_seg.controllers.batch_control import SOURCES, BatchController
from napari_rwkv_seg.images.axes import AXES_CHOICES
from napari_rwkv_seg.images.saving import FORMATS

from .layouts import column_of, form_of, row_of
from .texts import HINT, Line, describe

if TYPE_CHECKING:
    from collections.abc import Callable

_SOURCES = {"folder": "A folder", "files": "Files", "layers": "Open image layers"}
_FORMATS = {
    "ome-tiff": "OME-TIFF",
    "png": "PNG",
    "nifti": "NIfTI",
    "ome-zarr": "OME-Zarr",
    "dicom-seg": "DICOM-SEG",
    "coco": "COCO JSON",
}


class BatchSource(QWidget):
    """The widgets of "1 Images".

    Parameters
    ----------
    controller : BatchController
        Is told every change.
    """

    def __init__(self, controller: BatchController) -> None:
        super().__init__()
        self._controller = controller
        self.ask_folder: Callable[[str], str] = self._ask_folder
        self.ask_files: Callable[[], list[str]] = self._ask_files
        self.source = _combo("Images", [(_SOURCES[one], one) for one in SOURCES])
        self.folder = PathRow("Folder of images", "Where to look for images, also in its folders.")
        self.pattern = QLineEdit()
        self.pattern.setPlaceholderText("all images; or **/*.tif")
        hint = "Which names count: * stands for any letters, **/ for any folders."
        describe((self.pattern, "Names of the images", hint))
        self.files = PathRow("Image files", "The files to segment.")
        self.files.line.setReadOnly(True)
        self.axes = _combo(
            "Axes", [("As each image says", ""), *((one, one) for one in AXES_CHOICES)]
        )
        hint = "The axes of every image from first to last: T time, Z depth, C channel, Y, X."
        describe((self.axes, "Axes of the images", hint))
        self.hint = Line("Which images are taken", HINT)
        self._form = form_of(
            ("Images", self.source),
            ("Folder", self.folder),
            ("Names", self.pattern),
            ("Files", self.files),
            ("Axes", self.axes),
        )
        self.setLayout(column_of(self._form, self.hint))
        choose = controller.choose
        self.source.activated.connect(lambda i: choose(source=self.source.itemData(i)))
        self.folder.line.textChanged.connect(lambda text: choose(folder=text))
        self.pattern.textChanged.connect(lambda text: choose(pattern=text))
        self.folder.browse.clicked.connect(self._on_folder)
        self.files.browse.clicked.connect(self._on_files)
        self.axes.activated.connect(lambda i: choose(axes=self.axes.itemData(i)))

    def show_wishes(self, layers: int) -> None:
        """Show the choices as they are."""
        wishes = self._controller.wishes
        self.source.setCurrentIndex(SOURCES.index(wishes.source))
        self.axes.setCurrentIndex(self.axes.findData(wishes.axes))
        for field, sources in (
            (self.folder, ("folder",)),
            (self.pattern, ("folder",)),
            (self.files, ("files",)),
        ):
            for widget in (field, self._form.labelForField(field)):
                widget.setVisible(wishes.source in sources)
        _set_text(self.folder.line, wishes.folder)
        _set_text(self.pattern, wishes.pattern)
        count = len(wishes.files)
        self.files.line.setText(f"{count} file{'s' * (count != 1)}" if count else "")
        self.hint.say(
            {
                "folder": "A .zarr folder and a folder of DICOM slices are one image each.",
                "files": "",
                "layers": f"{layers} image layer{'s' * (layers != 1)} open.",
            }[wishes.source]
        )

    def _on_folder(self) -> None:
        if folder := self.ask_folder(self._controller.wishes.folder):
            self._controller.choose(folder=folder)

    def _on_files(self) -> None:
        if files := self.ask_files():
            self._controller.choose(files=tuple(files))

    def _ask_folder(self, start: str) -> str:
        return QFileDialog.getExistingDirectory(self, "Folder of images", start)

    def _ask_files(self) -> list[str]:
        return list(QFileDialog.getOpenFileNames(self, "Image files")[0])


class BatchOutput(QWidget):
    """The widgets of "3 Results".

    Parameters
    ----------
    controller : BatchController
        Is told every change.
    """

    def __init__(self, controller: BatchController) -> None:
        super().__init__()
        self._controller = controller
        self.ask_folder: Callable[[str], str] = self._ask_folder
        self.out = PathRow("Folder for the results", "Made if it is missing.")
        formats = [(_FORMATS.get(one, one), one) for one in FORMATS]
        self.format = _combo("Format of the labels", formats)
        self.measure = _check(
            "Measure", "Area, place and intensity of every object, and a summary, as CSV files."
        )
        self.overlay = _check("Write pictures", "A PNG of every image with its labels.")
        self.overwrite = _check(
            "Do all anew", "Replace results that are there; otherwise they are kept."
        )
        form = form_of(
            ("Folder", self.out),
            ("Labels", self.format),
            row_of(self.measure, self.overlay),
            self.overwrite,
        )
        self.setLayout(form)
        choose = controller.choose
        self.out.line.textChanged.connect(lambda text: choose(out=text))
        self.out.browse.clicked.connect(self._on_folder)
        self.format.activated.connect(lambda i: choose(format=self.format.itemData(i)))
        self.measure.toggled.connect(lambda on: choose(measure=on))
        self.overlay.toggled.connect(lambda on: choose(overlay=on))
        self.overwrite.toggled.connect(lambda on: choose(overwrite=on))

    def show_wishes(self) -> None:
        """Show the choices as they are."""
        wishes = self._controller.wishes
        _set_text(self.out.line, wishes.out)
        self.format.setCurrentIndex(self.format.findData(wishes.format))
        self.measure.setChecked(wishes.measure)
        self.overlay.setChecked(wishes.overlay)
        self.overwrite.setChecked(wishes.overwrite)

    def _on_folder(self) -> None:
        wishes = self._controller.wishes
        start = wishes.out or str(Path(wishes.folder).parent)
        if folder := self.ask_folder(start):
            self._controller.choose(out=folder)

    def _ask_folder(self, start: str) -> str:
        return QFileDialog.getExistingDirectory(self, "Folder for the results", start)


class PathRow(QWidget):
    """A line for a path, and a button that lets the user pick one.

    Parameters
    ----------
    name, hint : str
        What the path is.
    """

    def __init__(self, name: str, hint: str) -> None:
        super().__init__()
        self.line = QLineEdit()
        self.browse = QPushButton("…")
        self.browse.setFixedWidth(32)
        describe(
            (self.line, name, f"{name}. {hint}"),
            (self.browse, f"Choose: {name}", f"Choose: {name}"),
        )
        self.setLayout(row_of(self.line, self.browse))


def _combo(name: str, items: list[tuple[str, str]]) -> QComboBox:
    combo = QComboBox()
    combo.setAccessibleName(name)
    for text, value in items:
        combo.addItem(text, value)
    return combo


def _check(text: str, hint: str) -> QCheckBox:
    check = QCheckBox(text)
    describe((check, text, hint))
    return check


def _set_text(line: QLineEdit, text: str) -> None:
    """Set a text only if it differs, so that the cursor stays where the user types."""
    if line.text() != text:
        line.setText(text)
