"""The commands by which models come and go: `import`, `export`, `get`, `new`, `mirror`.

Names and folders go to stdout, notes and progress to stderr.
"""

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .speech import say, say_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_rwkv_seg.zoo.card import ClassCard
    from napari_rwkv_seg.zoo.download import Report
    from napari_rwkv_seg.zoo.pretrained import Pretrained

Name = Annotated[str, typer.Argument(help="Name of a model or a pretrained encoder.")]


def add_to(app: typer.Typer) -> None:
    """Give `app` the commands of this file."""
    app.command("import")(import_)
    for command in (export, get, mirror, new):
        app.command()(command)


def import_(
    file: Annotated[
        Path, typer.Argument(help="A checkpoint (.pth), a model's zip file, or a model folder.")
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it.", show_default="from the file")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes, with commas between them.")
    ] = None,
    misfits: Annotated[
        bool, typer.Option("--misfits", help="If it does not fit, print every key that does not.")
    ] = False,
) -> None:
    """Keep a checkpoint of the authors, or somebody's model, among your models."""
    from napari_rwkv_seg.errors import MisfitError
    from napari_rwkv_seg.zoo.exchange import import_any

    with say_errors():
        try:
            imported = import_any(file, name=name, classes=_names(classes))
        except MisfitError as error:
            if misfits:
                typer.echo("\n".join(error.misfits))
            raise
        for each in imported.notes:
            say(each)
        if imported.kind == "encoder":
            say("This is a pretrained encoder: make a model on it with `models new`.")
        typer.echo(str(imported.folder))


class Format(StrEnum):
    """What a model is written as."""

    ZIP = "zip"
    FOLDER = "folder"
    BIOIMAGEIO = "bioimageio"
    ONNX = "onnx"
    TORCH = "torch"


def export(
    name: Name,
    target: Annotated[Path, typer.Argument(help="The file to write, or a folder for it.")],
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="zip, folder: the model's folder, for this program. bioimageio: a package "
            "for bioimage.io. onnx, torch: a graph (.onnx, .pt2) for images of one size.",
        ),
    ] = Format.ZIP,
    size: Annotated[
        int, typer.Option(help="Sides of the graph's image, or of the test image, in pixels.")
    ] = 256,
) -> None:
    """Write a model for others, or for other programs."""
    from napari_rwkv_seg.zoo.exchange import export_any

    with say_errors():
        written = export_any(name, target, format_.value, size)
        if written.note:
            say(written.note)
        typer.echo(str(written.path))


def get(
    name: Annotated[
        str | None, typer.Argument(help="Which encoder.", show_default="list them all")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch it; without this it is only described.")
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(help="Address of a server with the same files.", show_default="as set"),
    ] = None,
) -> None:
    """Describe pretrained encoders that can be fetched; with --download, fetch one."""
    from napari_rwkv_seg.zoo.pretrained import PRETRAINED, find_pretrained, get_encoder

    from .listing import pretrained_line

    with say_errors():
        for each in (find_pretrained(name),) if name else PRETRAINED:
            (say if download else typer.echo)(pretrained_line(each))
        if name and not download:
            say(f"Nothing was fetched. To fetch it: napari-rwkv-seg models get {name} --download")
        if name and download:
            with _bytes_bar(find_pretrained(name)) as report:
                entry = get_encoder(name, mirror=mirror, report=report)
            typer.echo(str(entry.folder))


def mirror(
    address: Annotated[
        str | None,
        typer.Argument(help='A server with the same files; "" for the authors\'.'),
    ] = None,
) -> None:
    """Say or set the address that pretrained encoders are fetched from."""
    from napari_rwkv_seg.zoo.preferences import read_mirror, write_mirror

    with say_errors():
        if address is not None:
            write_mirror(address)
        typer.echo(read_mirror() or "the authors' own servers")


def new(  # noqa: PLR0913 - the options of a command are its parameters
    name: Annotated[str, typer.Argument(help="What to call the model.")],
    classes: Annotated[
        str,
        typer.Option(
            help="The classes besides the background, with commas: a name, or name=#rrggbb."
        ),
    ],
    architecture: Annotated[str, typer.Option(help="med_urwkv or rwkv_unet.")] = "med_urwkv",
    variant: Annotated[
        str | None, typer.Option(help="Its size: T, S, B, L.", show_default="the encoder's, or T")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="A pretrained encoder's name.", show_default="random weights"),
    ] = None,
    channels: Annotated[str, typer.Option(help="grey, rgb, or how many.")] = "rgb",
    zoom: Annotated[
        int, typer.Option(help="2, 3 or 4 for objects of few pixels: images seen so much larger.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 42,
) -> None:
    """Make a new model, to be fine-tuned on your labels."""
    from napari_rwkv_seg.zoo.new_models import new_model

    with say_errors():
        entry = new_model(
            name,
            classes=_classes(classes),
            architecture=architecture,
            variant=variant,
            encoder=encoder,
            in_channels=_count(channels),
            config=None if zoom == 1 else {"zoom": zoom},
            seed=seed,
        )
        say("The model is not trained: fine-tune it before you use its labels.")
        typer.echo(str(entry.folder))


def _names(text: str | None) -> list[str]:
    """Return the names in a text with commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _classes(text: str) -> "list[ClassCard]":
    """Return the classes in a text such as `live,dead=#ff0000`, the background first."""
    from napari_rwkv_seg.zoo.card import colored_classes

    pairs = [each.rpartition("=") if "=#" in each else (each, "", "") for each in _names(text)]
    return colored_classes([(name.strip(), color) for name, _, color in pairs])


def _count(channels: str) -> int:
    """Return how many channels a word means; SettingsError if it means none."""
    from napari_rwkv_seg.errors import SettingsError

    known = {"grey": 1, "gray": 1, "rgb": 3}
    if channels.lower() in known:
        return known[channels.lower()]
    if not channels.isdecimal():
        raise SettingsError(f"Channels are 'grey', 'rgb' or a number, got {channels!r}.")
    return int(channels)


@contextmanager
def _bytes_bar(pretrained: "Pretrained") -> "Iterator[Report]":
    """Show a bar on stderr while bytes come in; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    label = TextColumn("{task.description}", markup=False)
    with Progress(
        label, BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as bars:
        bar = bars.add_task(pretrained.name, total=None)
        yield lambda progress: bars.update(bar, completed=progress.done, total=progress.total)
