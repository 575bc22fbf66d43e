"""The button of "3 Evaluate", and how far an evaluation is."""

from qtpy.QtWidgets import QWidget

from napari_rwkv_seg.controllers.evaluate_table import comparing_line

from .run_row import RunRow, Words

_WORDS = Words("Evaluate", "Compare, and show the scores.", "Reading …", "step")


class EvaluateRow(RunRow):
    """Starts an evaluation, and says how far it is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_WORDS, parent)

    def show_progress(self, progress: object) -> None:
        """Show how far the job is."""
        self.show_fraction(progress.done, progress.total, comparing_line(progress))
