"""The held-out images of a run: few for the checks on the way, more for the result.

How many there is time for is found out with the model that the run starts from,
whose class maps are kept, so that no later score of it costs anything.
"""

import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import RunError
from napari_rwkv_seg.files import in_memory, read_bytes, write_atomically
from napari_rwkv_seg.inference.loading import Model

from .pairs import TrainingPair, class_map
from .run_settings import Labels
from .split import Split
from .surroundings import part_to_see, predict_part
from .verdict import FEW_IMAGES

FULL_SHARE = 0.08  # most of the time of a run that one score of the result may take
QUICK_SHARE = 0.02  # the same of a check on the way

_MAPS_LIMIT = 2**33
ClassMaps = dict[int, NDArray[np.uint8]]


class HeldOut:
    """What is held out, in the order in which it is used.

    Parameters
    ----------
    pairs : sequence of TrainingPair
        All pairs of the run.
    split : Split
        Of these pairs.
    labels : "classes" or "objects"
        What the numbers of the labels stand for.
    classes : sequence of str
        Names of the classes, the background first.
    seed : int
        Of the order, in which every class comes early.
    tile_size : int
        Of the model's tiles; only those that show what is held out are run.
    """

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        split: Split,
        labels: Labels,
        classes: Sequence[str],
        seed: int,
        tile_size: int,
    ) -> None:
        self._classes = tuple(classes)
        there = [index for index, region in enumerate(split.validation) if region.any()]
        self.names = {index: pairs[index].name for index in there}
        self.images = {index: pairs[index].image for index in there}
        self.truths = {index: class_map(pairs[index], labels) for index in there}
        self.regions = {index: split.validation[index] for index in there}
        self._parts = {index: part_to_see(self.regions[index], tile_size) for index in there}
        self.order = self._ordered(np.random.default_rng(seed).permutation(there).tolist())
        self.base: ClassMaps = {}
        self.quick: list[int] = []
        self.seconds_full = self.seconds_quick = 0.0

    @property
    def full(self) -> list[int]:
        """The images for the result: those that the base was scored on."""
        return list(self.base)

    @property
    def compared(self) -> list[int]:
        """The images on which weights are compared at the end: as many as tell anything."""
        return self.full[: max(len(self.quick), FEW_IMAGES)]

    def pixels(self, indices: Sequence[int]) -> int:
        """Return how many pixels of some images are segmented."""
        return sum(math.prod(side.stop - side.start for side in self._parts[i]) for i in indices)

    def predict_base(
        self, model: Model, seconds: float | None, should_stop: Callable[[], bool]
    ) -> None:
        """Segment by the base as many images as there is time for, at least one.

        Parameters
        ----------
        model : Model
            What the run starts from.
        seconds : float, optional
            Of the whole run; all images if not given.
        should_stop : callable
            Asked before every tile.
        """
        start = time.monotonic()
        for index in self.order:
            spent = time.monotonic() - start
            expected = spent * (len(self.base) + 1) / max(1, len(self.base))
            if seconds is not None and self.base and expected > FULL_SHARE * seconds:
                break
            self.base |= self.predict(model, [index], should_stop)
        self._count_quick(time.monotonic() - start, seconds)

    def save_base(self, path: Path) -> None:
        """Keep the base's class maps for a run that goes on later."""
        maps: dict[str, Any] = {str(index): labels for index, labels in self.base.items()}
        times = np.array([self.seconds_full, self.seconds_quick, len(self.quick)])
        content = in_memory(lambda file: np.savez_compressed(file, times=times, **maps))
        write_atomically(path, lambda file: file.write(content))

    def load_base(self, path: Path) -> None:
        """Read what `save_base` wrote.

        Raises
        ------
        RunError
            If it is damaged.
        """
        try:
            with np.load(io.BytesIO(read_bytes(path, _MAPS_LIMIT)), allow_pickle=False) as maps:
                self.seconds_full, self.seconds_quick, quick = maps["times"].tolist()
                self.base = {int(name): maps[name] for name in maps.files if name != "times"}
        except Exception as error:  # bad bytes make zip and NumPy raise a dozen types
            raise RunError(f"The run cannot go on: {str(path)!r} is damaged.") from error
        self.quick = self.full[: int(quick)]

    def predict(
        self, model: Model, indices: Sequence[int], should_stop: Callable[[], bool]
    ) -> ClassMaps:
        """Return the class maps of some of the images, 0 far from what is held out."""
        return {
            index: predict_part(model, self.images[index], self._parts[index], should_stop)
            for index in indices
        }

    def scores(self, maps: ClassMaps) -> tuple[float, dict[str, float]]:
        """Return the mean Dice, and that of each class that is in the truth, over all images."""
        counts = zip(self._classes[1:], *self.counts(maps).sum(0), strict=True)
        dice = {name: float(overlap / areas) for name, overlap, areas, true in counts if true}
        return sum(dice.values()) / max(1, len(dice)), dice

    def counts(self, maps: ClassMaps) -> NDArray[np.int64]:
        """Return what `verdict` compares: (images, 3, foreground classes)."""
        return np.array([self._counts(index, labels) for index, labels in maps.items()], np.int64)

    def _counts(self, index: int, labels: NDArray[np.uint8]) -> list[list[int]]:
        """Return twice the overlap, the sum of the areas, and the true area of each class."""
        region = self.regions[index]
        found, true = labels[region], self.truths[index][region]
        numbers = range(1, len(self._classes))
        overlap = [int(np.count_nonzero((found == n) & (true == n))) for n in numbers]
        found_area = [int(np.count_nonzero(found == n)) for n in numbers]
        true_area = [int(np.count_nonzero(true == n)) for n in numbers]
        areas = [one + other for one, other in zip(found_area, true_area, strict=True)]
        return [[2 * each for each in overlap], areas, true_area]

    def _ordered(self, indices: list[int]) -> list[int]:
        """Return indices so that images with a class not seen yet come first."""
        order: list[int] = []
        seen: set[int] = set()
        for index in indices:
            found = set(np.unique(self.truths[index][self.regions[index]]).tolist())
            if found - seen:
                order.append(index)
                seen |= found
        return order + [index for index in indices if index not in order]

    def _count_quick(self, spent: float, seconds: float | None) -> None:
        """Set which images the checks on the way use, by what the base took."""
        count = len(self.base)
        if seconds is not None:
            count = max(1, min(count, int(QUICK_SHARE * seconds / max(spent, 1e-3) * count)))
        self.seconds_full = spent
        self.seconds_quick = spent * count / len(self.base)
        self.quick = self.full[:count]
