"""What a user does who segments many images: choose, start, cancel, continue.

A `BatchController` holds the choices and the rows. The work is a generator that any
thread may run; news is told on the thread that calls `hear` and `finish`, so a
window calls these on its own. Knows no Qt, no napari and no torch.
"""

import glob
import logging
import os
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from psygnal import Signal

from napari_rwkv_seg.errors import SettingsError

from .batch import Batch, batch_steps
from .batch_choices import BatchChoices
from .batch_items import BatchItem
from .batch_rows import Row, Table
from .batch_run import News
from .segment import SegmentController
from .sentences import mishap
from .settings import SegmentSettings
from .shell import joined

_log = logging.getLogger(__name__)

Source = Literal["folder", "files", "layers"]
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True)
class BatchWishes:
    """Which images, and what is written where.

    Parameters
    ----------
    source : "folder", "files" or "layers"
        What the images are.
    folder : str
        Where to look for them.
    pattern : str
        Which names count there; "" for all images.
    files : tuple of str
        The files.
    axes : str
        Meaning of the axes of every image; "" for what each says.
    out : str
        Folder for the results.
    format : str
        How labels are saved.
    measure, overlay, overwrite : bool
        As in `BatchChoices`.
    """

    source: Source = "folder"
    folder: str = ""
    pattern: str = ""
    files: tuple[str, ...] = ()
    axes: str = ""
    out: str = ""
    format: str = "ome-tiff"
    measure: bool = True
    overlay: bool = False
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class BatchJob:
    """One run of a batch, as it was asked for."""

    batch: Batch
    stopped: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class BatchOutcome:
    """How a run ended: with a table, by a sentence, or (neither) cancelled."""

    job: BatchJob
    table: Table | None = None
    sentence: str = ""


