"""What is offered after a crash: which labels, in which words, and what became of the offer."""

import time

from psygnal import Signal

from .journal_folders import Entry, discard


class Recovery:
    """The labels that are offered in one window, in all its docks.

    Restored or discarded ones are offered no more; those put off come again in
    the next napari.
    """

    changed = Signal()

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._is_restoring = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is offered, the newest first."""
        return tuple(self._entries)

    @property
    def is_restoring(self) -> bool:
        """Whether one of them is being read; nothing can be chosen meanwhile, in any dock."""
        return self._is_restoring

    def begin(self) -> None:
        """Note that an entry is being read."""
        self._is_restoring = True
        self.changed.emit()

    def end(self) -> None:
        """Note that it has been read, or cannot be."""
        self._is_restoring = False
        self.changed.emit()

    def offer(self, entries: list[Entry]) -> None:
        """Offer what was found."""
        self._entries = list(entries)
        self.changed.emit()

    def settle(self, entry: Entry) -> None:
        """Offer an entry no more in this window: it was restored, or put off."""
        if entry in self._entries:
            self._entries.remove(entry)
            self.changed.emit()

    def discard(self, entry: Entry) -> None:
        """Delete an entry.

        Raises
        ------
        OutputError
            If it cannot be deleted.
        """
        discard(entry)
        self.settle(entry)


def restored_name(entry: Entry) -> str:
    """Return the name of the layer that an entry is restored as."""
    name = entry.facts.name
    return name if name.endswith(" (restored)") else f"{name} (restored)"


def offer_line(entry: Entry, now: float | None = None) -> str:
    """Return what is offered, in one line, such as "Labels 'cells' of 14:32 (183 edits)"."""
    edits = f"{entry.facts.edits} edit{'s' * (entry.facts.edits != 1)}"
    return f"Labels {short(entry.facts.name)!r} of {moment(entry.facts.saved_at, now)} ({edits})"


def discard_question(entry: Entry) -> str:
    """Return what is asked before an entry is deleted."""
    return f"Delete the kept copy of {offer_line(entry)[0].lower()}{offer_line(entry)[1:]}?"


def moment(seconds: float, now: float | None = None) -> str:
    """Return a time as "14:32" of today, or with its date."""
    try:
        then = time.localtime(seconds)
    except (OverflowError, ValueError, OSError):
        return "an unknown time"
    today = time.localtime(now)
    same_day = (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M", then)


def short(name: str) -> str:
    """Return a layer's name in one line that leaves room for others."""
    plain = " ".join(name.split())
    return plain if len(plain) <= 60 else f"{plain[:57]}…"
