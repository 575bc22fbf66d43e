"""What a parent says through a pipe, read by waiting and, as on Windows, by looking."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from napari_rwkv_seg.training.parent_lines import PEEK, lines_of


def peek_as_windows_does(descriptor: int) -> int:
    """Return how many bytes a pipe holds; raise when its other end is closed."""
    import array
    import fcntl
    import termios

    size = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, size)
    if not size[0] and select.select([descriptor], [], [], 0)[0]:
        raise BrokenPipeError
    return size[0]


PEEKS = [PEEK] if os.name == "nt" else [None, peek_as_windows_does]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the descriptors to read from and to write to; a test closes the second."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


@pytest.mark.parametrize("peek", PEEKS)
def test_lines_come_as_they_are_said_until_the_pipe_is_closed(
    peek: Callable[[int], int] | None, pipe: tuple[int, int]
) -> None:
    reading, writing = pipe
    lines = lines_of(reading, peek)
    os.write(writing, b"stop\npreview D:/runs/J\xc3\xb6rg/\xe7\x8e\x8b.npy\nhal")
    assert [next(lines), next(lines)] == ["stop", "preview D:/runs/Jörg/王.npy"]
    threading.Timer(0.3, lambda: (os.write(writing, b"f\nha"), os.close(writing))).start()
    assert list(lines) == ["half"]


@pytest.mark.parametrize("peek", PEEKS)
def test_a_line_that_is_no_utf_8_is_not_the_end(
    peek: Callable[[int], int] | None, pipe: tuple[int, int]
) -> None:
    reading, writing = pipe
    os.write(writing, b"\xff\xc1ngel\nstop\n")
    os.close(writing)
    assert list(lines_of(reading, peek))[1:] == ["stop"]


def test_a_pipe_that_cannot_be_read_has_ended() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    assert list(lines_of(reading)) == []


def test_where_one_can_peek_no_more_is_read_than_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A read that waited would hold up the import of numpy on Windows."""
    sizes, there, reads = iter([0, 0, 5, 0, 3]), [0], []

    def peek(descriptor: int) -> int:
        there[0] = next(sizes, -1)
        if there[0] < 0:
            raise BrokenPipeError
        return there[0]

    def read(descriptor: int, size: int) -> bytes:
        assert 0 < size <= there[0]
        reads.append(size)
        return b"x" * (size - 1) + b"\n"

    monkeypatch.setattr(os, "read", read)
    assert list(lines_of(99, peek)) == ["xxxx", "xx"]
    assert reads == [5, 3]


STARTS = {
    "trainer": "from napari_rwkv_seg.training.process import main; main(['nowhere', '--attached'])",
    "models worker": "from napari_rwkv_seg.controllers.models_worker import main; main()",
}
AS_ON_WINDOWS = """
import os, sys, threading
from napari_rwkv_seg.training import parent_lines

def peek(descriptor):
    seen.append(threading.current_thread() is not threading.main_thread())
    return size.pop() if size else 0

seen, size = [], [len(sys.argv[1])]
wait, read = os.read, []
os.read = lambda descriptor, count: read.append(count) or wait(descriptor, count)
parent_lines.lines_of.__defaults__ = (peek,)
try:
    {start}
finally:
    assert read == [len(sys.argv[1])], read
    assert True in seen
    sys.stderr.write("never waited")
"""


@pytest.mark.parametrize("start", STARTS)
def test_a_process_with_a_parent_leaves_no_read_waiting_while_it_loads_libraries(
    start: str,
) -> None:
    line = '{"do": "nothing"}\n'
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", AS_ON_WINDOWS.format(start=STARTS[start]), line],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        child.stdin.write(line)
        child.stdin.flush()
        said = child.stderr.read()
    assert said.endswith("never waited"), said
