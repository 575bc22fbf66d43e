"""The list of pairs that a user sees: which are used, what of them is checked, what they hold.

Pairs of open layers come and go with the layers; others stay until they are removed.
Counting is a job for a worker: `pending` is called on the main thread, `count_rows`
in the worker, `take` on the main thread again. Of several counts of a pair the one
that fits the row as it is now wins.

Of several labels of one image those that somebody has corrected are used, once that is
known, and of those the topmost; until the user ticks one of them, or says what of one that
is used is checked. Until the user says it, the planes that somebody has corrected are.
"""

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from psygnal import Signal

from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.zoo.card import ClassCard

from .finetune_pairs import Checked, Meaning, PairFacts, PairRow, Planes, Untouched, count
from .finetune_planes import all_planes, planes_text


@dataclass(frozen=True, eq=False)
class ToCount:
    """A row as it was when counting was asked for, and what tells of its labels."""

    row: PairRow
    planes: Planes
    as_written: Callable[[], Untouched]


class PairRows:
    """The pairs of one window."""

    changed = Signal()

    def __init__(self) -> None:
        self._rows: dict[Hashable, PairRow] = {}
        self._offered: tuple[Hashable, ...] = ()
        self._decided: set[Hashable] = set()  # images of which the user has ticked something

    def __iter__(self) -> Iterator[PairRow]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def used(self) -> list[PairRow]:
        """The pairs that the next run would use."""
        return [row for row in self._rows.values() if row.used]

    def get(self, key: Hashable) -> PairRow | None:
        """Return the row of a pair, or None if it is not listed."""
        return self._rows.get(key)

    def offer(self, rows: Sequence[PairRow]) -> None:
        """List these pairs of open layers instead of those before; what was chosen is kept.

        Parameters
        ----------
        rows : sequence of PairRow
            Those of the topmost labels first.
        """
        keys = tuple(row.source.key for row in rows)
        kept = {
            key: row for key, row in self._rows.items() if key not in self._offered or key in keys
        }
        self._offered = keys
        new = {row.source.key: row for row in rows}
        merged = {key: self._merged(row, new.get(key)) for key, row in kept.items()}
        for key, row in new.items():
            if key not in merged:
                merged[key] = replace(row, used=self._is_first(row, merged.values()))
        self._set(merged)

    def add(self, rows: Sequence[PairRow]) -> None:
        """List more pairs; one that is listed already is used from now on."""
        added = {row.source.key: row for row in rows}
        known = {key: replace(row, used=True) for key, row in self._rows.items() if key in added}
        self._decided.update(row.source.covers[0] for row in rows)
        self._set({**self._rows, **added, **known})

    def remove(self, keys: Iterable[Hashable]) -> None:
        """Take pairs off the list; those of open layers are only not used any more."""
        wanted = set(keys)
        for key in wanted.intersection(self._offered):
            self.use(key, False)
        gone = wanted.difference(self._offered)
        self._set({key: row for key, row in self._rows.items() if key not in gone})

    def use(self, key: Hashable, used: bool) -> None:
        """Take note that the user wants the next run to use a pair, or not."""
        row = self._rows.get(key)
        if row is not None:
            self._decided.add(row.source.covers[0])
            self._replace(key, used=used)

    def check(self, key: Hashable, checked: Checked) -> None:
        """Take note of what the user says is checked of a pair."""
        row = self._rows.get(key)
        if row is not None:
            facts = row.facts if row.checked == checked else None
            self._replace(key, checked=checked, is_said=True, facts=facts)

    def forget(self, keys: Iterable[Hashable] | None = None) -> None:
        """Take note that the labels of these pairs have changed (or what all numbers mean)."""
        for key in list(self._rows) if keys is None else keys:
            if key in self._rows:
                self._rows[key] = replace(self._rows[key], facts=None)
        self.changed.emit()

    def pending(self) -> list[ToCount]:
        """Return what is to be counted; on the main thread."""
        waiting = []
        for row in [one for one in self._rows.values() if one.facts is None]:
            try:
                asked = row.source.planes(row.checked, copied=False), row.source.as_written()
                waiting.append(ToCount(row, *asked))
            except RwkvSegError as error:
                self.take(row, PairFacts(problem=str(error)))
        return waiting

    def take(self, row: PairRow, facts: PairFacts) -> None:
        """Keep what was counted, unless the row has changed meanwhile.

        If it shows that other planes were corrected than those proposed, they are counted next.
        """
        if self._rows.get(row.source.key) is not row:
            return
        edited = Checked("these planes", facts.edited)
        if facts.edited and not row.is_said and row.checked != edited:
            self._rows[row.source.key] = replace(row, checked=edited, facts=None)
        else:
            self._rows[row.source.key] = replace(row, facts=facts)
            self._tick(row.source.covers[0])
        self.changed.emit()

    def _is_first(self, row: PairRow, others: Iterable[PairRow]) -> bool:
        """Return whether a new pair is used at first: nothing else of its part is."""
        covers = row.source.covers
        is_used = any(one.used and one.source.covers == covers for one in others)
        return covers[0] not in self._decided and not is_used

    def _tick(self, image: Hashable) -> None:
        """Use the topmost corrected labels of each part of an image, once all are counted."""
        listed = (self._rows[key] for key in self._offered if key in self._rows)
        rows = [row for row in listed if row.source.covers[0] == image]
        is_decided = image in self._decided or any(row.used and row.is_said for row in rows)
        if is_decided or not all(row.facts for row in rows):
            return
        best = [row for row in rows if _is_corrected(row)] or rows
        topmost = {row.source.covers: row for row in reversed(best)}
        for row in rows:
            used = topmost.get(row.source.covers) is row
            self._rows[row.source.key] = replace(row, used=used)

    def _merged(self, row: PairRow, new: PairRow | None) -> PairRow:
        """Return a row with a newer source (names may have changed)."""
        if new is None or new.source is row.source:
            return row
        before, after = (
            (source.stack, source.problem, source.covers, source.means)
            for source in (row.source, new.source)
        )
        return replace(row, source=new.source, facts=row.facts if before == after else None)

    def _replace(self, key: Hashable, **changes: object) -> None:
        row = self._rows.get(key)
        if row is not None:
            self._rows[key] = replace(row, **changes)  # type: ignore[arg-type]
            self.changed.emit()

    def _set(self, rows: dict[Hashable, PairRow]) -> None:
        self._rows = rows
        self._decided &= {row.source.covers[0] for row in rows.values()}
        self.changed.emit()


def count_rows(
    waiting: Sequence[ToCount], labels: Meaning, classes: Sequence[ClassCard]
) -> Generator[tuple[PairRow, PairFacts], None, None]:
    """Yield what is in each of these pairs; for a worker."""
    for one in waiting:
        untouched = _untouched(one)
        facts = count(one.planes, labels, classes, untouched)
        yield one.row, replace(facts, edited=_edited(one.row, untouched))


def _is_corrected(row: PairRow) -> bool:
    """Return whether somebody has painted on the labels of a counted pair."""
    return row.facts is not None and row.facts.highest > 0 and not row.facts.as_written


def _edited(row: PairRow, untouched: Untouched) -> str:
    """Return which planes of a stack somebody has edited, if they can be told apart."""
    if isinstance(untouched, bool) or not row.source.stack:
        return ""
    return planes_text([one for one in all_planes(row.source.stack) if one not in untouched])


def _untouched(one: ToCount) -> Untouched:
    try:
        return one.as_written()
    except Exception:  # noqa: BLE001 - a damaged chunk, of which `count` has told
        return False
