"""Commands that are copied into a terminal of another system."""

import os
import shlex
import subprocess
import sys

import pytest

from napari_rwkv_seg.controllers.shell import joined

RUN = r"C:\Users\anna\runs\cells\run.toml"


def test_elsewhere_than_on_windows_a_shell_reads_the_words_back() -> None:
    words = ["a", "/with blank/it's", r"C:\x", "", "*.tif"]
    assert shlex.split(joined(words, "posix")) == words


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (RUN, RUN),
        (r"C:\Users\王伟\*.tif", r"C:\Users\王伟\*.tif"),
        (r"C:\my runs\run.toml", r'"C:\my runs\run.toml"'),
        (r"D:\H&E\a.tif", r'"D:\H&E\a.tif"'),  # another command for cmd.exe
        (r"D:\cells(1)\a,b.tif", r'"D:\cells(1)\a,b.tif"'),  # something else for PowerShell
        ("D:\\H&E\\", '"D:\\H&E\\\\"'),  # a backslash would take the mark with it
        ("", '""'),
        ("--no-touching", "--no-touching"),
    ],
)
def test_on_windows_a_word_gets_quotation_marks_where_it_needs_them(word: str, text: str) -> None:
    assert joined(["run", word, "end"], "nt") == f"run {text} end"


@pytest.mark.skipif(os.name != "nt", reason="asks Windows itself")
def test_windows_reads_the_words_back() -> None:
    words = [RUN, r"C:\my runs\run.toml", "D:\\H&E\\", r"D:\cells(1)\a,b.tif", ""]
    tell = "import sys; sys.stdout.write(ascii(sys.argv[1:]))"
    line = joined([sys.executable, "-c", tell, *words])
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == ascii(words)
