"""Labels of one plane from its classes, block by block: holes, objects, small ones, numbers.

Each pass goes over all blocks. What a block finds is kept before the next begins,
so a run that was cut off goes on with the block that it was at. The results are
those of `labels.label_planes` on the whole plane.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .settings import LabelSettings
from .stream_join import Facts, Joined, join
from .stream_pieces import Found, block_pieces, find_objects, find_outside, halo_for
from .stream_plan import Block, Grid
from .stream_store import StreamStore


class PlaneLabels:
    """The making of labels of one plane of a store.

    Parameters
    ----------
    store : StreamStore
        Holds the classes.
    number : int
        Which plane it is, counted through the stack.
    grid : Grid
        Its blocks.
    settings : LabelSettings
        What to make.
    classes : int
        How many classes there are, with the background.
    """

    def __init__(
        self, store: StreamStore, number: int, grid: Grid, settings: LabelSettings, classes: int
    ) -> None:
        self._store, self._grid, self._settings = store, grid, settings
        self._number, self._classes = number, classes
        self._state = store.state.planes[number]
        stack = store.layout.shape[:-2]
        self._index = tuple(int(i) for i in np.unravel_index(number, stack)) if stack else ()
        self._blocks = list(grid.blocks())

    def steps(self, found: int) -> Iterator[tuple[str, float]]:
        """Make the labels; yield what is done and its share after every block.

        Parameters
        ----------
        found : int
            How many objects the planes before have.
        """
        if self._settings.fill_holes:
            for number in range(1, self._classes):
                if number not in self._state.filled:
                    yield from self._fill_steps(number)
        if self._settings.output == "objects" or self._settings.smallest_object > 1:
            yield from self._object_steps(found)
        else:
            yield from self._class_steps()
        self._store.save_soon()

    def _source(self) -> str:
        """Return which array holds the classes as they are now."""
        return "filled" if self._state.filled else "classes"

    def _fill_steps(self, number: int) -> Iterator[tuple[str, float]]:
        """Close the holes of one class."""
        name = f"{self._number}-holes-{number}"
        find = partial(find_outside, number=number)
        yield from self._piece_steps(name, "Looking for holes", find, 1)
        joined = self._joined(name, diagonal=False)
        source = self._source()
        for done, block in enumerate(self._blocks, start=1):
            classes = self._read(source, block)
            pieces = self._read("pieces", block)
            is_hole = joined.of_block((block.row, block.column), ~joined.is_open)
            classes[is_hole[pieces] & (classes == 0)] = number
            self._write("filled", block, classes)
            yield "Filling holes", done / len(self._blocks)
        self._state.filled.append(number)
        self._store.save()

    def _object_steps(self, found: int) -> Iterator[tuple[str, float]]:
        """Find objects, or regions of a class, join and number them, and drop the small ones."""
        name = f"{self._number}-objects"
        find = partial(find_objects, settings=self._settings)
        yield from self._piece_steps(name, "Finding objects", find, halo_for(self._settings))
        joined = self._joined(name, diagonal=True)
        numbers = joined.numbered(self._settings.smallest_object, found)
        values = numbers
        if self._settings.output == "classes":
            values = np.where(numbers > 0, joined.kind, 0).astype(np.uint8)

        def labels_of(block: Block) -> NDArray[Any]:
            found: NDArray[Any] = joined.of_block((block.row, block.column), values)
            return np.take(found, self._read("pieces", block))

        yield from self._show_steps("Numbering objects", labels_of)
        is_objects = self._settings.output == "objects"
        self._state.objects = int(np.count_nonzero(numbers)) if is_objects else 0

    def _class_steps(self) -> Iterator[tuple[str, float]]:
        """Write the classes as they are."""
        yield from self._show_steps("Writing classes", partial(self._read, self._source()))
        self._state.objects = 0

    def _show_steps(
        self, what: str, labels_of: Callable[[Block], NDArray[Any]]
    ) -> Iterator[tuple[str, float]]:
        """Write the final labels, several blocks at once."""
        for group in self._grid.groups():
            labels = np.concatenate([labels_of(block) for block in group], axis=1)
            start = (group[0].rows.start, group[0].columns.start)
            self._store.show(self._index, start, labels)
            yield (
                what,
                (group[-1].row * self._grid.across + group[-1].column + 1) / len(self._blocks),
            )

    def _piece_steps(
        self, name: str, what: str, find: "partial[Found]", halo: int
    ) -> Iterator[tuple[str, float]]:
        """Find the pieces of every block that is not done yet."""
        source = self._source()
        for done, block in enumerate(self._blocks, start=1):
            key = _key(name, block.row, block.column)
            if not self._store.has_facts(key):
                rows, columns = self._grid.grown(block, halo)
                classes = self._store.read_work(source, self._index, rows, columns)
                corner = (rows.start, columns.start)
                pieces, facts = block_pieces(find(classes), self._grid, block, corner)
                self._write("pieces", block, pieces)
                self._store.write_facts(key, **facts)
            yield what, done / len(self._blocks)

    def _joined(self, name: str, *, diagonal: bool) -> Joined:
        def facts_of(row: int, column: int) -> Facts:
            return self._store.read_facts(_key(name, row, column))

        return join(self._grid, facts_of, diagonal=diagonal)

    def _read(self, name: str, block: Block) -> NDArray[Any]:
        return self._store.read_work(name, self._index, block.rows, block.columns)

    def _write(self, name: str, block: Block, values: NDArray[Any]) -> None:
        start = (block.rows.start, block.columns.start)
        self._store.write_work(name, self._index, start, values)


def _key(name: str, row: int, column: int) -> str:
    return f"{name}-{row}-{column}"
