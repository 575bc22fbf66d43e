"""What there is to do for a store: brightness, classes and labels of every plane.

Does what the store does not say is done, and writes down what is.
"""

import time
from collections.abc import Generator, Iterator, Sequence

import numpy as np

from napari_rwkv_seg.errors import ImageError

from .loading import Model
from .normalize import NO_FINITE_PIXEL
from .progress import SMALLEST_TILE, Progress
from .settings import LabelSettings
from .steps import drained
from .stream_image import Brightness, StreamImage, brightness_steps
from .stream_labels import PlaneLabels
from .stream_plan import Grid, Strip
from .stream_predict import OutOfMemoryError, StripRun, smaller_tiles
from .stream_state import PlaneState
from .stream_store import StreamStore
from .windows import Window


class StreamWork:
    """What there is to do for a store, plane by plane."""

    def __init__(
        self,
        model: Model,
        image: StreamImage,
        settings: LabelSettings,
        store: StreamStore,
        first_size: int,
    ) -> None:
        self.model, self.image, self.settings, self.store = model, image, settings, store
        self.first_size = first_size
        self._grid = Grid(*image.plane, store.layout.block)
        self._total = self._left = self._timed = 0
        self._since = time.monotonic()

    def measure_steps(self) -> Iterator[Progress]:
        """Find out how bright all planes are, for who has their rows run elsewhere.

        Raises
        ------
        ImageError
            If no plane holds a finite number.
        """
        self._count()
        for number, (index, state) in enumerate(self._planes()):
            yield from self._measure(number, index, state)
        self._refuse_blank()
        self.store.save_rest()  # other processes read it

    def steps(self) -> Iterator[Progress]:
        """Do all that is not done.

        Raises
        ------
        ImageError
            If no plane holds a finite number.
        """
        planes = self._planes()
        self._count()
        for number, (index, state) in enumerate(planes):
            yield from self._measure(number, index, state)
            while not (yield from self._predict(index, state)):
                yield self._halve()
        self._refuse_blank()
        self.store.save_rest()  # what is made of classes must not outlive them
        found = 0
        for number, (_, state) in enumerate(planes):
            if state.objects is None:
                yield from self._label(number, found)
            found += state.objects or 0

    def missing(self) -> Iterator[tuple[int, int, list[int]]]:
        """Yield plane, strip and rows of blocks whose classes are not written; once measured."""
        for plane, state in enumerate(self.store.state.planes):
            for strip in range(0 if state.blank else len(self._strips())):
                if rows := self._missing(state, strip):
                    yield plane, strip, rows

    def run_rows(self, plane: int, strip: int, rows: Sequence[int]) -> list[tuple[int, int]]:
        """Write the classes of rows of blocks, but not down that it is done: see `take`.

        Labels are not touched, so a process that was given up and still runs does no harm.

        Returns
        -------
        list of (row, invalid)
            What to `take` in the process that keeps the store.

        Raises
        ------
        OutOfMemoryError
            If a tile does not fit into memory.
        """
        index, state = self._planes()[plane]
        cut = self._strips()[strip]
        run = self._strip_run(index, state, cut)
        done = []
        for row in rows:
            done.append((row, drained(self._row_steps(run, index, row, cut, is_shown=False))))
        return done

    def take(self, plane: int, strip: int, done: Sequence[tuple[int, int]]) -> Progress:
        """Show rows of blocks that another process has run, and write down that they are done."""
        index, state = self._planes()[plane]
        columns = self._strips()[strip].columns
        for row, invalid in done:
            rows = self._grid.rows(row)
            classes = self.store.read_work("classes", index, rows, columns)
            self.store.show(index, (rows.start, columns.start), classes)
            state.rows.append([strip, row])
            state.invalid += invalid
        self.store.save_soon()
        before, since, timed = self._left, self._since, self._timed
        self._count()
        self._since, self._timed = since, timed + before - self._left
        return self.progress()

    def notes(self) -> list[str]:
        """Return what the user should know in the end."""
        planes, size = self.store.state.planes, self.store.state.tile_size
        notes = []
        if size != self.first_size:
            notes.append(
                f"Not enough memory for {self.first_size}-px tiles; "
                f"ran with {size}-px tiles. The result is complete."
            )
        invalid = sum(plane.invalid for plane in planes)
        if invalid:
            pixels = "1 pixel was" if invalid == 1 else f"{invalid} pixels were"
            notes.append(f"{pixels} not a number (or masked) and became background.")
        flat = sum(plane.flat for plane in planes)
        if flat:
            where = f" in {flat} of {len(planes)} planes" if len(planes) > 1 else ""
            notes.append(f"There is no contrast{where}: all pixels have one value.")
        return notes

    def _refuse_blank(self) -> None:
        if all(state.blank for state in self.store.state.planes):
            raise ImageError(NO_FINITE_PIXEL)

    def _measure(
        self, number: int, index: tuple[int, ...], state: PlaneState
    ) -> Generator[Progress, None, None]:
        """Find out how bright a plane is, unless that is known."""
        if state.windows is not None:
            return
        where = self._where(number)
        steps = brightness_steps(self.image, index, self.model.card.normalization)
        while True:
            try:
                share = next(steps)
            except StopIteration as end:
                found = end.value
                break
            yield self.progress(f"Measuring the brightness{where}: {share:.0%}")
        state.windows = [
            [one.low, one.high, one.offset, one.span] if one else None for one in found.windows
        ]
        state.flat, state.blank = found.is_flat, found.is_blank
        self.store.save_soon()
        if state.blank:
            self._left -= self._tiles_of_a_plane()
            self._total -= self._tiles_of_a_plane()
        if not self._timed:
            self._since = time.monotonic()  # the time left is that of tiles

    def _predict(
        self, index: tuple[int, ...], state: PlaneState
    ) -> Generator[Progress, None, bool]:
        """Write the classes of a plane; return whether memory was enough."""
        if state.blank:
            return True
        for number, strip in enumerate(self._strips()):
            run = self._strip_run(index, state, strip)
            for row in self._missing(state, number):
                try:
                    invalid = yield from self._row_steps(run, index, row, strip)
                except OutOfMemoryError:
                    return False
                state.rows.append([number, row])
                state.invalid += invalid
                self.store.save_soon()
        return True

    def _strip_run(self, index: tuple[int, ...], state: PlaneState, strip: Strip) -> StripRun:
        windows = tuple(Window(*one) if one else None for one in state.windows or ())
        return StripRun(
            self.model, self.image, index, Brightness(windows), strip, self.settings.threshold
        )

    def _row_steps(
        self,
        run: StripRun,
        index: tuple[int, ...],
        row: int,
        strip: Strip,
        *,
        is_shown: bool = True,
    ) -> Generator[Progress, None, int]:
        """Write one row of blocks, and show what is final of it meanwhile.

        Returns how many of its pixels were not a number.
        """
        rows = self._grid.rows(row)
        start = (rows.start, strip.columns.start)
        steps = run.rows(rows)
        while True:
            try:
                final = next(steps)
            except StopIteration as end:
                classes, invalid = end.value
                break
            if final is None:
                self._timed += 1
                self._left = max(0, self._left - 1)
                yield self.progress()
            elif is_shown and len(final) < rows.stop - rows.start:
                missing = rows.stop - rows.start - len(final)
                self.store.show(index, start, np.pad(final, ((0, missing), (0, 0))))
        if is_shown:
            self.store.show(index, start, classes)
        self.store.write_work("classes", index, start, classes)
        return int(invalid)

    def _label(self, number: int, found: int) -> Iterator[Progress]:
        """Make the labels of a plane of its classes."""
        classes = len(self.model.card.classes)
        labels = PlaneLabels(self.store, number, self._grid, self.settings, classes)
        where = self._where(number)
        for what, share in labels.steps(found):
            yield Progress(1, 1, None, f"{what}{where}: {share:.0%}")

    def _where(self, number: int) -> str:
        """Return which plane it is, in words; "" if there is one."""
        planes = len(self.store.state.planes)
        return f", plane {number + 1} of {planes}" if planes > 1 else ""

    def _halve(self) -> Progress:
        """Begin the planes that are not done anew with smaller tiles.

        All of them, for workers may have run rows of any: rows are told by the number of
        their strip, and with the tiles the strips change.
        """
        size = smaller_tiles(self.store.state.tile_size, self._grid, SMALLEST_TILE)
        for plane in {plane for plane, _, _ in self.missing()}:
            self.store.state.planes[plane].forget_classes()
        self.store.state.tile_size = size
        self.store.save()
        self._count()
        return self.progress(f"Not enough memory; going on with {size}-px tiles.")

    def _planes(self) -> list[tuple[tuple[int, ...], PlaneState]]:
        """Return the planes with their places in the stack."""
        return list(zip(self.image.planes(), self.store.state.planes, strict=True))

    def _strips(self) -> list[Strip]:
        """Return the strips of a plane."""
        classes = len(self.model.card.classes)
        each = self.image.bytes_per_pixel + 8 * classes  # sums, and the copy that makes room
        size = self.store.state.tile_size
        return [Strip.of(self._grid, one, size) for one in self._grid.strips(each, size)]

    def _missing(self, state: PlaneState, strip: int) -> list[int]:
        """Return the rows of blocks of a strip whose classes are not written."""
        done = {row for which, row in state.rows if which == strip}
        return [row for row in range(self._grid.down) if row not in done]

    def _count(self) -> None:
        """Count the tiles that there are, and those that must still be run."""
        strips = self._strips()
        planes = [state for state in self.store.state.planes if not state.blank]
        self._total = len(planes) * self._tiles_of_a_plane()
        self._left = sum(
            strip.count(self._grid, self._missing(state, number))
            for state in planes
            for number, strip in enumerate(strips)
        )
        self._timed, self._since = 0, time.monotonic()

    def _tiles_of_a_plane(self) -> int:
        every = list(range(self._grid.down))
        return sum(strip.count(self._grid, every) for strip in self._strips())

    def progress(self, note: str = "") -> Progress:
        """Return how far the network is; the rest is short."""
        each = (time.monotonic() - self._since) / self._timed if self._timed else None
        left = None if each is None else each * self._left
        return Progress(self._total - self._left, self._total, left, note)
