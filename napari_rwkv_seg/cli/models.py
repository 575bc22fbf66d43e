"""The commands about models that are here: `napari-rwkv-seg models list`, `rename` and so on.

Names and folders go to stdout, notes to stderr. How models come and go is in
`models_files`, which adds its commands to these.
"""

from typing import Annotated

import typer

from . import models_files
from .speech import say, say_errors

app = typer.Typer(
    name="models",
    help="List, make, fetch, import, export and change models.",
    invoke_without_command=True,
)

Name = Annotated[str, typer.Argument(help="Name of a model or a pretrained encoder.")]


models_files.add_to(app)


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
def show(
    name: Name,
    page: Annotated[bool, typer.Option("--page", help="Print the page for people, too.")] = False,
) -> None:
    """Say all that is known of a model, each fact in a line, and where it lies."""
    from napari_rwkv_seg.zoo.facts import facts_of, page_of
    from napari_rwkv_seg.zoo.manage import find_entry

    with say_errors():
        entry = find_entry(name)
    facts = facts_of(entry)
    width = max(len(key) for key, _ in facts)
    for key, value in facts:
        typer.echo(f"{key:<{width}}  {value}")
    if page:
        typer.echo(f"\n{page_of(entry)}")


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


@app.command()
def trash() -> None:
    """List what is in the trash, the last deleted first."""
    from napari_rwkv_seg.zoo.manage import list_deleted

    from .listing import deleted_line

    for each in list_deleted():
        typer.echo(deleted_line(each))


@app.command("empty-trash")
def empty_trash(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete for good what is in the trash."""
    from napari_rwkv_seg.zoo.manage import empty_trash as empty
    from napari_rwkv_seg.zoo.manage import list_deleted

    names = ", ".join(each.name for each in list_deleted())
    if not names:
        say("The trash is empty.")
        return
    if not yes:
        typer.confirm(f"Delete {names} for good?", abort=True, err=True)
    count = empty()
    left = len(list_deleted())
    say(f"Deleted {count}." + (f" {left} could not be deleted." if left else ""))
    if left:
        raise typer.Exit(1)


@app.command()
def reveal(name: Name) -> None:
    """Print the folder in which a model or an encoder lies, usable or not."""
    from napari_rwkv_seg.zoo.manage import folder_of

    with say_errors():
        typer.echo(str(folder_of(name)))
