"""What a parent process says, line by line, without ever stopping this process on Windows.

There a read that waits for a pipe holds up whoever else looks at the pipe. The Fortran
library in the wheels of numpy and scipy looks at the standard input when it is loaded: with a
thread that waits for the parent, `import numpy` would wait too, until the parent speaks.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator

STDIN = 0  # its file descriptor
_LOOK_EVERY_S = 0.1
_MOST_BYTES = 65_536

Peek = Callable[[int], int]


def _peek(descriptor: int) -> int:
    """Return how many bytes a pipe of Windows holds; raises OSError when it has ended."""
    import _winapi
    import msvcrt

    handle = msvcrt.get_osfhandle(descriptor)  # type: ignore[attr-defined,unused-ignore]
    size: int = _winapi.PeekNamedPipe(handle, 0)[0]  # type: ignore[attr-defined,unused-ignore]
    return size


PEEK: Peek | None = _peek if os.name == "nt" else None


def lines_of(descriptor: int, peek: Peek | None = PEEK) -> Iterator[str]:
    """Yield the lines of a pipe, until who writes to it closes it or is gone.

    They are UTF-8 on every system; what is not is replaced, for it must not end a run. A last
    line without an end is left out, for it may be half of one.

    Parameters
    ----------
    descriptor : int
        Where the pipe is read.
    peek : callable, optional
        Tells how many bytes can be read without waiting, and raises OSError at the end;
        None to wait in the read itself.
    """
    rest = b""
    with contextlib.suppress(OSError):  # a pipe that breaks has ended
        while piece := os.read(descriptor, _size_of_piece(descriptor, peek)):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace")


def _size_of_piece(descriptor: int, peek: Peek | None) -> int:
    """Return how much to read; where one can peek, wait until so much is there."""
    if peek is None:
        return _MOST_BYTES
    while not (size := peek(descriptor)):
        time.sleep(_LOOK_EVERY_S)
    return size
