"""A dock that has a word when napari closes, and that ends its work when it goes.

napari takes a dock that is closed out of its window without asking it, and hides
the window when it closes; both are heard here through Qt's own events.
"""

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMainWindow, QWidget


class ClosingDock(QWidget):
    """The base of a dock with work that must end before the window does."""

    # Qt sends events before and after __init__
    _main: "weakref.ref[QWidget] | None" = None
    _is_inside = False

    def may_close(self) -> bool:
        """Return whether the window may close; a dock with unfinished work asks the user."""
        return True

    def end(self) -> None:
        """End all work and wait for it; called when the window closes, perhaps twice."""

    def on_shown(self) -> None:
        """Be up to date; called whenever the dock is shown."""

    def on_removed(self) -> None:
        """End all work, and be deleted; called when napari has taken the dock out."""
        self.end()
        self.deleteLater()  # napari lets go of it, but does not delete it

    def event(self, event: QEvent) -> bool:
        """Watch the window that the dock is in."""
        if event.type() == QEvent.Type.ParentChange:
            was_inside, self._is_inside = self._is_inside, self.parent() is not None
            self.watch()
            if was_inside and not self._is_inside:
                self.on_removed()
        elif event.type() == QEvent.Type.Show:
            self.watch()
            self.on_shown()
        return super().event(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Ask before the window closes; end the work when it has closed."""
        if watched is self._window():
            if event.type() == QEvent.Type.Close and not self.may_close():
                event.ignore()
                return True
            is_hidden = event.type() == QEvent.Type.Hide and not event.spontaneous()
            never_shown = event.type() == QEvent.Type.Close and not self._is_window_visible()
            if is_hidden or never_shown:
                self.end()
        return super().eventFilter(watched, event)

    def watch(self) -> None:
        """Hear of the main window that the dock belongs to, floating or not.

        Qt does not tell when a dock around this widget is put into a window, so this
        is called anew whenever work begins.
        """
        above = main_window_of(self)
        before = self._window()
        if above is before:
            return
        if before is not None:
            before.removeEventFilter(self)
        self._main = weakref.ref(above) if above is not None else None
        if above is not None:
            above.installEventFilter(self)

    def _is_window_visible(self) -> bool:
        window = self._window()
        return window is not None and window.isVisible()

    def _window(self) -> QWidget | None:
        return self._main() if self._main is not None else None


def main_window_of(widget: QWidget) -> QMainWindow | None:
    """Return the main window that a widget belongs to, be it in a dock that floats or not."""
    above = widget.parent()
    while above is not None and not isinstance(above, QMainWindow):
        above = above.parent()
    return above


class Closable(Protocol):
    """Something with work that can be ended."""

    def close(self) -> None:
        """End all work, and wait for it."""


class Ending:
    """What must be let go of with a dock; no QObject, so that it hears when the dock is gone.

    Parameters
    ----------
    works : Closable
        Closed in this order.
    """

    def __init__(self, *works: Closable) -> None:
        self._works = works
        self._connections: list[tuple[Any, Callable[..., object]]] = []

    def connect(self, *connections: tuple[Any, Callable[..., object]]) -> None:
        """Connect signals with slots until the end."""
        for signal, slot in connections:
            signal.connect(slot)
        self._connections.extend(connections)

    def close(self) -> None:
        """Let go of all signals, and end all work; a second time does nothing more."""
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections.clear()
        for work in self._works:
            work.close()
