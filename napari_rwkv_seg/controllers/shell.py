"""Commands as text, to be copied into a terminal."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence

_PLAIN = re.compile(r"[\w\\/:.*?-]+")  # means itself in cmd.exe and in PowerShell


def joined(words: Sequence[str], system: str = os.name) -> str:
    """Return the line for a terminal of this system that means these words.

    Parameters
    ----------
    words : sequence of str
        The program and its arguments.
    system : str, optional
        What `os.name` is where the line is to be used.
    """
    return " ".join(map(_for_windows, words)) if system == "nt" else shlex.join(words)


def _for_windows(word: str) -> str:
    """Put a word into quotation marks if cmd.exe or PowerShell would take it apart."""
    text = subprocess.list2cmdline([word])  # which looks for blanks only
    if text.startswith('"') or _PLAIN.fullmatch(text):
        return text
    backslashes = "\\" * (len(text) - len(text.rstrip("\\")))  # doubled before the closing mark
    return f'"{text}{backslashes}"'
