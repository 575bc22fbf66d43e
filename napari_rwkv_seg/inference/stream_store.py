"""The folder that a streamed run fills: an OME-Zarr labels image, and what is done of it.

Made so that it can be cut off at any moment. A block is one chunk of each level
of the pyramid, written whole; only then does the progress file, which appears in
one step, say that it is done. What is needed to go on lies in `work/` and goes
when the result is complete, but for the classes: with them labels can be made
anew without the network. Needs zarr, the extra `[zarr]`.
"""

import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import RunError
from napari_rwkv_seg.files import in_memory, patiently, read_bytes, write_atomically

from .stream_anew import ANEW, remove
from .stream_folder import FORMAT, PROGRESS, read_progress, refuse_foreign, told, zarr_module
from .stream_state import (
    Layout,
    PlaneState,
    StoreState,
    attributes,
    differences,
    same_classes,
    state_of,
)

_MOST_FACTS = 256_000_000
_REST = 20  # times as long as it takes is not spent on writing down what is done

Labels = NDArray[np.integer[Any]]


class StreamStore:
    """A store that is being filled, or is complete.

    Parameters
    ----------
    folder : Path
        Where it lies.
    run : dict
        What tells this run from others: image, model and settings, as plain values.
    layout : Layout
        The arrays.
    state : StoreState
        What is done.
    """

    def __init__(
        self, folder: Path, run: dict[str, Any], layout: Layout, state: StoreState
    ) -> None:
        self.folder, self.run, self.layout, self.state = folder, run, layout, state
        self._arrays: dict[str, Any] = {}
        self._is_saved, self._next_save = True, 0.0

    @classmethod
    def open(
        cls,
        folder: Path,
        run: dict[str, Any],
        layout: Layout,
        tile_size: int,
        *,
        begin_anew: bool = False,
        keep_classes: bool = True,
    ) -> "StreamStore":
        """Return a new store, or the one in `folder` if it is of the same run.

        A result that is complete stays if it is to be made anew with other classes, or if
        `keep_classes` is not wished: the new one is made beside it, see `stream_anew`.

        Raises
        ------
        RunError
            If `folder` holds something else, or another run and `begin_anew` is not wished.
        OutputError
            If zarr is missing, or the folder cannot be made.
        """
        found = read_progress(folder) if folder.exists() else None
        if found is None:
            refuse_foreign(folder)
            return cls._made(folder, run, layout, tile_size)
        try:
            state = state_of(found["state"])
            fits = same_classes(found["run"], run) and (keep_classes or not state.complete)
        except (KeyError, TypeError) as error:
            raise RunError(
                f"{str(folder / PROGRESS)!r} is damaged; delete the folder and begin anew."
            ) from error
        if found["run"] != run and not begin_anew:
            what = ", ".join(differences(found["run"], run))
            raise RunError(
                f"{str(folder)!r} holds the result of another run; different: {what}. "
                "Choose another folder, or say that it shall begin anew."
            )
        if begin_anew and not fits:
            return cls._begun_anew(folder, run, layout, tile_size, beside=state.complete)
        store = cls(folder, run, layout, state)
        if begin_anew:
            store._forget_labels()
        store._make_arrays()  # those that are missing: it may have been cut off here
        return store

    @classmethod
    def attached(cls, folder: Path, layout: Layout) -> "StreamStore":
        """Return a store that another process keeps; `save` is for that one alone.

        Raises
        ------
        RunError
            If the folder is no store, or a damaged one.
        """
        found = read_progress(folder)
        try:
            if found is not None:
                return cls(folder, found["run"], layout, state_of(found["state"]))
        except (KeyError, TypeError):
            pass
        raise RunError(f"{str(folder)!r} is not a store of streamed labels, or is damaged.")

    @classmethod
    def _begun_anew(
        cls, folder: Path, run: dict[str, Any], layout: Layout, tile_size: int, *, beside: bool
    ) -> "StreamStore":
        """Return a store beside a complete one, which may have been begun, or in its place."""
        if beside:
            return cls.open(folder / ANEW, run, layout, tile_size, begin_anew=True)
        remove(folder)
        return cls._made(folder, run, layout, tile_size)

    @classmethod
    def _made(
        cls, folder: Path, run: dict[str, Any], layout: Layout, tile_size: int
    ) -> "StreamStore":
        """Return an empty store; the progress file comes first, and says whose the folder is."""
        planes = [PlaneState() for _ in range(int(np.prod(layout.shape[:-2], dtype=int)))]
        store = cls(folder, run, layout, StoreState(tile_size, planes))
        with told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        store.save()
        store._make_arrays()
        return store

    def save(self) -> None:
        """Write down what is done."""
        start = time.monotonic()
        state = vars(self.state) | {"planes": [vars(plane) for plane in self.state.planes]}
        text = json.dumps({"format": FORMAT, "run": self.run, "state": state}).encode()
        write_atomically(self.folder / PROGRESS, lambda file: file.write(text))
        self._is_saved, now = True, time.monotonic()
        self._next_save = now + _REST * (now - start)

    def save_soon(self) -> None:
        """Write down what is done, unless that was just done: of many planes it takes long.

        Only for what may be done again if it is lost.
        """
        self._is_saved = False
        if time.monotonic() >= self._next_save:
            self.save()

    def save_rest(self) -> None:
        """Write down what `save_soon` has put off."""
        if not self._is_saved:
            self.save()

    def show(self, plane: tuple[int, ...], start: tuple[int, int], labels: Labels) -> None:
        """Write final or provisional labels of whole blocks into all levels.

        Parameters
        ----------
        plane : tuple of int
            The place in the stack.
        start : (int, int)
            The first row and column, multiples of the block.
        labels : array (Y, X)
            Whole blocks, or up to the border of the plane.
        """
        for level in range(len(self.layout.levels)):
            step = 1 << level
            part = labels[::step, ::step].astype(self.layout.dtype)
            self._put(str(level), plane, (start[0] >> level, start[1] >> level), part)

    def write_work(
        self, name: str, plane: tuple[int, ...], start: tuple[int, int], values: Labels
    ) -> None:
        """Write whole blocks of "classes", "filled" or "pieces"."""
        self._put(f"work/{name}", plane, start, values)

    def read_work(
        self, name: str, plane: tuple[int, ...], rows: slice, columns: slice
    ) -> NDArray[Any]:
        """Return (Y, X) of "classes", "filled" or "pieces"."""
        with told(self.folder):
            return np.asarray(self._array(f"work/{name}")[(*plane, rows, columns)])

    def write_facts(self, name: str, **facts: NDArray[Any]) -> None:
        """Keep arrays about a block; whoever finds them knows that the block is done."""
        with told(self.folder):
            self._facts(name).parent.mkdir(parents=True, exist_ok=True)
        content = in_memory(lambda file: np.savez(file, **facts))  # type: ignore[arg-type]
        write_atomically(self._facts(name), lambda file: file.write(content))

    def has_facts(self, name: str) -> bool:
        """Return whether arrays of that name are kept."""
        return self._facts(name).is_file()

    def read_facts(self, name: str) -> dict[str, NDArray[Any]]:
        """Return what `write_facts` kept."""
        content = io.BytesIO(read_bytes(self._facts(name), _MOST_FACTS))
        with np.load(content, allow_pickle=False) as facts:
            return {key: facts[key] for key in facts.files}

    def finish(self, provenance: dict[str, Any]) -> None:
        """Say that the labels are final, then put away what was needed to get there."""
        self.state.complete = True
        self.state.provenance = provenance
        self.save()
        self._clear_work()

    def _forget_labels(self) -> None:
        self.state.complete = False
        for plane in self.state.planes:
            plane.forget_labels()
        self.save()
        self._clear_work()
        with told(self.folder):  # it is made anew: the image may lie elsewhere by now
            (self.folder / "zarr.json").unlink(missing_ok=True)

    def _clear_work(self) -> None:
        """Remove all that is quickly made again from the classes."""
        for name in ("filled", "pieces", "facts"):
            shutil.rmtree(self.folder / "work" / name, ignore_errors=True)
            self._arrays.pop(f"work/{name}", None)

    def _facts(self, name: str) -> Path:
        return self.folder / "work" / "facts" / f"{name}.npz"

    def _put(
        self, name: str, plane: tuple[int, ...], start: tuple[int, int], values: Labels
    ) -> None:
        rows = slice(start[0], start[0] + values.shape[0])
        columns = slice(start[1], start[1] + values.shape[1])
        with told(self.folder):
            # The layer that shows the store may be reading the very chunk: zarr tries but once.
            patiently(lambda: self._array(name).__setitem__((*plane, rows, columns), values))

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = zarr_module().open_array(self.folder / name, mode="r+")
        return self._arrays[name]

    def _make_arrays(self) -> None:
        """Make the arrays that are not there yet; nothing is written into them."""
        if not (self.folder / "zarr.json").is_file():
            with told(self.folder):
                zarr_module().create_group(self.folder, attributes=attributes(self.layout))
        for level, shape in enumerate(self.layout.levels):
            self._make_array(str(level), shape, self.layout.chunk(level), self.layout.dtype)
        self._make_array("work/classes", self.layout.shape, self.layout.chunk(0), "uint8")
        if not self.state.complete:
            self._make_work()

    def _make_work(self) -> None:
        self._make_array("work/filled", self.layout.shape, self.layout.chunk(0), "uint8")
        self._make_array("work/pieces", self.layout.shape, self.layout.chunk(0), "int32")

    def _make_array(
        self, name: str, shape: tuple[int, ...], chunk: tuple[int, int], dtype: str
    ) -> None:
        folder = self.folder / name
        if (folder / "zarr.json").is_file():
            return
        chunks = (*(1 for _ in shape[:-2]), min(chunk[0], shape[-2]), min(chunk[1], shape[-1]))
        with told(self.folder):
            zarr_module().create_array(
                folder,
                shape=shape,
                chunks=chunks,
                dtype=dtype,
                fill_value=0,
                dimension_names=list(self.layout.geometry.axes.lower()),
            )
