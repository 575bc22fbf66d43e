"""The button of "3 Run" in the dock that segments, with what it ran on."""

from qtpy.QtWidgets import QWidget

from napari_rwkv_seg.controllers.segment import Outcome
from napari_rwkv_seg.controllers.sentences import progress_line

from .run_row import RunRow, Words
from .texts import HINT, Line

_WORDS = Words("Segment", "Run the model and add the labels as a layer.", "Preparing …", "tile")


class JobRow(RunRow):
    """Starts a segmentation, and says how far it is and where it ran."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_WORDS, parent)
        self.device = Line("Running on", HINT)
        layout = self.layout()
        if layout is not None:  # it has one
            layout.addWidget(self.device)

    def show_progress(self, progress: object) -> None:
        """Show how far the job is."""
        self.show_fraction(progress.done, progress.total, progress_line(progress))

    def show_summary(self, status: str) -> None:
        """Show what the adjusted result holds, unless a job has more to say."""
        if not self._is_running:
            self.status.say(status)

    def show_device(self, outcome: Outcome) -> None:
        """Show what the job ran on, and why not on something faster."""
        where, reason = outcome.running_on
        self.device.say(
            "\n".join(line for line in (where and f"Running on: {where}", reason) if line)
        )
