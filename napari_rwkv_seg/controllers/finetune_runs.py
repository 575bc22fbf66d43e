"""The folders of runs: those that wait for a word of the user, and what becomes of a run.

A run that has no result, and on which no process works, was interrupted; it can be
resumed or discarded. A finished one gives its model to the user's models when the
user says so, and its pairs to later runs. Knows no Qt, no napari and no torch.
"""

import json
import shutil
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from napari_rwkv_seg.errors import OutputError, RunError, RwkvSegError
from napari_rwkv_seg.files import read_bytes
from napari_rwkv_seg.training.install import DECISION_FILE, install_model, note_decision
from napari_rwkv_seg.training.run_folder import RunFolder, locked, read_snapshot, runs_folder
from napari_rwkv_seg.training.run_settings import RunSettings
from napari_rwkv_seg.zoo.card import plain_text
from napari_rwkv_seg.zoo.store import list_models, user_folder

from .finetune_choices import free_name, slug
from .finetune_pairs import Checked, Meaning, Planes
from .finetune_story import EventTail, RunStory
from .shell import joined

RESULT_LIMIT = 10_000_000


@dataclass(frozen=True)
class KeptRun:
    """A run's folder as it was found.

    Parameters
    ----------
    folder : Path
        Where it lies.
    name : str
        Of its model.
    when : datetime
        When it was begun.
    steps : int
        How many steps it had come.
    accepted : bool
        Whether its model was taken into use.
    is_undecided : bool
        Whether it has ended with a model that was neither taken into use nor declined.
    pairs : int
        How many pairs it holds.
    sentence : str
        By what it failed, if that is why it ended.
    """

    folder: Path
    name: str
    when: datetime
    steps: int = 0
    accepted: bool = False
    is_undecided: bool = False
    pairs: int = 0
    sentence: str = ""


def find_runs(home: Path | None = None) -> tuple[list[KeptRun], list[KeptRun]]:
    """Return the runs that wait for a word, and the finished ones, newest first; never raises.

    The interrupted ones wait, and those of which nobody has said what is to become of their
    model. Runs on which a process works do not. Reads files: for a worker.
    """
    waiting, finished = [], []
    for folder in _run_folders(home or runs_folder()):
        run = RunFolder(folder)
        try:
            kept = _kept(run)
            if run.result.is_file():
                finished.append(kept)
            if (kept.is_undecided or not run.result.is_file()) and not is_live(folder):
                waiting.append(kept)
        except (RwkvSegError, OSError):  # no run, or one that nothing can be done about
            continue
    return waiting, finished


def _run_folders(home: Path) -> Iterator[Path]:
    """Yield the folders that may be runs, newest first."""
    try:
        folders = sorted((item for item in home.iterdir() if item.is_dir()), reverse=True)
    except OSError:
        return  # there has been no run yet
    yield from (folder for folder in folders if not folder.name.startswith("."))


def _kept(run: RunFolder) -> KeptRun:
    settings = run.settings()
    story = RunStory()
    for event in EventTail(run.events).read_all():
        story.hear(event)
    decision = _read_dict(run.path / DECISION_FILE)
    when = datetime.fromtimestamp(run.settings_file.stat().st_mtime).astimezone()
    return KeptRun(
        folder=run.path,
        name=settings.name,
        when=when,
        steps=story.step,
        accepted=bool(decision.get("model")),
        is_undecided="model" not in decision and run.result.is_file(),
        pairs=len(settings.pairs),
        sentence=story.sentence,
    )


def is_live(folder: Path) -> bool:
    """Return whether a process works on the run."""
    try:
        with locked(RunFolder(folder), wait_s=0):
            return False
    except RunError:
        return True


def discard_run(folder: Path) -> None:
    """Remove a run's folder; what cannot be removed is at least no run any more.

    Raises
    ------
    RunError
        If a process works on it: an offer to discard it may be older than that.
    OutputError
        If nothing can be removed.
    """
    if not folder.is_dir():
        return
    run = RunFolder(folder)
    with locked(run):
        try:
            run.settings_file.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"Cannot discard the run {str(folder)!r}: {reason}.") from error
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # Windows keeps a lock's file until it is let go


def read_result(folder: Path) -> dict[str, Any]:
    """Return the result of a run, or {} if it has none."""
    return _read_dict(RunFolder(folder).result)


def _read_dict(path: Path) -> dict[str, Any]:
    """Return what a JSON file says, or {} if there is none or it says something else."""
    try:
        content = json.loads(read_bytes(path, RESULT_LIMIT))
    except (RwkvSegError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def decline_model(folder: Path) -> None:
    """Note that the model of a run is not to be used; it stays in the run's folder."""
    note_decision(RunFolder(folder), None)


def command_line(folder: Path) -> str:
    """Return the command that repeats a run."""
    return joined(["napari-rwkv-seg", "finetune", str(RunFolder(folder).settings_file)])


def run_settings(folder: Path | None) -> RunSettings | None:
    """Return what a run was asked for; None if it cannot be read."""
    try:
        return RunFolder(folder).settings() if folder is not None else None
    except RwkvSegError:
        return None


def suggested_title(folder: Path) -> str:
    """Return a free name for the model of a run: its own, with a number if that is taken."""
    settings = run_settings(folder)
    name = settings.name if settings is not None else "model"
    return free_name(name, {entry.name for entry in list_models()})


def adopt_model(folder: Path, title: str) -> str:
    """Put the model of a run among the user's models; return its name there.

    Parameters
    ----------
    folder : Path
        The run's folder.
    title : str
        What the user calls it; the folder's name is made of it.

    Raises
    ------
    OutputError
        If the name is taken, or the folder cannot be written.
    RunError
        If the run has no model yet.
    ModelError
        If its model cannot be used.
    """
    name, run = slug(title), RunFolder(folder)
    if name.lower() in {entry.name.lower() for entry in list_models()}:
        raise OutputError(f"There is a model {name!r} already; choose another name.")
    install_model(run, user_folder() / name, title=plain_text(title, 80) or name)
    return name


class SnapshotSource:
    """The pairs of an earlier run, as it has kept them; what is checked was decided then.

    Parameters
    ----------
    run : KeptRun
        The run.

    Raises
    ------
    RwkvSegError
        If it cannot be read any more.
    """

    stack: tuple[int, ...] = ()
    problem = ""

    def __init__(self, run: KeptRun) -> None:
        self._run = RunFolder(run.folder)
        self.key: Hashable = str(run.folder)
        self.covers: tuple[Hashable, Hashable] = (self.key, None)
        self.image_name = f"{run.pairs} pair{'s' * (run.pairs != 1)} of an earlier run"
        self.labels_name = f"{run.name}, {run.when:%Y-%m-%d %H:%M}"
        settings = self._run.settings()
        self.means: Meaning | Literal[""] = settings.labels
        self.made_by = settings.model

    def planes(self, checked: Checked, *, copied: bool) -> Planes:
        """Return what reads the pairs; the files do not change, so nothing needs to be copied."""
        return lambda: iter(read_snapshot(self._run))

    def as_written(self) -> Callable[[], bool]:
        """Return what tells that an earlier run's labels are the user's own."""
        return lambda: False
