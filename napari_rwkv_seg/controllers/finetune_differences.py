"""Where the new model of a run differs from the old one, as the run has kept it.

Knows no Qt, no napari and no torch.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import RunError
from napari_rwkv_seg.images.readers import read_image
from napari_rwkv_seg.training.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class Difference:
    """Where the new model differs from the old one, on held-out pixels of one pair.

    Parameters
    ----------
    number : int
        Which pair of the run, from 0.
    name : str
        Of the pair.
    image : array (Y, X) or (Y, X, C), or None
        The pixels, as they were when the run was made; None where their stack is open.
    changes : uint8 array (Y, X)
        0 the same, 1 now right, 2 now wrong.
    group : str
        What the pair belongs to.
    """

    number: int
    name: str
    image: NDArray[Any] | None
    changes: NDArray[np.uint8]
    group: str = ""

    @property
    def plane(self) -> tuple[int, ...]:
        """Which plane of a stack it is, as `plane_name` or `read_pair` told; () of a flat image."""
        layer, _, _ = self.group.rpartition(" ")  # the group of layers ends with an id
        for whole, plane in ((layer, r"\s*, plane ([\d/]+)"), (self.group, r" \[?([\d, ]+)\]?")):
            told = re.fullmatch(re.escape(whole) + plane, self.name) if self.group else None
            if told is not None:
                return tuple(int(number) for number in re.findall(r"\d{1,9}", told[1]))
        return ()


def read_differences(
    folder: Path, most: int, stacks: Mapping[int | str, Hashable] | None = None
) -> list[Difference]:
    """Return where the models of a run differ. For a worker.

    Parameters
    ----------
    folder : Path
        The run's folder.
    most : int
        How many layers they may take; all planes of an open stack take one.
    stacks : mapping of int or str to key, optional
        The open stacks, by the numbers or the group of their pairs in the run.

    Raises
    ------
    RwkvSegError
        If the run cannot be read.
    """
    run, stacks = RunFolder(folder), stacks or {}
    pairs = run.settings().pairs
    found: list[Difference] = []
    layers: set[Hashable] = set()
    for path in sorted(run.held_out.glob("*_difference.tif")):
        place = path.name.partition("_")[0]
        if not (place.isdecimal() and int(place) < len(pairs)):
            raise RunError(f"{str(path)!r} belongs to no pair of the run.")
        number, entry = int(place), pairs[int(place)]
        layer = stacks.get(number, stacks.get(entry.group, number))
        if layer not in layers and len(layers) >= most:
            continue
        layers.add(layer)
        changes = np.asarray(read_image(path).data, dtype=np.uint8)
        image = read_image(run.path / entry.image).data if layer == number else None
        found.append(Difference(number, entry.name, image, changes, entry.group))
    return found
