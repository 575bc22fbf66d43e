"""How the commands speak: sentences on stderr, never a traceback for what a user can do wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

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


def sentence(error: Exception) -> str:
    """Return what went wrong with one image; a fault of ours with the place to report."""
    if isinstance(error, RwkvSegError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory. Close other programs, or choose a smaller --tile."
    ours = Path(__file__).parents[1]
    frames = extract_tb(error.__traceback__)
    inside = [frame for frame in frames if ours in Path(frame.filename).parents] or frames
    place = f" in {Path(inside[-1].filename).name}, line {inside[-1].lineno}" if inside else ""
    return f"Unexpected {type(error).__name__}{place}: {error}. Please report this."
