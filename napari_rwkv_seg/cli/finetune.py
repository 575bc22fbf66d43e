"""The `finetune` command: make a run of what the user typed, show it, and say how it ended.

Progress goes to stderr; the scores and the folder of the new model go to stdout.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from napari_rwkv_seg.errors import CancelledError, SettingsError

from .speech import INTERRUPTED, say

Event = dict[str, Any]


@dataclass(frozen=True)
class FinetuneChoices:
    """What the user typed.

    Parameters
    ----------
    file : Path, optional
        A run's settings, or a run's folder to be done again from its snapshot.
    images, masks : Path, optional
        Folders, instead of a file.
    output : Path, optional
        Folder of the new model.
    wishes : dict
        Fields of `RunSettings` that were stated.
    classes : tuple of str
        Names of the foreground classes.
    run : Path, optional
        Folder of the run.
    resume : Path, optional
        Folder of a run to go on with; then nothing else counts.
    overwrite : bool
        Replace a model that is there.
    """

    file: Path | None = None
    images: Path | None = None
    masks: Path | None = None
    output: Path | None = None
    wishes: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    run: Path | None = None
    resume: Path | None = None
    overwrite: bool = False


def finetune(choices: FinetuneChoices) -> None:
    """Do what the user typed, and write the result to stdout.

    Raises
    ------
    RwkvSegError
        If the run cannot be set up or fails.
    typer.Exit
        With code 130, if it was cancelled.
    """
    from napari_rwkv_seg.training.api import finish
    from napari_rwkv_seg.training.control import Control
    from napari_rwkv_seg.training.process import settle_process, stopping_on_signals
    from napari_rwkv_seg.training.run_folder import RunFolder

    run = RunFolder(choices.resume) if choices.resume else _begun(choices)
    control = Control()
    settle_process()
    try:
        with stopping_on_signals(control), _progress() as show:
            done = finish(run, show, control, overwrite=choices.overwrite)
    except CancelledError:
        say(f"Cancelled; no model was made. To go on: finetune --resume {str(run.path)!r}")
        raise typer.Exit(INTERRUPTED) from None
    except BaseException:
        say(f"The run is in {str(run.path)!r}.")
        raise
    typer.echo(done.sentence)
    for name, after in done.after["classes"].items():
        before = done.before["classes"].get(name)
        typer.echo(f"  {name}: {'new' if before is None else f'{before:.3f}'} → {after:.3f}")
    typer.echo(str(done.model))


def _begun(choices: FinetuneChoices) -> Any:
    """Make the run's folder."""
    from napari_rwkv_seg.training.api import begin, class_cards, pairs_in
    from napari_rwkv_seg.training.pair_files import read_pairs
    from napari_rwkv_seg.training.run_settings import make_settings, read_settings, settled

    wishes = dict(choices.wishes)
    if choices.output is not None:
        output = choices.output.absolute()
        wishes |= {"name": output.name, "output": str(output)}
    if choices.file is not None:
        if choices.images or choices.masks:
            raise SettingsError("Give a file or --images and --masks, not both.")
        stated = settled(read_settings(choices.file), choices.file.parent)
        if "model" in wishes:
            wishes["model"] = _model(wishes["model"])
        settings = make_settings(**stated.model_dump() | wishes)
        pairs = pairs_in(settings)
    else:
        if not (choices.images and choices.masks and choices.output):
            raise SettingsError(
                "Say what to learn from and where the model is to go: a file, "
                "or --images, --masks and -o."
            )
        settings = settled(make_settings(**wishes), Path.cwd())
        found = read_pairs(choices.images, choices.masks)
        for note in found.notes:
            say(note)
        pairs = list(found.pairs)
    if choices.classes:
        cards = class_cards(choices.classes, settings.model)
        settings = make_settings(**settings.model_dump() | {"classes": cards})
    return begin(settings, pairs, choices.run, overwrite=choices.overwrite)


def _model(model: str) -> str:
    """Return a model's folder as an absolute path, and its name as it is."""
    return str(Path(model).absolute()) if Path(model).is_dir() else model


@contextmanager
def _progress() -> Iterator[Callable[[Event], None]]:
    """Show a bar on stderr while the run goes on; sentences alone where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda event: _say_event(event, say)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("starting", total=None)

        def show(event: Event) -> None:
            if event["event"] == "step":
                used, left = event["seconds"], event["left"]
                total = None if left is None else used + left
                text = f"step {event['step']}, loss {event['loss']:.3f}"
                bars.update(bar, description=text, completed=used, total=total)
            _say_event(event, lambda text: console.print(text, markup=False, highlight=False))

        yield show


def _say_event(event: Event, out: Callable[[str], None]) -> None:
    """Say what is worth a line."""
    wording = _SENTENCES.get(event["event"])
    if wording is not None and (sentence := wording(event)):
        out(sentence)


def _validated(event: Event) -> str:
    if event["score"] is None:
        return ""
    what = "the model started from" if event["base"] else f"step {event['step']}"
    return f"Dice {event['score']:.3f} ({what}){', best so far' if event['best'] else ''}"


_SENTENCES: dict[str, Callable[[Event], str]] = {
    "prepared": lambda event: "\n".join([event["sentence"], *event.get("warnings", ())]),
    "started": lambda event: (
        f"{'Going on' if event['resumed'] else 'Training'} from {event['model']}: "
        f"{event['depth']}, {event['device']}, seed {event['seed']}."
    ),
    "validated": _validated,
    "lighter": lambda event: str(event["what"]),
    "waiting": lambda event: str(event["what"]),
    "stopping": lambda _: "Stopping; the best so far is kept. Once more to end without a model.",
}
