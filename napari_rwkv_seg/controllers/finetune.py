"""What a user does who fine-tunes: choose, train, watch, stop, and take the new model or not.

A `FinetuneController` holds the choices and at most one run at a time. Training is
a process of its own; all that is known of it comes from its events, which `poll`
reads when a timer calls it. What takes long is in `finetune_work`, for a worker;
everything here is for the main thread and returns at once, but for `close`.
Knows no Qt, no napari and no torch.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from psygnal import Signal

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.training.run_folder import new_run_path
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import ModelEntry

from .finetune_choices import (
    FinetuneChoices,
    card_of,
    changed,
    guess_base,
    guess_classes,
    guess_meaning,
    suggested_name,
)
from .finetune_process import Command, TrainerProcess, trainer_command
from .finetune_rows import PairRows
from .finetune_runs import read_result
from .finetune_sentences import died, folder_away, what_is_missing
from .finetune_story import Ended, EventTail, How, RunStory
from .finetune_work import Attempt, RunJob

State = Literal["idle", "preparing", "training", "ended"]


class FinetuneController:
    """Choices, pairs and the present run of one window.

    Parameters
    ----------
    command : callable, optional
        Returns the command that trains the run in a folder.
    runs : Path, optional
        Where runs are kept; by default the user's data folder.
    """

    choices_changed = Signal(FinetuneChoices)
    state_changed = Signal(str)
    heard = Signal(RunStory)
    ended = Signal(Ended)
    failed = Signal(str)

    def __init__(self, command: Command = trainer_command, runs: Path | None = None) -> None:
        self.rows = PairRows()
        self.runs = runs
        self.models: Sequence[ModelEntry] = ()
        self.story = RunStory()
        self._command = command
        self._choices = FinetuneChoices()
        self._chosen: set[str] = set()
        self._state: State = "idle"
        self._job: RunJob | None = None
        self._folder: Path | None = None
        self._process: TrainerProcess | None = None
        self._tail: EventTail | None = None

    # What is chosen.

    @property
    def choices(self) -> FinetuneChoices:
        """The choices as they are now."""
        return self._choices

    @property
    def base(self) -> ModelCard | None:
        """The card of the model to start from; None if there is no such model."""
        return card_of(self._choices.model, self.models)

    def choose(self, **changes: Any) -> None:
        """Change choices by name; what is chosen here is not guessed any more.

        Raises
        ------
        SettingsError
            If a value lies outside its range; then nothing is changed.
        """
        self._set(changed(self._choices, **changes))
        self._chosen |= set(changes)

    def choose_model(self, key: str, models: Sequence[ModelEntry], *, picked: bool = True) -> None:
        """Start from another model; its classes are taken unless the user has made some.

        Parameters
        ----------
        key : str
            Its name or folder.
        models : sequence of ModelEntry
            All that there are.
        picked : bool
            Whether the user has picked it, so that it is not guessed any more.
        """
        self.models = models
        self._chosen |= {"model", "base's classes"} if picked else set()
        self._set(changed(self._choices, model=key))
        self.guess()

    def _follow_classes(self) -> None:
        """Take the classes by which labels were made, or the base's, unless the user made some."""
        is_base_wanted = "base's classes" in self._chosen
        made_by = None if is_base_wanted else guess_classes(list(self.rows), self.models)
        card = made_by or self.base
        if card is not None and "classes" not in self._chosen:
            self._set(changed(self._choices, classes=tuple(card.classes)))

    def base_classes(self) -> None:
        """Take the classes of the model to start from, and follow it again."""
        self._chosen = self._chosen - {"classes"} | {"base's classes"}
        self._follow_classes()

    def guess(self) -> None:
        """Guess the model to start from and what the numbers mean, unless the user has said it."""
        base = "" if "model" in self._chosen else guess_base(list(self.rows), self.models)
        if base and base != self._choices.model:
            self._set(changed(self._choices, model=base))
        self._follow_classes()
        if "labels" not in self._chosen:
            meaning = guess_meaning(list(self.rows), self.base)
            self._set(changed(self._choices, labels=meaning))

    def _set(self, choices: FinetuneChoices) -> None:
        if choices == self._choices:
            return
        before, self._choices = self._choices, choices
        self.choices_changed.emit(choices)
        if (before.labels, before.classes) != (choices.labels, choices.classes):
            self.rows.forget()

    # The run.

    @property
    def state(self) -> State:
        """Whether a run is prepared, under way, or has ended and waits for a word."""
        return self._state

    @property
    def is_busy(self) -> bool:
        """Whether a run is prepared or under way."""
        return self._state in ("preparing", "training")

    @property
    def folder(self) -> Path | None:
        """The folder of the run that is under way or was the last."""
        return self._folder

    @property
    def job(self) -> RunJob | None:
        """The run as it was asked for; None of one that was resumed."""
        return self._job

    def problem(self) -> str:
        """Return why no run can begin, in a sentence, or ""."""
        return what_is_missing(list(self.rows), self._choices, self.base)

    def begin(self) -> RunJob:
        """Take the pixels as they are now, and make a job of it; on the main thread.

        Raises
        ------
        RwkvSegError
            If something is missing; then nothing has begun.
        """
        if self.is_busy:
            raise SettingsError("A training is under way; stop it first.")
        problem = self.problem()
        if problem:
            raise SettingsError(problem)
        self._chosen.add("model")  # the next round starts from there, too
        name = suggested_name(self._choices.model, {entry.name for entry in self.models})
        settings = self._choices.settings(name)
        planes = tuple(
            (row.source.key, row.source.planes(row.checked, copied=True)) for row in self.rows.used
        )
        self._job = RunJob(settings, planes, new_run_path(name, self.runs))
        self.story = RunStory()
        self._enter("preparing")
        return self._job

    def resume(self, folder: Path) -> None:
        """Go on with a run that was interrupted; of one that has ended show the result."""
        if self.is_busy:
            return
        self._job, self._folder, self.story = None, folder, RunStory()
        if result := read_result(folder):
            self._end("finished", result=result)
        else:
            self._launch(folder)

    def _launch(self, folder: Path) -> None:
        """Train the run in a folder, or go on with it."""
        self.story = RunStory()
        self._folder = folder
        try:
            self._tail = EventTail(folder / "events.jsonl")
            self._tail.read_all()  # of a run that is resumed, what was told before
            self._process = TrainerProcess(folder, self._command)
        except OSError as error:
            self._end("failed", f"The training cannot be started: {error.strerror or error}.")
            return
        self._enter("training")

    def prepared(self, job: RunJob, attempt: Attempt[Path]) -> None:
        """Go on after `prepare`: train, or say why not."""
        if job is not self._job or self._state != "preparing":
            return
        if attempt.value is not None and not job.stopped.is_set():
            self._job = replace(job, planes=())  # the run's folder has the pixels
            self._launch(attempt.value)
            return
        self._enter("idle")
        if attempt.sentence:
            self.failed.emit(attempt.sentence)

    def poll(self) -> None:
        """Hear what the process has told since the last call; a timer calls this."""
        if self._process is None or self._tail is None:
            return
        is_alive = self._process.watch()
        events = self._tail.read() if is_alive else self._tail.read_all()
        for event in events:
            self.story.hear(event)
        if events:
            self._process.heard()
        if events or self._tail.is_away != bool(self.story.away):
            self.story.away = folder_away(self._folder) if self._tail.is_away else ""
            self.heard.emit(self.story)
        if self.story.is_over:
            self._process.leave()  # it has said its last word
        if not is_alive:
            self._gone()

    def stop(self) -> None:
        """Stop and keep the best so far."""
        if self._process is not None:
            self._process.stop()

    def cancel(self) -> None:
        """End the run at once; its folder is then of no use."""
        if self._state == "preparing" and self._job is not None:
            self._job.stopped.set()
            self._enter("idle")
        if self._process is not None:
            self._process.cancel()

    def preview(self, image: Path) -> bool:
        """Ask for the present prediction on the image in a file; return whether that was heard."""
        return self._process is not None and self._process.preview(image)

    def dismiss(self) -> None:
        """Be done with the last run; the old model stays."""
        if self._state == "ended":
            self._enter("idle")

    def close(self) -> None:
        """End what runs, so that it can be resumed later, and wait until no process is left."""
        if self._job is not None:
            self._job.stopped.set()
        if self._process is not None:
            self._process.end_now()
            self._process = None
        self._state = "idle"

    def _gone(self) -> None:
        """Tell how the run ended whose process has ended."""
        process, self._process = self._process, None
        result = read_result(self._folder) if self._folder else {}
        if process is not None and process.is_cancelled:
            self._end("cancelled")
        elif result:
            self._end("finished", result=result)
        elif self.story.phase == "failed":
            self._end("failed", self.story.sentence)
        else:
            self._end("failed", died(self.story, process.complaint() if process else ""))

    def _end(self, how: How, sentence: str = "", result: dict[str, Any] | None = None) -> None:
        folder = self._folder or Path()
        self._enter("ended" if how == "finished" else "idle")
        self.ended.emit(Ended(how, folder, result or {}, sentence))

    def _enter(self, state: State) -> None:
        self._state = state
        self.state_changed.emit(state)
