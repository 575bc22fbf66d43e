"""What a run is asked for from outside, while it works; any thread may ask.

A run looks between optimiser steps and between tiles. Knows no torch.
"""

from collections import deque
from pathlib import Path

from napari_rwkv_seg.errors import CancelledError


class LeaveError(Exception):
    """The run is to write a checkpoint and end, to be resumed later; not a fault."""


class Control:
    """The wishes for one run; the strongest counts: cancel, leave, stop."""

    def __init__(self) -> None:
        self._is_stopped = self._is_cancelled = self._is_left = False
        self._previews: deque[Path] = deque()

    def stop(self) -> None:
        """Ask to stop and keep the best."""
        self._is_stopped = True

    def cancel(self) -> None:
        """Ask to end at once and make no model."""
        self._is_cancelled = True

    def leave(self) -> None:
        """Ask to write a checkpoint and end."""
        self._is_left = True

    def preview(self, path: Path) -> None:
        """Ask to segment the image in `path` with the weights as they are."""
        self._previews.append(path)

    @property
    def is_stopped(self) -> bool:
        """Whether the run is to stop and keep the best."""
        return self._is_stopped

    def next_preview(self) -> Path | None:
        """Return the image of the oldest wish for a preview, and forget the wish."""
        return self._previews.popleft() if self._previews else None

    def check(self) -> None:
        """End the run if that was asked for.

        Raises
        ------
        CancelledError
            If it is to end at once.
        LeaveError
            If it is to write a checkpoint and end.
        """
        if self._is_cancelled:
            raise CancelledError("The user cancelled.")
        if self._is_left:
            raise LeaveError
