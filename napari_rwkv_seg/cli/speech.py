"""How the commands speak: sentences on stderr, never a traceback for what a user can do wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from napari_rwkv_seg.errors import RwkvSegError

INTERRUPTED = 130  # what a shell expects after Ctrl+C


def say(text: str) -> None:
    """Write one line to stderr."""
    typer.echo(text, err=True)


@contextmanager
def say_errors() -> Iterator[None]:
    """Turn an expected error into a sentence and exit code 1, and Ctrl+C into exit code 130."""
    try:
        yield
    except RwkvSegError as error:
        say(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        say("Stopped. What is written is whole; nothing half-written is left.")
        raise typer.Exit(INTERRUPTED) from None
