"""How the commands speak: sentences on stderr, never a traceback for what a user can do wrong."""

import codecs
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper

import typer

from napari_rwkv_seg.errors import RwkvSegError

INTERRUPTED = 130  # what a shell expects after Ctrl+C


def say(text: str) -> None:
    """Write one line to stderr."""
    typer.echo(text, err=True)


def escape_on_stdout() -> None:
    """Write what the encoding of stdout has no character for escaped, or as the bytes it came from.

    On Windows and in many locales Python else raises an error, in the middle of the work.
    """
    out = sys.stdout
    if isinstance(out, TextIOWrapper):  # it is None without a console, or what another put there
        is_utf8 = codecs.lookup(out.encoding).name == "utf-8"
        out.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def until_stdout_fails() -> Callable[[str], None]:
    """Return what writes lines to stdout; once that fails it says so, and writes no more.

    A reader that went away ends the command, as is usual.
    """
    has_failed = False

    def write(line: str) -> None:
        nonlocal has_failed
        if has_failed:
            return
        try:
            typer.echo(line)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            has_failed = True
            say(f"Results are no longer named on stdout, which cannot be written: {error}.")
            _forget_stdout()

    return write


def _forget_stdout() -> None:
    """Let what stdout still holds go nowhere, else Python tries again at its end and exits 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # what is no file has no number
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


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
