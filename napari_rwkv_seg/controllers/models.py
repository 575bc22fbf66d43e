"""What a user does with models: look, rename, delete and take back; have the rest done.

A `ModelsController` holds the list and at most one job. What is quick is done at
once, on files; what takes long is a `ModelJob`, a process that a worker thread
listens to. Knows no Qt, no napari and no torch.
"""

from collections.abc import Sequence
from pathlib import Path

from psygnal import Signal

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.zoo import manage
from napari_rwkv_seg.zoo.manage import Deleted

from .models_jobs import WORKER, Arrived, JobEnd, ModelJob, Wish
from .models_rows import ModelRow, list_rows


class ModelsController:
    """The models of one window.

    Parameters
    ----------
    command : sequence of str
        Starts the process that does what takes long.
    """

    listed = Signal()
    started = Signal(Wish)
    progressed = Signal(Arrived)
    ended = Signal(JobEnd)

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        self.rows: list[ModelRow] = []
        self.trash: list[Deleted] = []
        self.undoable: Deleted | None = None
        """What was deleted last in this window, until it is taken back."""
        self._command = command
        self._job: ModelJob | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None

    def refresh(self) -> None:
        """Look at the folders anew, and tell if anything has changed."""
        rows, trash = list_rows(), manage.list_deleted()
        if (rows, trash) == (self.rows, self.trash):
            return
        self.rows, self.trash = rows, trash
        if self.undoable not in trash:
            self.undoable = None
        self.listed.emit()

    def row(self, key: str) -> ModelRow | None:
        """Return the row of a folder; None if it is not there any more."""
        return next((row for row in self.rows if row.key == key), None)

    # What is done at once. Each raises what the function of the same name in `zoo.manage` does.

    def rename(self, key: str, new_name: str) -> str:
        """Give the model in the folder `key` another name, and return its new key."""
        entry = manage.rename(key, new_name)
        self.refresh()
        return str(entry.folder)

    def set_note(self, key: str, note: str) -> None:
        """Put a note on the card in the folder `key`; "" takes it off."""
        manage.set_note(key, note)
        self.refresh()

    def delete(self, key: str) -> None:
        """Put the model in the folder `key` into the trash."""
        self.undoable = manage.delete(key)
        self.refresh()

    def restore(self, deleted: Deleted) -> str:
        """Take something back out of the trash, and return its key."""
        folder = manage.restore(deleted)
        self.refresh()
        return str(folder)

    # What takes long.

    def begin(self, wish: Wish) -> ModelJob:
        """Start a process for a wish, and return what is to be driven by a worker thread.

        Raises
        ------
        SettingsError
            If a job is under way already, or no process can be started.
        """
        if self._job is not None:
            raise SettingsError(f"{self._job.wish.title} is still under way; wait or cancel it.")
        try:
            self._job = ModelJob(wish, self._command)
        except OSError as error:
            raise SettingsError(f"{wish.title} cannot be started: {error}.") from error
        self.started.emit(wish)
        return self._job

    def heard(self, arrived: Arrived) -> None:
        """Take note of progress."""
        self.progressed.emit(arrived)

    def finish(self, end: JobEnd | None) -> None:
        """Take note that the job has ended; None if the thread ended before it."""
        job, self._job = self._job, None
        if job is None:
            return
        job.end_now()
        self.refresh()
        self.ended.emit(end or JobEnd(job.wish))

    def cancel(self) -> None:
        """Ask the job to end; what is half made goes, what has been fetched stays."""
        if self._job is not None:
            self._job.leave()


def made_folder(end: JobEnd) -> Path | None:
    """Return the folder of the model or encoder that a job has made, if it has made one."""
    folder = end.result.get("folder")
    return Path(folder) if folder else None