class BatchController:
    """Choices, rows and the run of one window.

    Parameters
    ----------
    settings : SegmentController, optional
        Holds model, device and how labels are made; it runs nothing itself.
    """

    changed = Signal()
    started = Signal()
    rows_changed = Signal(tuple)  # of Row; all rows when a run begins
    progressed = Signal(object)  # a Progress of the image that runs
    noted = Signal(str)  # what is worth knowing, while it goes on
    ended = Signal(BatchOutcome)

    def __init__(self) -> None:
        self.settings = SegmentController()
        self._wishes = BatchWishes()
        self._table = Table()
        self._job: BatchJob | None = None

    @property
    def wishes(self) -> BatchWishes:
        """The choices as they are now, besides those of `settings`."""
        return self._wishes

    @property
    def table(self) -> Table:
        """The rows of the last run."""
        return self._table

    @property
    def running(self) -> BatchJob | None:
        """The run that is under way."""
        return self._job

    @property
    def can_continue(self) -> bool:
        """Whether the last run of the images that are chosen has left some undone."""
        return any(row.state == "waiting" for row in self._table.rows)

    def choose(self, **changes: Any) -> None:
        """Change wishes by name."""
        wishes = replace(self._wishes, **changes)
        if wishes != self._wishes:
            if {"source", "folder", "pattern", "files", "out"} & changes.keys():
                self._table = Table()
                self.rows_changed.emit(())
            self._wishes = wishes
            self.changed.emit()

    def problem(self, layers: int = 0) -> str:
        """Return what is missing before a run can begin, or ""."""
        wishes = self._wishes
        missing = {
            "folder": "" if wishes.folder.strip() else "Choose a folder of images.",
            "files": "" if wishes.files else "Choose image files.",
            "layers": "" if layers else "Open an image layer first.",
        }[wishes.source]
        return missing or ("" if wishes.out.strip() else "Choose a folder for the results.")

    def begin(self, layers: Sequence[BatchItem] = ()) -> BatchJob:
        """Make a run of the choices as they are.

        Parameters
        ----------
        layers : sequence of BatchItem
            The images, where they are layers.

        Raises
        ------
        SettingsError
            If something is missing, or a run is under way.
        """
        if self._job is not None:
            raise SettingsError("A batch is running; cancel it first.")
        if problem := self.problem(len(layers)):
            raise SettingsError(problem)
        images = list(layers) if self._wishes.source == "layers" else self._images()
        choices = choices_of(self.settings.settings, self._wishes)
        self._table = Table()
        self._job = BatchJob(Batch(images, Path(self._wishes.out).expanduser(), choices))
        self.started.emit()
        return self._job

    def steps(self, job: BatchJob) -> Generator[News, None, BatchOutcome]:
        """Do a run's work, step by step, in whatever thread runs the generator; never raises."""
        try:
            with closing(batch_steps(job.batch)) as steps:
                while True:
                    news = next(steps)
                    if job.stopped.is_set():
                        return BatchOutcome(job)
                    yield news
        except StopIteration as end:
            return BatchOutcome(job, table=end.value)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - a job's boundary: even SystemExit in a library must end it
            _log.exception("A batch ended by an error")
            return BatchOutcome(job, sentence=mishap(error))

    def hear(self, job: BatchJob, news: News) -> None:
        """Take in what has changed, and tell it."""
        if job is not self._job:
            return
        if not self._table.rows:
            self._table = Table(list(news.rows))
        for row in news.rows:
            self._table.put(row)
        if news.rows:
            self.rows_changed.emit(news.rows)
        if news.step is not None:
            self.progressed.emit(news.step)
        for note in news.notes:
            self.noted.emit(note)

    def finish(self, job: BatchJob, outcome: BatchOutcome | None) -> None:
        """Take in how a run ended; None if it was closed before it could say so."""
        if job is not self._job:
            return
        self._job = None
        if outcome is not None and outcome.table is not None:
            self._table = outcome.table
        stopped = [row for row in self._table.rows if row.state == "running"]
        for row in stopped:
            self._table.put(replace(row, state="waiting"))
        self.rows_changed.emit(tuple(self._table.rows[row.number] for row in stopped))
        self.ended.emit(outcome or BatchOutcome(job))

    def stop(self) -> None:
        """Tell the run to end after its present tile."""
        if self._job is not None:
            self._job.stopped.set()

    def labels_of(self, row: Row) -> Path | None:
        """Return where the labels of an image are, if it has any."""
        return Path(self._wishes.out).expanduser() / row.labels if row.labels else None

    def command(self) -> str:
        """Return the command that does the same; "" for layers, which no command can read."""
        if self._wishes.source == "layers" or self.problem():
            return ""
        choices = choices_of(self.settings.settings, self._wishes)
        return joined(
            [
                *("napari-rwkv-seg", "segment", *map(str, self._images())),
                *("-o", str(Path(self._wishes.out).expanduser())),
                *options_of(choices),
            ]
        )

    def _images(self) -> list[str]:
        """Return the files, or the folder or pattern."""
        wishes = self._wishes
        if wishes.source == "files":
            return list(wishes.files)
        folder = Path(wishes.folder).expanduser()
        pattern = wishes.pattern.strip()
        return [os.path.join(glob.escape(str(folder)), pattern) if pattern else str(folder)]


def choices_of(settings: SegmentSettings, wishes: BatchWishes) -> BatchChoices:
    """Return what is done with every image."""
    labels = settings.labels.to_dict()
    labels.pop("output")
    return BatchChoices(
        model=settings.model,
        device=settings.device,
        output=settings.labels.output,
        wishes=labels,
        axes=wishes.axes or None,
        views=settings.views,
        format=wishes.format,
        measure=wishes.measure,
        overlay=wishes.overlay,
        overwrite=wishes.overwrite,
    )


def options_of(choices: BatchChoices) -> list[str]:
    """Return choices as options of the command `segment`."""
    options = ["--model", choices.model, "--output", choices.output]
    options += ["--device", choices.device] if choices.device != "auto" else []
    options += ["--axes", choices.axes] if choices.axes else []
    for name, value in choices.wishes.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            options.append(option if value else option.replace("--", "--no-", 1))
        else:
            options += [option, str(value)]
    options += ["--directions", choices.directions] if choices.directions != "Z" else []
    options += ["--views", str(choices.views)] if choices.views != 1 else []
    options += ["--format", choices.format] if choices.format != "ome-tiff" else []
    flags = {"measure": choices.measure, "overlay": choices.overlay}
    flags["overwrite"] = choices.overwrite
    return options + [f"--{name}" for name, wanted in flags.items() if wanted]
