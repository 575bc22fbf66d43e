"""How far a run has come, and what its user should know in the end.

Knows no image and no network: counts planes and tiles, and keeps the sentences.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from napari_rwkv_seg.errors import ImageError, RwkvSegError

from .normalize import NO_FINITE_PIXEL, PreparedPlane
from .tiles import count_tiles

SMALLEST_TILE = 128  # pixels; halving stops here


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Parameters
    ----------
    done, total : int
        Tiles finished, and tiles in all.
    seconds_left : float or None
        What the rest will take; None while nothing is known.
    note : str
        News for the user, "" if there is none.
    store : Path or None
        The folder that a streamed run fills, said once when it is there.
    """

    done: int
    total: int
    seconds_left: float | None = None
    note: str = ""
    store: Path | None = None


@dataclass
class Run:
    """The state of one run over `planes` planes of `height` × `width` pixels in tiles of `size`."""

    height: int
    width: int
    planes: int
    size: int
    said: list[str] = field(default_factory=list)
    _first_size: int = field(init=False)
    _done_planes: int = -1  # the first plane that begins makes it 0
    _done_tiles: int = 0
    _invalid: int = 0
    _flat: int = 0
    _blank: int = 0
    _timed: int = 0
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._first_size = self.size

    def progress(self, note: str = "") -> Progress:
        """Return how far the run is."""
        per_plane = count_tiles(self.height, self.width, self.size)
        done = max(self._done_planes, 0) * per_plane + self._done_tiles
        total = self.planes * per_plane
        elapsed = time.monotonic() - self._since
        left = elapsed / self._timed * (total - done) if self._timed else None
        return Progress(done, total, left, note)

    def begin_plane(self, plane: PreparedPlane, note: str) -> None:
        """Count the next plane, and keep what is special about it."""
        self._done_planes += 1
        self._done_tiles = 0
        self._invalid += 0 if plane.invalid is None else int(plane.invalid.sum())
        self._blank += plane.is_blank
        self._flat += not plane.is_blank and not plane.has_contrast
        self._say(note)
        if self._blank == self.planes:
            raise ImageError(NO_FINITE_PIXEL)

    def tile_done(self) -> Progress:
        """Count a tile."""
        self._done_tiles += 1
        self._timed += 1
        return self.progress()

    def halve_tiles(self) -> Progress:
        """Begin the plane anew with tiles of half the size.

        Raises
        ------
        RwkvSegError
            If they are too small already.
        """
        used = min(self.size, max(self.height, self.width))
        if used <= SMALLEST_TILE:
            raise RwkvSegError(
                f"Not enough memory even for {used}-px tiles. Close other programs or layers, "
                "crop the image, or choose a smaller model."
            )
        if self.size == self._first_size:
            self._first_size = self.size = used
        self.size = max(SMALLEST_TILE, used // 2)
        self._done_tiles = self._timed = 0
        self._since = time.monotonic()
        return self.progress(f"Not enough memory; going on with {self.size}-px tiles.")

    def notes(self) -> tuple[str, ...]:
        """Return the sentences for the user; each is said once."""
        if self.size != self._first_size:
            self._say(
                f"Not enough memory for {self._first_size}-px tiles; "
                f"ran with {self.size}-px tiles. The result is complete."
            )
        if self._invalid:
            pixels = "1 pixel was" if self._invalid == 1 else f"{self._invalid} pixels were"
            self._say(f"{pixels} not a number (or masked) and became background.")
        if self._flat:
            where = f" in {self._flat} of {self.planes} planes" if self.planes > 1 else ""
            self._say(f"There is no contrast{where}: all pixels have one value.")
        return tuple(self.said)

    def _say(self, sentence: str) -> None:
        """Keep a sentence once."""
        if sentence and sentence not in self.said:
            self.said.append(sentence)
