"""The commands about models: `napari-rwkv-seg models list`, `show`, `get`, `new` and so on.

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

    from napari_rwkv_seg.zoo.download import Report
    from napari_rwkv_seg.zoo.pretrained import Pretrained

app = typer.Typer(
    name="models",
    help="List, make, fetch, import, export and change models.",
    invoke_without_command=True,
)

Name = Annotated[str, typer.Argument(help="Name of a model or a pretrained encoder.")]


@app.callback()
def _list_by_default(context: typer.Context) -> None:
    """List, show, get, make, import, export, rename and delete models; alone, list them."""
    if context.invoked_subcommand is None:
        list_()


@app.command("list")
def list_() -> None:
    """List the models that can be used, then the pretrained encoders, one line each."""
    from napari_rwkv_seg.errors import ModelError
    from napari_rwkv_seg.zoo.encoders import list_encoders
    from napari_rwkv_seg.zoo.store import list_models, user_folder

    from .listing import encoder_line, model_line

    with say_errors():
        entries = list_models()
        if not entries:
            raise ModelError(
                "No model is installed. Reinstall the package, or put a model folder into "
                f"{str(user_folder())!r}."
            )
        for entry in entries:
            typer.echo(model_line(entry))
        for encoder in list_encoders():
            typer.echo(encoder_line(encoder))


@app.command()
def show(name: Name) -> None:
    """Say all that is known of a model, each fact in a line, and where it lies."""
    from napari_rwkv_seg.zoo.manage import find_entry

    from .listing import facts_of

    with say_errors():
        facts = facts_of(find_entry(name))
    width = max(len(key) for key, _ in facts)
    for key, value in facts:
        typer.echo(f"{key:<{width}}  {value}")


@app.command()
def rename(name: Name, new_name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give a model of yours another name."""
    from napari_rwkv_seg.zoo.manage import rename as rename_model

    with say_errors():
        typer.echo(str(rename_model(name, new_name).folder))


@app.command()
def note(
    name: Name, text: Annotated[str, typer.Argument(help='Your note; "" takes it off.')]
) -> None:
    """Put a note of yours on a model's card."""
    from napari_rwkv_seg.zoo.manage import set_note

    with say_errors():
        set_note(name, text)


@app.command()
def delete(name: Name) -> None:
    """Put a model of yours into the trash; `undelete` takes it back."""
    from napari_rwkv_seg.zoo.manage import delete as delete_model

    with say_errors():
        delete_model(name)
    say(f"{name} is in the trash. Take it back with: napari-rwkv-seg models undelete {name}")


@app.command()
def undelete(
    name: Annotated[
        str | None, typer.Argument(help="Which one.", show_default="the last deleted")
    ] = None,
) -> None:
    """Take a model back from the trash."""
    from napari_rwkv_seg.zoo.manage import undelete as undelete_model

    with say_errors():
        typer.echo(str(undelete_model(name)))


@app.command("import")
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
) -> None:
    """Keep a checkpoint of the authors, or somebody's model, among your models."""
    from napari_rwkv_seg.zoo.archives import is_folder_archive

    with say_errors():
        if file.is_dir() or is_folder_archive(file):
            from napari_rwkv_seg.zoo.transfer import import_folder

            typer.echo(str(import_folder(file, name=name).folder))
            return
        from napari_rwkv_seg.zoo.importing import import_checkpoint

        imported = import_checkpoint(file, name=name, classes=_names(classes))
        for each in imported.notes:
            say(each)
        if imported.kind == "encoder":
            say("This is a pretrained encoder: make a model on it with `models new`.")
        typer.echo(str(imported.folder))


class Format(StrEnum):
    """What a model is written as."""

    FOLDER = "folder"
    BIOIMAGEIO = "bioimageio"
    ONNX = "onnx"
    TORCH = "torch"


@app.command()
def export(
    name: Name,
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="folder: a zip of the model's folder, for this program. bioimageio: a package "
            "for bioimage.io. onnx, torch: a graph (.onnx, .pt2) for images of one size.",
        ),
    ] = Format.FOLDER,
    size: Annotated[
        int, typer.Option(help="Sides of the graph's image, or of the test image, in pixels.")
    ] = 256,
) -> None:
    """Write a model for others, or for other programs."""
    with say_errors():
        typer.echo(str(_export(name, target, format_, size)))


def _export(name: str, target: Path, format_: Format, size: int) -> Path:
    """Write a model in one of the formats, say how close it is, and return the file."""
    if format_ is Format.FOLDER:
        from napari_rwkv_seg.zoo.transfer import export_folder

        return export_folder(name, target)
    from napari_rwkv_seg.zoo.store import find_model

    entry = find_model(name)
    if format_ is Format.BIOIMAGEIO:
        from napari_rwkv_seg.zoo.bioimage_io import export_bioimage_io

        return export_bioimage_io(entry, target, size=size)
    from napari_rwkv_seg.zoo.exports import export_onnx, export_program

    write = export_onnx if format_ is Format.ONNX else export_program
    exported = write(entry, target, size)
    say(
        f"It takes normalised images of {size} × {size} pixels; its logits differ from this "
        f"program's by {exported.difference:.1g} (relative)."
    )
    return exported.path


@app.command()
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


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What to call the model.")],
    classes: Annotated[
        str, typer.Option(help="Names of the classes besides the background, with commas.")
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
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 42,
) -> None:
    """Make a new model, to be fine-tuned on your labels."""
    from napari_rwkv_seg.zoo.new_models import new_model

    with say_errors():
        entry = new_model(
            name,
            classes=_names(classes),
            architecture=architecture,
            variant=variant,
            encoder=encoder,
            in_channels=_count(channels),
            seed=seed,
        )
        say("The model is not trained: fine-tune it before you use its labels.")
        typer.echo(str(entry.folder))


def _names(text: str | None) -> list[str]:
    """Return the names in a text with commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


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
