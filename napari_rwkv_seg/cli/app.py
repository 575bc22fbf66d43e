"""The commands and their options; the work is done elsewhere.

Results go to stdout, so that they can be piped; progress, notes and errors go
to stderr.
"""

from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from napari_rwkv_seg.waiting import wait_briefly

from . import evaluate, journal, models
from .segment import Device, Output, segment
from .speech import escape_on_stdout, say_errors

app = typer.Typer(
    name="napari-rwkv-seg",
    help="Segment images with RWKV U-Nets: the same work as the napari plugin's, without a window.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models.app)
app.add_typer(evaluate.app)
app.add_typer(journal.app, name="journal")


def main() -> None:
    """Run the command line."""
    escape_on_stdout()
    wait_briefly()
    app()


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("napari-rwkv-seg"))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


app.command()(segment)


class Orientation(StrEnum):
    """Whether objects may lie any way round; `auto` as the model to start from says."""

    AUTO = "auto"
    ANY = "any"
    FIXED = "fixed"


class Depth(StrEnum):
    """How much of the network is trained; `auto` decides by the labelled pixels."""

    AUTO = "auto"
    HEAD = "head"
    DECODER = "decoder"
    EVERYTHING = "everything"


@app.command()
def finetune(  # noqa: PLR0913 - the options of a command are its parameters
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN.toml]", help="Settings of a run.", show_default=False),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of images.")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of labels, named like the images.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the new model, named after it.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model to start from, or its folder.", show_default="the shipped one"),
    ] = None,
    labels: Annotated[
        Output | None,
        typer.Option(help="What the numbers in the labels are.", show_default="classes"),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="Name of class 1, of class 2, and so on.",
            show_default="those of the model",
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Of the whole run.", show_default="5, on a GPU 2")
    ] = None,
    depth: Annotated[
        Depth | None, typer.Option(help="What is trained.", show_default="auto")
    ] = None,
    orientation: Annotated[
        Orientation | None,
        typer.Option(
            help="fixed where the side tells classes apart, such as left and right: images are "
            "then not turned and mirrored.",
            show_default="as the model to start from says",
        ),
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="Where to train.", show_default="auto")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of everything random.", show_default="42")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="in the user's data")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in a folder.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is there already.")
    ] = False,
) -> None:
    """Train a model further on your labels; held-out labels say whether it became better.

    Ctrl+C stops and keeps the best; once more ends without a model.
    """
    from .finetune import FinetuneChoices
    from .finetune import finetune as run_command

    wishes = {
        "model": model,
        "labels": labels,
        "minutes": minutes,
        "depth": depth,
        "orientation": orientation,
        "device": device,
        "seed": seed,
    }
    choices = FinetuneChoices(
        file=file,
        images=images,
        masks=masks,
        output=out,
        wishes={name: value for name, value in wishes.items() if value is not None},
        classes=tuple(classes or ()),
        run=run,
        resume=resume,
        overwrite=overwrite,
    )
    with say_errors():
        run_command(choices)


@app.command()
def doctor() -> None:
    """Say what this installation consists of: versions, device, WKV, memory, models."""
    from napari_rwkv_seg.controllers.doctor import doctor_report

    with say_errors():
        facts = doctor_report()
    width = max(len(name) for name, _ in facts)
    for name, fact in facts:
        typer.echo(f"{name:<{width}}  {fact}")
