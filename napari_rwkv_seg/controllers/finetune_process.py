"""The process that trains: start it, tell it something, and see that none remains.

It is this package's `python -m napari_rwkv_seg.training RUN --attached`. It hears
lines on its standard input and leaves when that ends, so it cannot outlive the
window even if the window is killed; one that does not leave is terminated, then
killed. Nothing here waits, but for `end_now`. Knows no Qt, no napari and no torch.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

LOG_FILE = "trainer.log"
LEAVE_S = 3.0  # to leave by itself, after being asked to
TERMINATE_S = 2.0  # to leave after SIGTERM
STOP_S = 120.0  # without a word after "stop": the last validation of a large set takes a while

Command = Callable[[Path], Sequence[str]]
Wish = Literal["stop", "cancel", "leave"]


def trainer_command(run: Path) -> list[str]:
    """Return the command that trains the run in a folder, under the eyes of a parent."""
    return [sys.executable, "-m", "napari_rwkv_seg.training", str(run), "--attached"]


class TrainerProcess:
    """One training process.

    Parameters
    ----------
    run : Path
        The run's folder; what the process complains about is kept there.
    command : callable, optional
        Returns the command for a run's folder.

    Raises
    ------
    OSError
        If the process cannot be started.
    """

    def __init__(self, run: Path, command: Command = trainer_command) -> None:
        self._log = run / LOG_FILE
        self._wish: Wish | None = None
        self._deadline = 0.0
        self._terminated = False
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                list(command(run)),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # the same events are in events.jsonl
                stderr=log,
                # The folder that napari was started in must not hide the installed package,
                # and `complaint` reads UTF-8, which is not what Windows would write.
                env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8"},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    @property
    def is_cancelled(self) -> bool:
        """Whether it was told that nothing of the run is wanted any more."""
        return self._wish == "cancel"

    def stop(self) -> None:
        """Ask it to stop and keep its best."""
        if self._wish is None:
            self._say("stop")
            self._wish, self._deadline = "stop", time.monotonic() + STOP_S

    def cancel(self) -> None:
        """Ask it to leave at once; nothing of the run is wanted any more."""
        self._say("cancel")
        self._ask_to_leave("cancel")

    def leave(self) -> None:
        """Ask it to write a checkpoint and leave, so that the run can be resumed."""
        self._ask_to_leave("leave")

    def preview(self, image: Path) -> bool:
        """Ask for a prediction on the image in a file; return whether it could be asked."""
        return self._wish is None and self._say(f"preview {image}")

    def heard(self) -> None:
        """Take note that it has told something: it is not stuck while it stops."""
        if self._wish == "stop":
            self._deadline = time.monotonic() + STOP_S

    def watch(self) -> bool:
        """Return whether it is alive; push it if it does not leave as asked. Never waits."""
        if not self.is_alive:
            self._close()
            return False
        if self._wish is not None and time.monotonic() > self._deadline:
            self._push()
        return True

    def end_now(self) -> None:
        """Ask it to leave, unless it was asked already, and wait until it has ended."""
        if self._wish in (None, "stop"):
            self.leave()
        while self.watch():
            time.sleep(0.01)

    def complaint(self) -> str:
        """Return the last line that it wrote to its standard error, or ""."""
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 4000))
            lines = file.read().decode("utf-8", "replace").split("\n")
            return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
        return ""

    def _ask_to_leave(self, wish: Wish) -> None:
        if self._wish in ("cancel", "leave"):
            return
        self._wish, self._deadline = wish, time.monotonic() + LEAVE_S
        self._close()

    def _push(self) -> None:
        """Terminate it, or kill it if that was done."""
        self._deadline = time.monotonic() + TERMINATE_S
        if self._terminated or self._wish == "cancel":
            self._process.kill()
        else:
            self._process.terminate()
        self._terminated = True

    def _say(self, line: str) -> bool:
        """Write a line to its standard input; a pipe holds many before writing would wait."""
        stream = self._process.stdin
        if stream is None or stream.closed:
            return False
        try:
            stream.write(f"{line}\n".encode())
            stream.flush()
        except OSError:  # it has just ended
            return False
        return True

    def _close(self) -> None:
        """End its standard input."""
        stream = self._process.stdin
        if stream is not None and not stream.closed:
            with contextlib.suppress(OSError):
                stream.close()
