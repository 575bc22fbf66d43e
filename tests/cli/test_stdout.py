"""What becomes of a command where stdout cannot take what is written to it."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from napari_rwkv_seg.cli import app, batch, evaluate, speech
from napari_rwkv_seg.cli import main as run_main
from napari_rwkv_seg.images import write_labels


class Unwritable(io.StringIO):
    """A stream on a disk that is full, or with another fault."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, _: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    write_labels(tmp_path / "labels.tif", np.eye(9, dtype=np.uint8))
    return tmp_path / "labels.tif"


def compare(labels: Path, out: Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", str(labels), str(labels), "-o", str(out)])


def test_a_name_that_stdout_has_no_characters_for_is_written_escaped(
    labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a→b.csv"
    starter = "from napari_rwkv_seg.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", starter, "evaluate", labels, labels, "-o", out],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(rb"a\u2192b.csv")
    assert out.is_file()


@pytest.mark.parametrize(
    ("encoding", "name", "written"),
    [
        ("utf-8", "gr\udcf6ße", b"gr\xf6\xc3\x9fe"),  # latin-1 bytes in the name of a file
        ("UTF8", "a→b", "a→b".encode()),
        ("cp1252", "ß→細胞", b"\xdf\\u2192\\u7d30\\u80de"),
        ("latin-1", "gr\udcf6ße", b"gr\\udcf6\xdfe"),
    ],
)
def test_a_command_writes_every_name_in_the_encoding_of_stdout(
    monkeypatch: pytest.MonkeyPatch, encoding: str, name: str, written: bytes
) -> None:
    buffer = io.BytesIO()
    out = io.TextIOWrapper(buffer, encoding, newline="")
    monkeypatch.setattr(sys, "stdout", out)
    commands = sys.modules["napari_rwkv_seg.cli.app"]  # in the package, `app` is what it holds
    monkeypatch.setattr(commands, "app", lambda: sys.stdout.write(name))
    run_main()
    out.flush()
    assert buffer.getvalue() == written


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_stdout_without_an_encoding_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    speech.escape_on_stdout()
    assert sys.stdout is stream


def test_scores_are_in_the_file_though_the_table_cannot_be_shown(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(evaluate, "table", fail)
    assert compare(labels, tmp_path / "s.csv").exit_code == 1
    assert (tmp_path / "s.csv").is_file()


def test_the_table_is_shown_though_the_scores_cannot_be_written(
    labels: Path, tmp_path: Path
) -> None:
    result = compare(labels, tmp_path / "nowhere" / "s.csv")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].startswith("Class")
    assert "s.csv" in result.stderr


def test_a_stdout_that_fails_is_told_once_and_does_not_end_a_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Unwritable(errno.ENOSPC))
    with batch._screen() as screen:
        screen.name("a_labels.tif")
        screen.name("b_labels.tif")
    [told] = capsys.readouterr().err.splitlines()
    assert "stdout" in told
    assert os.strerror(errno.ENOSPC) in told


def test_a_reader_that_went_away_ends_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Unwritable(errno.EPIPE))
    with batch._screen() as screen, pytest.raises(BrokenPipeError):
        screen.name("a_labels.tif")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk always full")
def test_a_full_disk_beneath_stdout_is_one_line_and_no_error_at_the_end() -> None:
    lines = (
        "from napari_rwkv_seg.cli import batch",
        "with batch._screen() as screen:",
        "    screen.name('a_labels.tif')",
        "    screen.name('b_labels.tif')",
    )
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
