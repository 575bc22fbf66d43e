"""The question which pretrained encoder to fetch: a list, all that is known, the address."""

from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QPlainTextEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_rwkv_seg.controllers.models_choices import read_mirror, write_mirror
from napari_rwkv_seg.controllers.models_jobs import get_wish
from napari_rwkv_seg.controllers.models_rows import Offer, list_offers, offer_text
from napari_rwkv_seg.errors import RwkvSegError, SettingsError

from .models_asking import Act, Asking
from .texts import HINT, Line, describe, tooltip

_COLUMNS = ("Encoder", "Size", "Licence", "Here")


class GetQuestion(Asking):
    """Shows what can be fetched; only its button Download fetches anything.

    Parameters
    ----------
    begin : callable
        Is given the wish.
    """

    def __init__(self, begin: Act, parent: QWidget | None = None) -> None:
        super().__init__("Get a pretrained encoder", "Download", parent)
        self._begin = begin
        self._offers = list_offers()
        self.setMinimumWidth(560)
        self.table = QTableWidget(len(self._offers), len(_COLUMNS))
        self.facts = QPlainTextEdit()
        self.facts.setReadOnly(True)
        self.facts.setFixedHeight(150)
        self.mirror = QLineEdit()
        self.mirror.setPlaceholderText("the authors' own address")
        self._fill()
        self._name_controls()
        self.column.insertWidget(0, self.table)
        self.column.insertWidget(1, self.facts)
        self.form.addRow("Mirror", self.mirror)
        hint = Line("What a mirror is", HINT)
        hint.say("Another server with the same files. It is kept for later downloads.")
        self.form.addRow(hint)
        self.ok.setAutoDefault(False)  # Enter in the address must not fetch anything
        self.table.itemSelectionChanged.connect(self._show_offer)
        self.mirror.editingFinished.connect(self._show_offer)
        try:
            self.mirror.setText(read_mirror())
        except SettingsError as error:
            self.problem.say(str(error))
        self.table.selectRow(0)

    @property
    def offer(self) -> Offer:
        """What is chosen."""
        return self._offers[max(0, self.table.currentRow())]

    def act(self) -> None:
        """Keep the address, and begin the download."""
        self._keep_mirror()
        self._begin(get_wish(self.offer.pretrained.name))

    def _keep_mirror(self) -> None:
        mirror = self.mirror.text().strip()
        if mirror != read_mirror():
            write_mirror(mirror)

    def _show_offer(self) -> None:
        """Show what is known of the chosen one, and whether the address can be used."""
        offer = self.offer
        self.facts.setPlainText(offer_text(offer, self.mirror.text().strip()))
        self.ok.setEnabled(not offer.is_here)
        self.ok.setText("Resume" if offer.nbytes_here and not offer.is_here else "Download")
        try:
            self._keep_mirror()
            self.problem.say("It is here already." if offer.is_here else "")
        except RwkvSegError as error:
            self.problem.say(str(error))

    def _fill(self) -> None:
        for row, offer in enumerate(self._offers):
            one = offer.pretrained
            for column, text in enumerate(
                (f"{one.title}: {one.trained_on}", f"{one.megabytes:g} MB", one.license,
                 offer.state)
            ):  # fmt: skip
                item = QTableWidgetItem(text)
                item.setToolTip(tooltip(text))
                self.table.setItem(row, column, item)

    def _name_controls(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(list(_COLUMNS))
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(24)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setTabKeyNavigation(False)
        table.setMinimumHeight(24 * (len(self._offers) + 1) + 8)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        describe(
            (table, "Encoders that can be fetched", ""),
            (self.facts, "About the chosen encoder", ""),
            (self.mirror, "Mirror", "https://… of a server with the same files."),
            (self.ok, "Download", "Fetch the chosen one. Cancelled, it goes on later."),
        )
