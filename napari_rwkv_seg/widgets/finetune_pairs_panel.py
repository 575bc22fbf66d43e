"""Group "1 Images and labels": the pairs, what of them is checked, and how to add more."""

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_files import folder_rows
from napari_rwkv_seg.controllers.finetune_pairs import Checked, PairRow, with_plane
from napari_rwkv_seg.controllers.finetune_runs import KeptRun, SnapshotSource
from napari_rwkv_seg.controllers.finetune_sentences import NO_PAIRS, pairs_warning
from napari_rwkv_seg.errors import RwkvSegError

from .finetune_add import AddPairs
from .finetune_checked import CheckedChoice
from .finetune_layers import LayerPair
from .finetune_link import FinetuneLink
from .finetune_pairs import PairList
from .folding import Folding
from .layouts import column_of
from .texts import HINT, WARNING, Line


class PairsPanel(QWidget):
    """The widgets of the group and their wiring.

    Parameters
    ----------
    controller : FinetuneController
        Has the pairs.
    link : FinetuneLink
        Has the layers.

    Signals
    -------
    failed : str
        Why something could not be added.
    """

    failed = Signal(str)

    def __init__(self, controller: FinetuneController, link: FinetuneLink) -> None:
        super().__init__()
        self._controller = controller
        self._link = link
        self.choose_folder = self._ask_folder
        self.list = PairList()
        self.empty = Line("Where to begin")
        self.checked = CheckedChoice()
        self.warning = Line("Warning about the background", WARNING)
        self.note = Line("About files that were added", HINT)
        self.add = AddPairs()
        self.more = Folding("Add pairs", self.add)
        lines = (self.warning, self.note)
        self.setLayout(column_of(self.empty, self.list, self.checked, *lines, self.more))
        self._wire()

    def show_rows(self) -> None:
        """Show the pairs as they are."""
        rows = list(self._controller.rows)
        self.empty.say("" if rows else NO_PAIRS)
        self.list.show_rows(rows, self._controller.choices.labels)
        self.warning.say(pairs_warning(rows))
        self.show_checked()

    def show_checked(self) -> None:
        """Show what is checked of the selected pairs, if they are open layers."""
        rows = [row for row in self._chosen() if isinstance(row.source, LayerPair)]
        self.checked.show_rows(rows, self._link.drawings())

    def show_layers(self) -> None:
        """List the layers that can be added."""
        self.add.show_layers(self._link.images(), self._link.labels())

    def _wire(self) -> None:
        rows = self._controller.rows
        self.list.used.connect(rows.use)
        self.list.removed.connect(rows.remove)
        self.list.picked.connect(self.show_checked)
        self.checked.changed.connect(self._check)
        self.checked.boxes_wanted.connect(self._new_boxes)
        self.checked.plane_wanted.connect(self._add_plane)
        self.add.layers_wanted.connect(self._link.add_layers)
        self.add.folder_wanted.connect(self._add_folder)
        self.add.run_wanted.connect(self._add_run)

    def _chosen(self) -> list[PairRow]:
        found = (self._controller.rows.get(key) for key in self.list.chosen())
        return [row for row in found if row is not None]

    def _check(self, checked: Checked) -> None:
        for row in self._chosen():
            self._controller.rows.check(row.source.key, checked)

    def _new_boxes(self) -> None:
        layer = self._link.new_boxes()
        if layer is not None:
            self._check(Checked("inside these boxes", boxes=layer.unique_id))

    def _add_plane(self) -> None:
        for row in self._chosen():
            if isinstance(row.source, LayerPair) and row.source.stack:
                checked = with_plane(row.checked, row.source.shown_plane())
                self._controller.rows.check(row.source.key, checked)

    def _add_folder(self) -> None:
        images = self.choose_folder("Folder of images")
        masks = self.choose_folder("Folder of their masks (may be the same)") if images else ""
        if not masks:
            return
        try:
            rows, note = folder_rows(Path(images), Path(masks))
        except RwkvSegError as error:
            self.failed.emit(str(error))
            return
        self._controller.rows.add(rows)
        self.note.say(note)

    def _add_run(self, run: KeptRun) -> None:
        try:
            self._controller.rows.add([PairRow(SnapshotSource(run))])
        except RwkvSegError as error:
            self.failed.emit(str(error))

    def _ask_folder(self, title: str) -> str:
        return str(QFileDialog.getExistingDirectory(self, title))
